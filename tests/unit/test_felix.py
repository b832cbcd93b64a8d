"""Felix' settings: which release knows which, and which values Felix takes."""

import calico_felix as felix
import calico_forms as forms
import pytest


def test_there_is_one_row_for_each_name_and_field():
    names = [row.name.lower() for row in felix.ROWS]
    fields = [row.field.lower() for row in felix.ROWS if row.field]
    assert len(set(names)) == len(names)
    assert len(set(fields)) == len(fields)
    # A field that reads like another setting's parameter would mean two things.
    for row in felix.ROWS:
        if row.field and row.field.lower() in names:
            assert row.field.lower() == row.name.lower()


@pytest.mark.parametrize(
    ("name", "release", "known"),
    [
        ("IpInIpMtu", (2, 6), True),
        ("IpInIpMtu", (3, 32), True),
        ("IgnoreLooseRPF", (2, 6), True),
        ("IgnoreLooseRPF", (3, 11), True),
        ("IgnoreLooseRPF", (3, 12), False),
        ("IptablesLockFilePath", (3, 26), True),
        ("IptablesLockFilePath", (3, 32), False),
        ("DropActionOverride", (3, 0), False),
        ("BPFEnabled", (2, 6), False),
        ("BPFEnabled", (3, 22), True),
        ("NFTablesMode", (3, 28), False),
        ("NFTablesMode", (3, 29), True),
        # The formula sets these itself.
        ("FelixHostname", (3, 22), False),
        ("EtcdEndpoints", (2, 6), False),
    ],
)
def test_what_a_release_knows(name, release, known):
    assert (name in felix.names(*release)) is known


def test_settings_go_by_both_names_in_any_case():
    assert felix.row("ipipmtu") is felix.row("IPINIPMTU")
    assert felix.row("ipipMTU").name == "IpInIpMtu"
    assert felix.row("nothing") is None
    assert felix.row(3) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("DefaultEndpointToHostAction", word) for word in ("DROP", "Accept", "return")),
        *(("HealthEnabled", word) for word in (True, False, "true", "False", "yes", "n", "1", 0)),
        *(("LogSeverityScreen", word) for word in ("info", "WARNING", "none", "")),
        *(("IpInIpMtu", number) for number in (1440, "1440", 0)),
        *(("RouteRefreshInterval", number) for number in (90, "90", 0.5, "1.5", "none", 0)),
        *(("LogFilePath", word) for word in ("none", "/var/log/felix.log", "", 5)),
        *(("FailsafeInboundHostPorts", ports) for ports in ("tcp:22,udp:68", "22", "none")),
        ("InterfacePrefix", "cali,tap"),
        ("InterfaceExclude", "kube-ipvs0,/^vmbr[0-9]+$/"),
        ("MetadataAddr", "metadata.example.org"),
        ("TyphaAddr", "10.0.0.9:5473"),
        ("IptablesMarkMask", "0xff000000"),
        ("IptablesMarkMask", 255),
        ("MetadataAddr", "none"),
        ("HealthEnabled", None),
        ("NoSuchSetting", ["whatever"]),
    ],
)
def test_values_that_felix_takes(name, value):
    assert felix.problem(name, value, 2, 6) is None


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("DefaultEndpointToHostAction", "PERHAPS", "Drop or Accept or Return (in any case)"),
        # Felix would stop at this.
        ("DefaultEndpointToHostAction", "none", "Drop or Accept or Return (in any case)"),
        ("HealthEnabled", "perhaps", "true or false"),
        ("HealthEnabled", ["true"], "text or a number"),
        ("HealthEnabled", {"a": 1}, "text or a number"),
        ("IpInIpMtu", "large", "a whole number from 0 to 65535"),
        ("IpInIpMtu", True, "a whole number from 0 to 65535"),
        ("HealthPort", 65536, "a whole number from 0 to 65535"),
        # The unit is for FelixConfiguration only.
        ("RouteRefreshInterval", "90s", "a number of seconds"),
        ("IptablesLockProbeIntervalMillis", "50ms", "a number of milliseconds"),
        ("RouteRefreshInterval", True, "a number of seconds"),
        # Felix would stop at these, or go on as if nothing was set.
        ("IpInIpMtu", "none", "a whole number from 0 to 65535"),
        ("IpInIpMtu", -5, "a whole number from 0 to 65535"),
        ("LogSeverityScreen", "loud", "Debug or Info or Warning or Error or Fatal (in any case)"),
        ("LogSeverityScreen", "trace", "Debug or Info or Warning or Error or Fatal (in any case)"),
        ("IptablesMarkMask", "0xfffffffff", "a mask of at least 8 bits such as 0xffff0000"),
        ("IptablesMarkMask", "0x0f000000", "a mask of at least 8 bits such as 0xffff0000"),
        *(
            (
                "FailsafeInboundHostPorts",
                ports,
                "a list or text with commas, each a port such as tcp:22 or udp:53",
            )
            for ports in ("ssh", "tcp:10.0.0.0/8:22", "sctp:22", "tcp:22;udp:53")
        ),
        *(
            ("InterfacePrefix", names, "beginnings of interfaces' names with commas, such as cali,tap")
            for names in ("ca li", "cali,", "cali, tap", "cali*", "none", "a" * 16)
        ),
        *(
            ("InterfaceExclude", names, felix.INTERFACES.accepted)
            for names in ("/a(/", "/^(?!eth).*/", "kube ipvs0", "a,,b")
        ),
        ("MetadataAddr", "http://metadata", "a host's name or address"),
        ("TyphaAddr", "typha", "a host and a port such as typha.example.org:5473"),
        ("LogFilePath", ["a"], "text or a number"),
    ],
)
def test_values_that_felix_does_not_take(name, value, accepted):
    assert felix.problem(name, value, 2, 6) == accepted


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("MTUIfacePattern", "^((en|wl)[Pcopsvx].*|eth.*)", True),
        ("MTUIfacePattern", "^(?!docker).*", False),
        ("BPFDataIfacePattern", "eth++", False),
        ("BPFL3IfacePattern", "[[:alpha:]]+", True),
        ("LogDebugFilenameRegex", r"(a)\1", False),
        ("FailsafeInboundHostPorts", "tcp:10.0.0.0/8:22, tcp:[fd00::/8]:22, sctp:5", True),
        ("LogSeverityScreen", "trace", True),
        ("IptablesMarkMask", "0x3", True),
        ("IptablesMarkMask", "0x1", False),
        ("InterfacePrefix", "cali,tap", True),
        ("VXLANMTU", -1, False),
        ("HealthHost", "localhost", True),
        ("NATOutgoingAddress", "10.0.0.1", True),
        ("NATOutgoingAddress", "10.0.0.1/24", False),
        ("DeviceRouteSourceAddressIPv6", "fd00::1", True),
        ("DeviceRouteSourceAddressIPv6", "10.0.0.1", False),
        ("IptablesNATOutgoingInterfaceFilter", "eth+", True),
        ("IptablesNATOutgoingInterfaceFilter", "eth0,eth1", False),
    ],
)
def test_values_of_calico_3(name, value, taken):
    assert (felix.problem(name, value, 3, 32) is None) is taken
    row = felix.row(name)
    assert row.form.valid(row.form.read(value)) is taken


