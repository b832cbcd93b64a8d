"""Keys, passwords and tokens are taken out of any text, and nothing else is."""

import base64
import json
import time
import urllib.parse

import calico_scrub
import pytest
from calico_secrets import MASK
from hypothesis import given
from hypothesis import strategies as st

LINES = ["MIIEowIBAAKCAQEAu1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gun", "qT3mGJJlcWfJPSdVVTVBWTNBWTNB"]


def key(kind="RSA PRIVATE KEY", lines=LINES):
    # Put together here: no such text may lie in the repository.
    return "-----BEGIN " + kind + "-----\n" + "\n".join(lines) + "\n-----END " + kind + "-----\n"


def known(*sources):
    return calico_scrub.Scrubber(calico_scrub.secrets(*sources))


KINDS = ["RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "write",
    [
        str,
        json.dumps,
        repr,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "".join(f"Nov 24 10:00:00 n1 calico-node[7]: {line}\n" for line in text.splitlines()),
        lambda text: text.rpartition("-----END")[0],  # the end was cut off
        lambda text: text.partition("KEY-----")[2],  # the begin was cut off
    ],
)
def test_private_keys_that_nobody_knew(kind, write):
    before, after = "before\n", "\nafter"
    found = calico_scrub.Scrubber()(before + write(key(kind)) + after)
    assert not [line for line in LINES if line in found]
    assert MASK in found


@pytest.mark.parametrize("value", [None, True, False, "", 5, "word", 'a "quoted" one', "x\\y"])
@pytest.mark.parametrize("write", [json.dumps, lambda data: json.dumps(data, indent=1)])
def test_json_stays_json(write, value):
    """And what is switched off is no secret."""
    shown = {"password": value, "deep": [{"api_key": value}], "name": "node1"}
    found = json.loads(calico_scrub.Scrubber()(write(shown)))
    masked = value if value in (None, True, False, "") else MASK
    assert found == {"password": masked, "deep": [{"api_key": masked}], "name": "node1"}
    within = json.loads(json.loads(calico_scrub.Scrubber()(json.dumps(write(shown)))))
    assert within == found


def test_what_stands_around_a_whole_key_stays():
    found = calico_scrub.Scrubber()("before\n" + key() + "between\n" + key("PRIVATE KEY") + "after\n")
    assert found == f"before\n{MASK}\nbetween\n{MASK}\nafter\n"
    certificate = key("CERTIFICATE")
    assert calico_scrub.Scrubber()(certificate) == certificate


def test_a_known_key_is_found_line_by_line():
    scrub = known(
        {"etcd": {"tls": {"key": key()}}}, {"ETCD_KEY": key().replace("\n", "\\n")}, [key().encode()]
    )
    assert scrub(f"wrote {LINES[0]} and then {LINES[1]}") == f"wrote {MASK} and then {MASK}"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("ETCD_PASSWORD=geheim", f"ETCD_PASSWORD={MASK}"),
        ('"ETCD_PASSWORD": "ge heim"', f'"ETCD_PASSWORD": "{MASK}"'),
        ("password: 'ge \"heim'", f"password: '{MASK}'"),
        (r'password: "ge\"heim"', f'password: "{MASK}"'),
        ("apiToken = geheim, next", f"apiToken = {MASK}, next"),
        (r'"{\"token\":\"geheim\"}"', r'"{\"token\":\"' + MASK + r'\"}"'),
        ("k8s_auth_token: geheim", f"k8s_auth_token: {MASK}"),
        ("run --password geheim --other x", f"run --password {MASK} --other x"),
        ("run --etcd-secret=geheim", f"run --etcd-secret={MASK}"),
        ("https://root:geheim@10.0.0.1:2379/x", f"https://{MASK}@10.0.0.1:2379/x"),
        ("Authorization: Bearer abcdef.geheim", f"Authorization: {MASK} {MASK}"),
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.geheim", f"got {MASK}"),
        ("client-key-data: " + base64.b64encode(key().encode()).decode(), f"client-key-data: {MASK}"),
        # These are none.
        (
            "ETCD_KEY_FILE=/calico-secrets/key TOKEN_FILE=/x",
            "ETCD_KEY_FILE=/calico-secrets/key TOKEN_FILE=/x",
        ),
        ("secretKeyRef: {name: bgp, key: rr}", "secretKeyRef: {name: bgp, key: rr}"),
        ("docker run --privileged x", "docker run --privileged x"),
        ("-A cali-tw -m comment --comment x -j MARK", "-A cali-tw -m comment --comment x -j MARK"),
        ("https://10.0.0.1:2379 since 10:00:01", "https://10.0.0.1:2379 since 10:00:01"),
        ("the password is wrong", "the password is wrong"),
    ],
)
def test_what_calls_itself_secret(text, shown):
    assert calico_scrub.Scrubber()(text) == shown


@given(st.text(min_size=1, max_size=30))
def test_a_known_secret_is_found_in_whatever_form(secret):
    secrets = calico_scrub.secrets({"env": [{"A_PASSWORD": secret}]})
    scrub = calico_scrub.Scrubber(secrets)
    for form in secrets:
        for written in (form, json.dumps(form)[1:-1], repr(form)[1:-1], urllib.parse.quote(form, safe="")):
            assert scrub(f"a {written} b") == f"a {MASK} b"


def test_a_short_secret_does_not_tear_words_apart():
    scrub = known({"TOKEN": "cali"})
    assert scrub("cali12ab is up, cali is not; x=cali") == f"cali12ab is up, {MASK} is not; x={MASK}"
    assert known({"USE_TOKEN": "true", "A_SECRET": None})("true null none") == "true null none"


def test_much_text_takes_no_time_to_speak_of():
    """Each of these would take minutes were a pattern to look at each letter more than a few times."""
    scrub = known({"A_PASSWORD": "geheimnis"})
    begin = time.process_time()
    for piece in (
        "a" * 999 + " ",
        "password",
        "--token ",
        "-" * 99,
        "x://u:",
        "eyJ",
        "LS0tLS1CRUdJT",
        "\\\\",
    ):
        scrub(piece * (1024 * 1024 // len(piece)))
    scrub("-----BEGIN RSA PRIVATE KEY-----" * 30000)
    assert time.process_time() - begin < 60
