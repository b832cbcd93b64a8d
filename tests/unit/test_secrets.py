"""What is secret by its name or by its looks, and what is not: one rule, wherever it is shown."""

import calico_container
import calico_felix
import calico_plan
import calico_problems
import calico_scrub
import calico_secrets
import calico_settings
import pytest
from calico_secrets import MASK

from tests.unit.test_container import CHAPTER


@pytest.mark.parametrize(
    "name",
    [
        *("ETCD_PASSWORD", "K8S_API_TOKEN", "API_KEY", "APIKEY", "api-key", "apiKey", "PSK", "WIFI_PSK"),
        *("PASSPHRASE", "KEY_PASSPHRASE", "CREDENTIALS", "AWS_CREDENTIAL", "CLIENT_SECRET", "clientSecret"),
        *("ETCD_KEY", "CALICO_ETCD_KEY", "TLS_PRIVATE_KEY", "sshKeys", "db_pwd", "DB_PASS", "PGPASSWORD"),
        *("AUTHORIZATION", "BASIC_AUTH", "passwd", "calico:etcd:password", "calico:env:API_KEY"),
        *("token", "secrets", "FELIX_TYPHASECRET", "preSharedKey"),
    ],
)
def test_what_is_secret(name):
    assert calico_secrets.is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("ETCD_KEY_FILE", "FELIX_ETCDKEYFILE", "TOKEN_FILE", "etcdKeyFile", "etcd_key_file", "KEY_PATH"),
        *("publicKey", "PUBLIC_KEY", "secretKeyRef", "calico:etcd:tls:key", "calico:etcd:username"),
        *("keepalive_time", "ETCD_ENDPOINTS", "keep_original_next_hop", "name", ""),
        *("as_number", "bypass", "PrometheusMetricsClientAuth", "compass", "IP_AUTODETECTION_METHOD"),
    ],
)
def test_what_is_none(name):
    assert not calico_secrets.is_secret(name)


def test_no_setting_of_felix_is_taken_for_a_secret():
    assert [row.name for row in calico_felix.ROWS if calico_secrets.is_secret(row.name)] == []


def test_every_way_to_show_something_follows_the_same_rule():
    env = {"API_KEY": "geheim1", "PSK": "geheim2", "A_PASSPHRASE": "geheim3", "CREDENTIALS": "geheim4"}
    env["HTTPS_PROXY"] = "http://user:geheim5@proxy:3128"
    settings = calico_settings.check(dict(CHAPTER, env=env))
    inspected = {"Config": {"Env": [f"{name}={value}" for name, value in env.items()]}}
    lines = "\n".join(f"{name}={value}" for name, value in env.items())
    step = calico_plan.Step("x", "update", {}, {}, {name: {"old": None, "new": env[name]} for name in env})
    for shown in (
        calico_secrets.shown(settings),
        calico_secrets.shown(calico_container.environment(settings)),
        calico_container.shown(inspected),
        calico_scrub.Scrubber()(lines),
        calico_scrub.Scrubber(calico_scrub.secrets(env))("geheim1 geheim2 geheim3 geheim4 geheim5"),
        calico_plan.Plan([step], []).changes,
        [calico_problems.problem("calico:env:" + name, value, "x") for name, value in env.items()],
    ):
        assert "geheim" not in str(shown), shown
    assert calico_secrets.shown(settings)["env"]["HTTPS_PROXY"] == f"http://{MASK}@proxy:3128"