def test_where_a_name_is_known_instead():
    assert felix.gone_hint("IgnoreLooseRPF", 3, 22) == " (it is gone since Calico 3.12)"
    assert felix.gone_hint("DropActionOverride", 3, 22) == " (Calico 2.6 had it)"
    assert felix.gone_hint("IptablesLockFilePath", 3, 32) == " (it is gone since Calico 3.29)"
    assert felix.gone_hint("bpfEnabled", 2, 6) == " (Calico has it since 3.13)"
    assert felix.gone_hint("NFTablesMode", 3, 22) == " (Calico has it since 3.29)"
    assert felix.gone_hint("IpInIpMtu", 3, 22) == ""
    assert felix.gone_hint("nothing", 3, 22) == ""


def test_what_is_near_in_the_words_of_the_generation():
    assert felix.nearest("helthEnabled", 3) == " (did you mean 'healthEnabled'?)"
    assert felix.nearest("helthEnabled", 2) == " (did you mean 'HealthEnabled'?)"
    assert felix.nearest("zzz") == ""


@pytest.mark.parametrize("row", felix.ROWS, ids=lambda row: row.name)
def test_no_form_stumbles_over_any_value(row):
    for value in (
        None,
        True,
        0,
        -1,
        1.5,
        "",
        "none",
        "x",
        "²",
        "1e9",
        [],
        ["x"],
        [None],
        {},
        {"a": [1]},
        b"",
    ):
        word = row.form.read(value)
        if row.form.valid(word):
            written = row.form.write(word)
            assert row.form.comparable(row.form.read(written)) == row.form.comparable(word)
            assert isinstance(row.form.text(word), str)


@pytest.mark.parametrize(
    ("given", "printed", "text"),
    [
        (90, "1m30s", "90"),
        ("90", "1m30s", "90"),
        ("90s", "1m30s", "90"),
        ("1m", "1m0s", "60"),
        (0, "0s", "0"),
        (0.5, "500ms", "0.5"),
        ("24h", "24h0m0s", "86400"),
        ("1h0.5s", "1h0m0.5s", "3600.5"),
    ],
)
def test_durations_are_spelt_as_the_api_prints_them(given, printed, text):
    assert forms.Duration().write(given) == printed
    assert forms.Duration().text(given) == text
    assert forms.Duration().write(printed) == printed


@pytest.mark.parametrize(
    ("own", "of_all", "prefixes"),
    [
        ({}, {}, ("cali",)),
        ({"InterfacePrefix": "cali,tap"}, {}, ("cali", "tap")),
        ({}, {"InterfacePrefix": "tap"}, ("tap",)),
        ({}, {"interfacePrefix": "tap,cali"}, ("tap", "cali")),
        ({"InterfacePrefix": "tap"}, {"interfacePrefix": "cali"}, ("tap",)),
        ({"InterfacePrefix": ""}, {"interfacePrefix": None}, ("cali",)),
    ],
)
def test_the_beginnings_of_workloads_interfaces(own, of_all, prefixes):
    assert felix.interface_prefixes({"felix": own, "network": {"felix": of_all}}) == prefixes
