"""Certificates that belong together or not, and are valid now or not."""

import base64
import datetime

import calico_pem
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support import pki as pki_support

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
KEYS = {
    "RSA": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "EC": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    directory = pki_support.make(tmp_path_factory.mktemp("pki"))
    pki_support.issue(directory, "expired", days=-2, begins=-30)
    pki_support.issue(directory, "future", days=90, begins=5)
    pki_support.issue(directory, "lasting", days=60)
    return directory


@pytest.fixture
def parts(pki):
    def read(cert="calico", key=None, ca="ca"):
        names = {"ca": ca, "cert": cert, "key": f"{key or cert}-key"}
        return {part: (pki / f"{name}.pem").read_bytes() for part, name in names.items()}

    return read


def self_signed(key, algorithm):
    """A certificate of any kind of key; pki_support makes only elliptic ones."""
    builder = pki_support._builder("any", key, 90).issuer_name(pki_support._name("any"))
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def private(key, encryption=None, form=serialization.PrivateFormat.PKCS8):
    encryption = encryption or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


def test_what_belongs_together_and_is_valid_has_no_findings(parts):
    assert calico_pem.findings(parts(), NOW) == []


@pytest.mark.parametrize("left", [set(), {"ca"}, {"ca", "cert"}, {"key"}, {"cert", "key"}])
def test_parts_may_be_left_out(parts, left):
    given = {part: pem for part, pem in parts().items() if part in left}
    assert calico_pem.findings(given, NOW) == []


def test_a_key_of_another_certificate(parts):
    assert calico_pem.findings(parts(key="etcd"), NOW) == [
        ("error", "key", "does not belong to the certificate")
    ]


@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_keys_of_each_kind_and_form_are_compared(kind, form):
    own, other = KEYS[kind](), KEYS[kind]()
    cert = self_signed(own, hashes.SHA256())
    form = getattr(serialization.PrivateFormat, form)
    assert calico_pem.findings({"cert": cert, "key": private(own, form=form)}, NOW) == []
    found = calico_pem.findings({"cert": cert, "key": private(other, form=form)}, NOW)
    assert [item[:2] for item in found] == [("error", "key")]


def test_keys_of_different_kinds_do_not_match():
    own = KEYS["Ed25519"]()
    cert = self_signed(own, None)
    assert calico_pem.findings({"cert": cert, "key": private(own)}, NOW) == []
    assert calico_pem.findings({"cert": cert, "key": private(KEYS["RSA"]())}, NOW)


@pytest.mark.parametrize(("cert", "what"), [("expired", "expired on "), ("future", "is not valid before ")])
def test_a_certificate_out_of_its_time(parts, cert, what):
    ((level, part, said),) = calico_pem.findings(parts(cert), NOW)
    assert (level, part) == ("error", "cert")
    assert said.startswith(what)


def test_the_time_is_the_one_that_is_passed_in(parts):
    later = calico_pem.findings(parts(), NOW + 400 * DAY)
    assert {item[:2] for item in later} == {("error", "ca"), ("error", "cert")}
    assert {item[0] for item in calico_pem.findings(parts(), NOW - 400 * DAY)} == {"error"}


@pytest.mark.parametrize(("days", "warned"), [(31, False), (29, True), (1, True), (0, True)])
def test_a_month_before_the_end_there_is_a_warning(parts, days, warned):
    given = {"cert": parts("lasting")["cert"]}
    end = x509.load_pem_x509_certificate(given["cert"]).not_valid_after_utc
    found = calico_pem.findings(given, end - days * DAY)
    wanted = [("warning", "cert", f"expires in {days} days, on {end.isoformat()}")]
    assert found == (wanted if warned else [])


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00\xff\xfe",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n",
        "größe".encode(),
    ],
)
@pytest.mark.parametrize("part", ["ca", "cert", "key"])
def test_garbage_is_one_error_of_its_part(parts, part, garbage):
    found = calico_pem.findings(dict(parts(), **{part: garbage}), NOW)
    assert [item[:2] for item in found] == [("error", part)]


def test_a_key_of_an_unknown_algorithm_is_an_error_and_no_crash(parts):
    der = bytes.fromhex("300d020100300506032a0304040100")  # PKCS#8 with the object identifier 1.2.3.4
    name = b"PRIVATE KEY-----\n"
    key = b"-----BEGIN " + name + base64.b64encode(der) + b"\n-----END " + name
    found = calico_pem.findings(dict(parts(), key=key), NOW)
    assert [item[:2] for item in found] == [("error", "key")]


def test_each_part_in_the_place_of_another(parts):
    given = parts()
    swapped = {"ca": given["key"], "cert": given["key"], "key": given["cert"]}
    assert {item[:2] for item in calico_pem.findings(swapped, NOW)} == {
        ("error", "ca"),
        ("error", "cert"),
        ("error", "key"),
    }


def test_an_encrypted_key_cannot_be_used(parts):
    key = private(KEYS["EC"](), serialization.BestAvailableEncryption(b"geheim"))
    ((level, part, said),) = calico_pem.findings(dict(parts(), key=key), NOW)
    assert (level, part) == ("error", "key")
    assert "unencrypted" in said
    assert "geheim" not in said


def test_of_a_chain_the_first_certificate_counts(parts, pki):
    given = parts()
    chain = given["cert"] + given["ca"] + (pki / "expired.pem").read_bytes()
    assert calico_pem.findings(dict(given, cert=chain), NOW) == []
    wrong_order = given["ca"] + given["cert"]
    found = calico_pem.findings(dict(given, cert=wrong_order), NOW)
    assert [item[:2] for item in found] == [("error", "key")]


def test_a_bundle_of_authorities_may_hold_one_that_is_old(parts, pki):
    given = parts()
    old = (pki / "expired.pem").read_bytes()
    assert calico_pem.findings(dict(given, ca=old + given["ca"]), NOW) == []
    found = calico_pem.findings(dict(given, ca=old), NOW)
    assert [item[:2] for item in found] == [("error", "ca")]


def test_text_around_the_certificates_is_nobodys_business(parts):
    given = parts()
    bundle = b"subject=/CN=ca\n" + given["ca"] + b"\n# the other one\n" + given["ca"]
    assert calico_pem.findings(dict(given, ca=bundle), NOW) == []


def test_the_digest_changes_with_contents_and_parts_only(parts):
    given = parts()
    digest = calico_pem.digest(given)
    assert calico_pem.digest(dict(reversed(given.items()))) == digest
    assert calico_pem.digest(dict(given, ca=given["ca"] + b"\n")) != digest
    assert calico_pem.digest({"ca": given["ca"], "cert": given["cert"]}) != digest
    assert calico_pem.digest(dict(given, ca=given["cert"], cert=given["ca"])) != digest


def test_when_certificates_end(parts):
    given = parts(cert="lasting")
    end = datetime.datetime.fromisoformat(calico_pem.ends(given)["cert"])
    assert abs(end - NOW - 60 * DAY) < DAY
    # Of CAs the last to end counts, of a chain the first certificate.
    bundle = parts(cert="expired")["cert"] + given["cert"]
    assert calico_pem.ends({"ca": bundle})["ca"] == end.isoformat()
    assert datetime.datetime.fromisoformat(calico_pem.ends({"cert": bundle})["cert"]) < NOW
    assert calico_pem.ends({"ca": b"no PEM", "key": given["key"]}) == {}
