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


# --- PEM as Go reads it ----------------------------------------------------------------------------

BOM = b"\xef\xbb\xbf"


def levels(found):
    return [item[:2] for item in found]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_comments_may_be_in_any_encoding(parts, encoding):
    given = parts()
    comment = "# AC Raíz Certicámara S.A.\n".encode(encoding)
    ca = comment + given["ca"] + comment + given["ca"]
    assert calico_pem.findings(dict(given, ca=ca), NOW) == []
    assert calico_pem.readable("ca", ca) == given["ca"] * 2
    # One that was taken out of use by a comment is no mistake.
    out = given["ca"] + b"".join(b"# " + line + b"\n" for line in given["ca"].splitlines())
    assert calico_pem.findings(dict(given, ca=out), NOW) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: pem.replace(b"-----\n", b"----- \t\n"),
        lambda pem: pem.rstrip(b"\n"),
        lambda pem: b"text before\n\n" + pem + b"text behind",
        lambda pem: pem.replace(b"\nM", b"\n  M"),
        lambda pem: pem.replace(b"-----\nM", b"-----\nname: value\n\nM"),
    ],
    ids=["CRLF", "blanks", "no end of line", "text around", "blanks inside", "headers"],
)
@pytest.mark.parametrize("part", ["ca", "cert", "key"])
def test_what_go_reads_is_right(parts, part, change):
    given = parts()
    changed = dict(given, **{part: change(given[part])})
    assert calico_pem.findings(changed, NOW) == []
    assert calico_pem.readable(part, changed[part]) == given[part]


@pytest.mark.parametrize(
    "change",
    [
        lambda pem: BOM + pem,
        lambda pem: b"".join(b"  " + line + b"\n" for line in pem.splitlines()),
        lambda pem: b"\t" + pem,
        lambda pem: pem.replace(b"-----BEGIN", b"----BEGIN"),
        lambda pem: pem.replace(b"-----\nM", b"-----\n\nM!"),
        lambda pem: pem.rstrip(b"\n") + b"-----BEGIN CERTIFICATE-----\n",
        lambda pem: pem.replace(b"\n", b"\r"),
        lambda pem: pem.decode("ascii").encode("utf-16"),
    ],
    ids=["BOM", "indented", "tab", "dashes", "not base64", "glued", "CR alone", "UTF-16"],
)
@pytest.mark.parametrize("part", ["ca", "cert", "key"])
def test_what_go_does_not_read_is_an_error_of_its_part(parts, part, change):
    given = parts()
    changed = dict(given, **{part: change(given[part])})
    assert ("error", part) in levels(calico_pem.findings(changed, NOW))
    assert calico_pem.readable(part, changed[part]) == b""


def test_a_bundle_that_was_put_together_without_an_end_of_line(parts):
    given = parts()
    glued = given["ca"].rstrip(b"\n") + given["ca"]
    ((level, part, said),) = calico_pem.findings(dict(given, ca=glued), NOW)
    assert (level, part) == ("error", "ca")
    assert "of line 1 it makes nothing" in said
    # Where one is left that Go reads, nobody knows whether that one is enough.
    (item,) = calico_pem.findings(dict(given, ca=glued + given["ca"]), NOW)
    assert item[:2] == ("warning", "ca")
    assert "BEGIN in line 1" in item[2]


def test_the_first_certificate_of_a_chain_must_be_read(parts):
    given = parts()
    found = calico_pem.findings(dict(given, cert=BOM + given["cert"] + given["ca"]), NOW)
    assert ("error", "cert") in levels(found)
    found = calico_pem.findings(dict(given, cert=given["cert"] + b" " + given["ca"]), NOW)
    assert levels(found) == [("warning", "cert")]


def test_other_blocks(parts):
    given = parts()
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    fit = dict(given, cert=given["key"] + given["cert"], key=parameters + given["cert"] + given["key"])
    assert calico_pem.findings(fit, NOW) == []
    # etcd's client takes each block of a file of CAs for a certificate, and gives up where one is none.
    for other in (given["key"], given["ca"].replace(b" CERT", b" TRUSTED CERT"), parameters):
        ((level, part, said),) = calico_pem.findings(dict(given, ca=given["ca"] + other), NOW)
        assert (level, part) == ("error", "ca")
        assert "holds a block" in said


@pytest.mark.parametrize("curve", [ec.SECP256K1, ec.BrainpoolP256R1])
def test_curves_that_go_does_not_have(parts, curve):
    key = ec.generate_private_key(curve())
    cert = self_signed(key, hashes.SHA256())
    found = calico_pem.findings({"cert": cert, "key": private(key)}, NOW)
    assert levels(found) == [("error", "cert"), ("error", "key")]
    assert all(key.curve.name in said and "P-256" in said for _level, _part, said in found)
    # Go reads none of a file of CAs with such a one.
    assert levels(calico_pem.findings({"ca": parts()["ca"] + cert}, NOW)) == [("error", "ca")]


@pytest.mark.parametrize("curve", [ec.SECP224R1, ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_curves_that_go_has(curve):
    key = ec.generate_private_key(curve())
    given = {"cert": self_signed(key, hashes.SHA256()), "key": private(key)}
    assert calico_pem.findings(given, NOW) == []


def test_ed25519_came_later():
    key = KEYS["Ed25519"]()
    given = {"cert": self_signed(key, None), "key": private(key)}
    assert calico_pem.findings(given, NOW, ed25519=True) == []
    found = calico_pem.findings(given, NOW, ed25519=False)
    assert levels(found) == [("error", "cert"), ("error", "key")]
    assert "Ed25519" in found[0][2]


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