def test_the_place_of_a_key_is_shown_and_the_key_is_not():
    tls = {"ca": "/pki/ca.pem", "cert": "salt://c.pem", "key": "/pki/k.pem"}
    assert calico_secrets.shown({"etcd": {"tls": tls}}) == {"etcd": {"tls": tls}}
    key = "-----BEGIN " + "PRIVATE KEY-----\nx"
    assert calico_secrets.shown({"tls": {"key": key, "ca": "-----BEGIN CERTIFICATE-----"}}) == {
        "tls": {"key": MASK, "ca": "-----BEGIN CERTIFICATE-----"}
    }
    # A path that everybody may see is not searched for as if it were a secret.
    assert calico_scrub.secrets({"etcd": {"tls": tls}}) == set()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (12345, MASK),
        (True, True),
        (None, None),
        ("", ""),
        (["one", {"two": "x"}], [MASK, {"two": MASK}]),
        ({"secretKeyRef": {"name": "bgp", "key": "rr"}}, {"secretKeyRef": {"name": "bgp", "key": "rr"}}),
        (b"bytes", MASK),
    ],
)
def test_what_goes_by_a_secrets_name(given, shown):
    assert calico_secrets.shown({"password": given}) == {"password": shown}


@pytest.mark.parametrize(
    "endpoints",
    [
        ["https://calico:geheim@10.0.0.1:2379"],
        ["https://geheim@10.0.0.1:2379"],
        ["https://calico:geh/geheim@x@10.0.0.1:2379"],
        ["calico:geheim@10.0.0.1:2379"],
        ["calico:ge/heim-geheim@10.0.0.1:2379"],
        "https://calico:geheim@10.0.0.1:2379",
        "calico:geheim@10.0.0.1:2379",
        [{"url": "https://calico:geheim@10.0.0.1:2379"}],
        {"https://calico:geheim@10.0.0.1:2379": "https://calico:geheim@10.0.0.1:2379"},
    ],
    ids=str,
)
def test_a_password_in_an_endpoint_is_refused_once_and_not_shown(endpoints):
    with pytest.raises(calico_settings.SettingsError) as caught:
        calico_settings.check(dict(CHAPTER, etcd={"endpoints": endpoints}))
    (problem,) = caught.value.problems
    assert problem["setting"].startswith("calico:etcd:endpoints")
    assert "geheim" not in str(problem)


def test_a_user_of_etcds_own():
    etcd = dict(CHAPTER["etcd"], username="calico", password="geheim: #x")
    settings = calico_settings.check(dict(CHAPTER, etcd=etcd))
    environment = calico_container.environment(settings)
    assert (environment["ETCD_USERNAME"], environment["ETCD_PASSWORD"]) == ("calico", "geheim: #x")
    spec = calico_container.calicoctl_configuration(settings)["spec"]
    assert (spec["etcdUsername"], spec["etcdPassword"]) == ("calico", "geheim: #x")
    assert "geheim" not in str(calico_secrets.shown(settings))
    assert "geheim" not in str(calico_container.cni_configuration(settings))


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"etcd": {"username": "calico"}}, "calico:etcd:password"),
        ({"etcd": {"password": "geheim"}}, "calico:etcd:username"),
        ({"etcd": {"username": "a:b", "password": "geheim"}}, "calico:etcd:username"),
        ({"etcd": {"username": "a", "password": 7}}, "calico:etcd:password"),
        ({"env": {"ETCD_PASSWORD": "geheim"}}, "calico:env:ETCD_PASSWORD"),
        ({"env": {"CALICO_ETCD_USERNAME": "x"}}, "calico:env:CALICO_ETCD_USERNAME"),
        (
            {
                "version": "v3.22.5",
                "datastore": "kubernetes",
                "etcd": {"endpoints": None, "tls": None, "username": "a", "password": "geheim"},
            },
            "calico:etcd",
        ),
    ],
)
def test_what_is_wrong_with_a_user_of_etcd(changes, setting):
    etcd = {**CHAPTER["etcd"], **changes.get("etcd", {})}
    with pytest.raises(calico_settings.SettingsError) as caught:
        calico_settings.check({**CHAPTER, **changes, "etcd": etcd})
    (problem,) = caught.value.problems
    assert problem["setting"] == setting
    assert "geheim" not in str(problem)


def test_a_password_in_a_name_is_not_shown():
    with pytest.raises(calico_settings.SettingsError) as caught:
        calico_settings.check(dict(CHAPTER, etcd={"https://calico:geheim@10.0.0.1:2379": None}))
    assert "geheim" not in str(caught.value)
