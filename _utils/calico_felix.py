"""
Felix' settings as one table: their names, their fields in FelixConfiguration, and their values.

A setting goes by the name of Felix' parameter (``IpInIpMtu``: in capitals the end of a FELIX_ variable,
and a raw key of Calico 2.6) or by its field in Calico 3's FelixConfiguration (``ipipMTU``). Felix
ignores names that it does not know, so that a misspelt one has no effect and no message: hence the
table. Pure data: no Salt, no side effects.
"""

import dataclasses
import difflib
from typing import Optional

import calico_forms

ONLY_2_6 = -1
V1 = (2, 6)

FLAG = calico_forms.Flag()
NUMBER = calico_forms.Number()
PORT = calico_forms.Number(0, 65535)
SECONDS = calico_forms.Duration("s")
MILLIS = calico_forms.Duration("ms")
MTU = calico_forms.Number(0, 65535)
MARK = calico_forms.Mark(2)
TEXT = calico_forms.FreeText()
REGEX = calico_forms.Regex()
INTERFACES = calico_forms.Interfaces()
PREFIXES = calico_forms.InterfacePrefixes()
TEXTS = calico_forms.CommaList(calico_forms.Text())
NETWORKS = calico_forms.CommaList(calico_forms.AddressOrNetwork())
HOST_PORTS = calico_forms.CommaList(calico_forms.HostPort())
IPV4 = calico_forms.Address(4)
IPV6 = calico_forms.Address(6)
INTERFACE = calico_forms.Matching("[a-zA-Z0-9:._+-]{1,15}", "an interface's name such as eth0 or eth+")
# Such as Felix of 2.6 has them.
MARK_OF_2_6 = calico_forms.Mark(8)
HOST_PORTS_OF_2_6 = calico_forms.CommaList(calico_forms.HostPort(networks=False))
HOST = calico_forms.Matching("[a-zA-Z0-9_.-]+", "a host's name or address")
AUTHORITY = calico_forms.Matching("[^:/]+:[0-9]+", "a host and a port such as typha.example.org:5473")
PORT_RANGE = calico_forms.PortRange()
PORT_RANGES = calico_forms.CommaList(calico_forms.PortRange())
PAIRS = calico_forms.Pairs()
STRUCTURE = calico_forms.Structure()


@dataclasses.dataclass(frozen=True)
class Row:
    """
    One setting.

    name, field
        Felix' parameter, and the field of FelixConfiguration (None where it has none).
    since
        The first minor release of Calico 3 that knows it; None for those that 2.6 knows.
    until
        The last minor release of Calico 3 that knows it, or :data:`ONLY_2_6`; None for no end.
    form
        The form of its values; ``of_2_6`` is that of 2.6, where it is another one.
    """

    name: str
    field: Optional[str]
    form: calico_forms.Plain
    since: Optional[int] = None
    until: Optional[int] = None
    of_2_6: Optional[calico_forms.Plain] = None

    def form_of(self, major, minor):
        """The form of its values in this release."""
        return (self.of_2_6 if (major, minor) == V1 else None) or self.form

    def known(self, major, minor):
        """Whether Felix of this release knows the setting."""
        if (major, minor) == V1:
            return self.since is None
        return (self.since or 0) <= minor and (self.until is None or minor <= self.until)


def _words(text):
    return calico_forms.Words(*text.split())


LEVEL = _words("Trace Debug Info Warning Error Fatal")
LEVEL_OF_2_6 = _words("Debug Info Warning Error Fatal")

# Where it is not known since when a setting of Calico 3 has been there, the row is generous.
ROWS = (
    Row("AWSSrcDstCheck", "awsSrcDstCheck", _words("DoNothing Enable Disable"), since=15),
    Row("AllowIPIPPacketsFromWorkloads", "allowIPIPPacketsFromWorkloads", FLAG, since=0),
    Row("AllowVXLANPacketsFromWorkloads", "allowVXLANPacketsFromWorkloads", FLAG, since=0),
    Row("BPFAttachType", "bpfAttachType", _words("TC TCX"), since=30),
    Row("BPFCTLBLogFilter", "bpfCTLBLogFilter", TEXT, since=26),
    Row(
        "BPFConnectTimeLoadBalancing", "bpfConnectTimeLoadBalancing", _words("TCP Enabled Disabled"), since=27
    ),
    Row("BPFConnectTimeLoadBalancingEnabled", "bpfConnectTimeLoadBalancingEnabled", FLAG, since=13),
    Row("BPFConntrackCleanupMode", "bpfConntrackMode", _words("Auto Userspace BPFProgram"), since=30),
    Row("BPFConntrackLogLevel", "bpfConntrackLogLevel", _words("Off Debug"), since=30),
    Row("BPFConntrackTimeouts", "bpfConntrackTimeouts", STRUCTURE, since=30),
    Row("BPFDSROptoutCIDRs", "bpfDSROptoutCIDRs", NETWORKS, since=26),
    Row("BPFDataIfacePattern", "bpfDataIfacePattern", REGEX, since=13),
    Row("BPFDisableGROForIfaces", "bpfDisableGROForIfaces", REGEX, since=28),
    Row("BPFDisableUnprivileged", "bpfDisableUnprivileged", FLAG, since=13),
    Row("BPFEnabled", "bpfEnabled", FLAG, since=13),
    Row("BPFEnforceRPF", "bpfEnforceRPF", _words("Disabled Strict Loose"), since=24),
    Row("BPFExcludeCIDRsFromNAT", "bpfExcludeCIDRsFromNAT", NETWORKS, since=29),
    Row("BPFExportBufferSizeMB", "bpfExportBufferSizeMB", NUMBER, since=30),
    Row("BPFExtToServiceConnmark", "bpfExtToServiceConnmark", NUMBER, since=13),
    Row("BPFExternalServiceMode", "bpfExternalServiceMode", _words("Tunnel DSR"), since=13),
    Row("BPFForceTrackPacketsFromIfaces", "bpfForceTrackPacketsFromIfaces", TEXTS, since=28),
    Row("BPFHostConntrackBypass", "bpfHostConntrackBypass", FLAG, since=25),
    Row(
        "BPFHostNetworkedNATWithoutCTLB",
        "bpfHostNetworkedNATWithoutCTLB",
        _words("Enabled Disabled"),
        since=27,
    ),
    Row("BPFJITHardening", "bpfJITHardening", _words("Auto Strict"), since=30),
    Row("BPFKubeProxyEndpointSlicesEnabled", "bpfKubeProxyEndpointSlicesEnabled", FLAG, since=13),
    Row("BPFKubeProxyHealthzPort", "bpfKubeProxyHealthzPort", NUMBER, since=30),
    Row("BPFKubeProxyIptablesCleanupEnabled", "bpfKubeProxyIptablesCleanupEnabled", FLAG, since=13),
    Row("BPFKubeProxyMinSyncPeriod", "bpfKubeProxyMinSyncPeriod", SECONDS, since=13),
    Row("BPFL3IfacePattern", "bpfL3IfacePattern", REGEX, since=25),
    Row("BPFLogFilters", "bpfLogFilters", PAIRS, since=26),
    Row("BPFLogLevel", "bpfLogLevel", _words("Off Info Debug"), since=13),
    Row("BPFMaglevMaxEndpointsPerService", "bpfMaglevMaxEndpointsPerService", NUMBER, since=31),
    Row("BPFMaglevMaxServices", "bpfMaglevMaxServices", NUMBER, since=31),
    Row("BPFMapSizeConntrack", "bpfMapSizeConntrack", NUMBER, since=13),
    Row("BPFMapSizeConntrackCleanupQueue", "bpfMapSizeConntrackCleanupQueue", NUMBER, since=30),
    Row(
        "BPFMapSizeConntrackScaling", "bpfMapSizeConntrackScaling", _words("Disabled DoubleIfFull"), since=30
    ),
    Row("BPFMapSizeIPSets", "bpfMapSizeIPSets", NUMBER, since=13),
    Row("BPFMapSizeIfState", "bpfMapSizeIfState", NUMBER, since=25),
    Row("BPFMapSizeNATAffinity", "bpfMapSizeNATAffinity", NUMBER, since=13),
    Row("BPFMapSizeNATBackend", "bpfMapSizeNATBackend", NUMBER, since=13),
    Row("BPFMapSizeNATFrontend", "bpfMapSizeNATFrontend", NUMBER, since=13),
    Row("BPFMapSizePerCPUConntrack", "bpfMapSizePerCpuConntrack", NUMBER, since=30),
    Row("BPFMapSizeRoute", "bpfMapSizeRoute", NUMBER, since=13),
    Row("BPFPSNATPorts", "bpfPSNATPorts", PORT_RANGE, since=13),
    Row("BPFPolicyDebugEnabled", "bpfPolicyDebugEnabled", FLAG, since=25),
    Row("BPFProfiling", "bpfProfiling", _words("Enabled Disabled"), since=30),
    Row("BPFRedirectToPeer", "bpfRedirectToPeer", TEXT, since=29),
    Row("CalicoVersion", None, TEXT, since=0),
    Row("CgroupV2Path", None, TEXT, since=22),
    Row("ChainInsertMode", "chainInsertMode", _words("Insert Append")),
    Row("ClusterGUID", None, TEXT),
    Row("ClusterType", None, TEXT),
    Row("DataplaneDriver", "dataplaneDriver", TEXT, since=0),
    Row("DataplaneWatchdogTimeout", "dataplaneWatchdogTimeout", SECONDS, since=0),
    Row("DatastoreType", None, TEXT),
    Row("DebugBPFCgroupV2", None, TEXT, since=13),
    Row("DebugCPUProfilePath", None, TEXT, since=0),
    Row("DebugDisableLogDropping", "debugDisableLogDropping", FLAG),
    Row("DebugHost", "debugHost", TEXT, since=26),
    Row("DebugMemoryProfilePath", "debugMemoryProfilePath", TEXT),
    Row("DebugPanicAfter", None, SECONDS, since=22),
    Row("DebugPort", "debugPort", PORT, since=26),
    Row("DebugSimulateCalcGraphHangAfter", "debugSimulateCalcGraphHangAfter", SECONDS),
    Row("DebugSimulateDataRace", None, FLAG, since=22),
    Row("DebugSimulateDataplaneApplyDelay", "debugSimulateDataplaneApplyDelay", SECONDS, since=26),
    Row("DebugSimulateDataplaneHangAfter", "debugSimulateDataplaneHangAfter", SECONDS),
    Row("DefaultEndpointToHostAction", "defaultEndpointToHostAction", _words("Drop Accept Return")),
    Row("DeviceRouteProtocol", "deviceRouteProtocol", NUMBER, since=0),
    Row("DeviceRouteSourceAddress", "deviceRouteSourceAddress", IPV4, since=0),
    Row("DeviceRouteSourceAddressIPv6", "deviceRouteSourceAddressIPv6", IPV6, since=0),
    Row("DisableConntrackInvalidCheck", "disableConntrackInvalidCheck", FLAG),
    Row("DropActionOverride", None, _words("Drop Accept LOG-and-DROP LOG-and-ACCEPT"), until=ONLY_2_6),
    Row("EndpointReportingDelaySecs", "endpointReportingDelay", SECONDS),
    Row("EndpointReportingEnabled", "endpointReportingEnabled", FLAG),
    Row("EndpointStatusPathPrefix", "endpointStatusPathPrefix", TEXT, since=28),
    Row("ExternalNodesCIDRList", "externalNodesList", NETWORKS, since=0),
    Row("FailsafeInboundHostPorts", "failsafeInboundHostPorts", HOST_PORTS, of_2_6=HOST_PORTS_OF_2_6),
    Row("FailsafeOutboundHostPorts", "failsafeOutboundHostPorts", HOST_PORTS, of_2_6=HOST_PORTS_OF_2_6),
    Row("FeatureDetectOverride", "featureDetectOverride", TEXT, since=13),
    Row("FeatureGates", "featureGates", TEXT, since=24),
    Row("FloatingIPs", "floatingIPs", _words("Enabled Disabled"), since=22),
    Row("FlowLogsCollectorDebugTrace", "flowLogsCollectorDebugTrace", FLAG, since=30),
    Row("FlowLogsFlushInterval", "flowLogsFlushInterval", SECONDS, since=30),
    Row("FlowLogsGoldmaneServer", "flowLogsGoldmaneServer", TEXT, since=30),
    Row("FlowLogsLocalReporter", "flowLogsLocalReporter", _words("Disabled Enabled"), since=30),
    Row("FlowLogsPolicyEvaluationMode", "flowLogsPolicyEvaluationMode", _words("None Continuous"), since=30),
    Row("GenericXDPEnabled", "genericXDPEnabled", FLAG, since=6),
    Row("GoGCThreshold", "goGCThreshold", NUMBER, since=28),
    Row("GoMaxProcs", "goMaxProcs", NUMBER, since=28),
    Row("GoMemoryLimitMB", "goMemoryLimitMB", NUMBER, since=28),
    Row("HealthEnabled", "healthEnabled", FLAG),
    Row("HealthHost", "healthHost", TEXT, since=2),
    Row("HealthPort", "healthPort", PORT),
    Row("HealthTimeoutOverrides", "healthTimeoutOverrides", STRUCTURE, since=24),
    Row("IPForwarding", "ipForwarding", _words("Enabled Disabled"), since=29),
    Row("IPv4ElevatedRoutePriority", "ipv4ElevatedRoutePriority", NUMBER, since=32),
    Row("IPv4NormalRoutePriority", "ipv4NormalRoutePriority", NUMBER, since=32),
    Row("IPv4VXLANTunnelAddr", None, TEXT, since=7),
    Row("IPv6ElevatedRoutePriority", "ipv6ElevatedRoutePriority", NUMBER, since=32),
    Row("IPv6NormalRoutePriority", "ipv6NormalRoutePriority", NUMBER, since=32),
    Row("IPv6VXLANTunnelAddr", None, TEXT, since=23),
    # Felix needs it no more since 3.12 (projectcalico/felix#2189).
    Row("IgnoreLooseRPF", None, FLAG, until=11),
    Row("InterfaceExclude", "interfaceExclude", INTERFACES),
    Row("InterfacePrefix", "interfacePrefix", PREFIXES),
    Row("InterfaceRefreshInterval", "interfaceRefreshInterval", SECONDS, since=0),
    Row("IpInIpEnabled", "ipipEnabled", FLAG),
    Row("IpInIpMtu", "ipipMTU", MTU),
    Row("IpInIpTunnelAddr", None, TEXT, since=0),
    Row("IpsetsRefreshInterval", "ipsetsRefreshInterval", SECONDS),
    Row("IptablesAllowAction", None, _words("Accept Return"), until=ONLY_2_6),
    Row("IptablesBackend", "iptablesBackend", _words("Legacy NFT Auto"), since=8),
    Row("IptablesFilterAllowAction", "iptablesFilterAllowAction", _words("Accept Return")),
    Row("IptablesFilterDenyAction", "iptablesFilterDenyAction", _words("Drop Reject"), since=25),
    Row("IptablesLockFilePath", "iptablesLockFilePath", TEXT, until=28),
    Row("IptablesLockProbeIntervalMillis", "iptablesLockProbeInterval", MILLIS),
    Row("IptablesLockTimeoutSecs", "iptablesLockTimeout", SECONDS, until=28),
    Row("IptablesMangleAllowAction", "iptablesMangleAllowAction", _words("Accept Return")),
    Row("IptablesMarkMask", "iptablesMarkMask", MARK, of_2_6=MARK_OF_2_6),
    Row("IptablesNATOutgoingInterfaceFilter", "iptablesNATOutgoingInterfaceFilter", INTERFACE, since=0),
    Row("IptablesPostWriteCheckIntervalSecs", "iptablesPostWriteCheckInterval", SECONDS),
    Row("IptablesRefreshInterval", "iptablesRefreshInterval", SECONDS),
    Row("Ipv6Support", "ipv6Support", FLAG),
    Row("IstioAmbientMode", "istioAmbientMode", _words("Disabled Enabled"), since=31),
    Row("IstioDSCPMark", "istioDSCPMark", TEXT, since=31),
    Row("KubeNodePortRanges", "kubeNodePortRanges", PORT_RANGES, since=0),
    Row("LiveMigrationRouteConvergenceTime", "liveMigrationRouteConvergenceTime", SECONDS, since=32),
    Row("LogActionRateLimit", "logActionRateLimit", TEXT, since=31),
    Row("LogActionRateLimitBurst", "logActionRateLimitBurst", NUMBER, since=31),
    Row("LogDebugFilenameRegex", "logDebugFilenameRegex", REGEX, since=0),
    Row("LogFilePath", "logFilePath", TEXT),
    Row("LogPrefix", "logPrefix", TEXT),
    Row("LogSeverityFile", "logSeverityFile", LEVEL, of_2_6=LEVEL_OF_2_6),
    Row("LogSeverityScreen", "logSeverityScreen", LEVEL, of_2_6=LEVEL_OF_2_6),
    Row("LogSeveritySys", "logSeveritySys", LEVEL, of_2_6=LEVEL_OF_2_6),
    Row("MTUIfacePattern", "mtuIfacePattern", REGEX, since=0),
    Row("MaxIpsetSize", "maxIpsetSize", NUMBER),
    Row("MetadataAddr", "metadataAddr", HOST),
    Row("MetadataPort", "metadataPort", PORT),
    Row("NATOutgoingAddress", "natOutgoingAddress", IPV4, since=0),
    Row("NATOutgoingExclusions", "natOutgoingExclusions", _words("IPPoolsOnly IPPoolsAndHostIPs"), since=30),
    Row("NATPortRange", "natPortRange", PORT_RANGE, since=0),
    Row("NFTablesMode", "nftablesMode", _words("Disabled Enabled Auto"), since=29),
    Row("NetlinkTimeoutSecs", "netlinkTimeout", SECONDS),
    Row("NftablesFilterAllowAction", "nftablesFilterAllowAction", _words("Accept Return"), since=29),
    Row("NftablesFilterDenyAction", "nftablesFilterDenyAction", _words("Drop Reject"), since=29),
    Row("NftablesMangleAllowAction", "nftablesMangleAllowAction", _words("Accept Return"), since=29),
    Row("NftablesMarkMask", "nftablesMarkMask", MARK, since=29),
    Row("NftablesRefreshInterval", "nftablesRefreshInterval", SECONDS, since=29),
    Row("OpenstackRegion", "openstackRegion", TEXT, since=0),
    Row("PolicySyncPathPrefix", "policySyncPathPrefix", TEXT, since=0),
    Row("ProgramClusterRoutes", "programClusterRoutes", _words("Enabled Disabled"), since=31),
    Row("PrometheusGoMetricsEnabled", "prometheusGoMetricsEnabled", FLAG),
    Row("PrometheusMetricsCAFile", "prometheusMetricsCAFile", TEXT, since=29),
    Row("PrometheusMetricsCertFile", "prometheusMetricsCertFile", TEXT, since=29),
    Row(
        "PrometheusMetricsClientAuth",
        "prometheusMetricsClientAuth",
        _words("RequireAndVerifyClientCert RequireAnyClientCert VerifyClientCertIfGiven NoClientCert"),
        since=29,
    ),
    Row("PrometheusMetricsEnabled", "prometheusMetricsEnabled", FLAG),
    Row("PrometheusMetricsHost", "prometheusMetricsHost", TEXT, since=0),
    Row("PrometheusMetricsKeyFile", "prometheusMetricsKeyFile", TEXT, since=29),
    Row("PrometheusMetricsPort", "prometheusMetricsPort", PORT),
    Row("PrometheusProcessMetricsEnabled", "prometheusProcessMetricsEnabled", FLAG),
    Row("PrometheusWireGuardMetricsEnabled", "prometheusWireGuardMetricsEnabled", FLAG, since=14),
    Row("RemoveExternalRoutes", "removeExternalRoutes", FLAG, since=0),
    Row("ReportingIntervalSecs", "reportingInterval", SECONDS),
    Row("ReportingTTLSecs", "reportingTTL", SECONDS),
    Row("RequireMTUFile", None, FLAG, since=28),
    Row("RouteRefreshInterval", "routeRefreshInterval", SECONDS),
    Row("RouteSource", "routeSource", _words("WorkloadIPs CalicoIPAM"), since=10),
    Row("RouteSyncDisabled", "routeSyncDisabled", FLAG, since=23),
    Row("RouteTableRange", "routeTableRange", STRUCTURE, since=0),
    Row("RouteTableRanges", "routeTableRanges", STRUCTURE, since=0),
    Row("ServiceLoopPrevention", "serviceLoopPrevention", _words("Drop Reject Disabled"), since=17),
    Row("SidecarAccelerationEnabled", "sidecarAccelerationEnabled", FLAG, since=6),
    Row("StartupCleanupDelay", None, SECONDS, until=ONLY_2_6),
    Row("TyphaAddr", None, AUTHORITY),
    Row("TyphaCAFile", None, TEXT),
    Row("TyphaCN", None, TEXT),
    Row("TyphaCertFile", None, TEXT),
    Row("TyphaK8sNamespace", None, TEXT),
    Row("TyphaK8sServiceName", None, TEXT),
    Row("TyphaKeyFile", None, TEXT),
    Row("TyphaReadTimeout", None, SECONDS),
    Row("TyphaURISAN", None, TEXT),
    Row("TyphaWriteTimeout", None, SECONDS),
    Row("UsageReportingEnabled", "usageReportingEnabled", FLAG),
    Row("UsageReportingInitialDelaySecs", "usageReportingInitialDelay", SECONDS, since=0),
    Row("UsageReportingIntervalSecs", "usageReportingInterval", SECONDS, since=0),
    Row("UseInternalDataplaneDriver", "useInternalDataplaneDriver", FLAG, since=0),
    Row("VXLANEnabled", "vxlanEnabled", FLAG, since=7),
    Row("VXLANMTU", "vxlanMTU", MTU, since=7),
    Row("VXLANMTUV6", "vxlanMTUV6", MTU, since=23),
    Row("VXLANPort", "vxlanPort", PORT, since=7),
    Row("VXLANTunnelMACAddr", None, TEXT, since=7),
    Row("VXLANTunnelMACAddrV6", None, TEXT, since=23),
    Row("VXLANVNI", "vxlanVNI", NUMBER, since=7),
    Row("Variant", None, TEXT, since=13),
    Row("WindowsManageFirewallRules", "windowsManageFirewallRules", _words("Enabled Disabled"), since=28),
    Row("WireguardEnabled", "wireguardEnabled", FLAG, since=14),
    Row("WireguardEnabledV6", "wireguardEnabledV6", FLAG, since=24),
    Row("WireguardHostEncryptionEnabled", "wireguardHostEncryptionEnabled", FLAG, since=14),
    Row("WireguardInterfaceName", "wireguardInterfaceName", TEXT, since=14),
    Row("WireguardInterfaceNameV6", "wireguardInterfaceNameV6", TEXT, since=24),
    Row("WireguardListeningPort", "wireguardListeningPort", PORT, since=14),
    Row("WireguardListeningPortV6", "wireguardListeningPortV6", PORT, since=24),
    Row("WireguardMTU", "wireguardMTU", MTU, since=14),
    Row("WireguardMTUV6", "wireguardMTUV6", MTU, since=24),
    Row("WireguardPersistentKeepAlive", "wireguardKeepAlive", SECONDS, since=14),
    Row("WireguardRoutingRulePriority", "wireguardRoutingRulePriority", NUMBER, since=14),
    Row("WireguardThreadingEnabled", "wireguardThreadingEnabled", FLAG, since=29),
    Row("WorkloadSourceSpoofing", "workloadSourceSpoofing", _words("Disabled Any"), since=22),
    Row("XDPEnabled", "xdpEnabled", FLAG, since=6),
    Row("XDPRefreshInterval", "xdpRefreshInterval", SECONDS, since=6),
)
# Felix stops where one of these is switched off with 'none'.
NEVER_NONE = {
    "ChainInsertMode",
    "DatastoreType",
    "DefaultEndpointToHostAction",
    "InterfacePrefix",
    "IpInIpMtu",
    "IptablesFilterAllowAction",
    "IptablesMangleAllowAction",
    "IptablesMarkMask",
    "MaxIpsetSize",
    "TyphaK8sNamespace",
}
# Set by calico/node or the formula itself, and therefore no settings: FelixHostname, Etcd….

# With what the names of workloads' interfaces begin where nothing is set.
WORKLOADS = "cali"

_BY_NAME = {row.name.lower(): row for row in ROWS}
_BY_NAME.update((row.field.lower(), row) for row in ROWS if row.field)


def names(major, minor):
    """The names of the parameters that Felix of this release knows."""
    return tuple(row.name for row in ROWS if row.known(major, minor))


def row(name):
    """The :class:`Row` of a parameter or of a field of FelixConfiguration, in any case, or None."""
    return _BY_NAME.get(name.lower()) if isinstance(name, str) else None


def interface_prefixes(settings):
    """
    With what the names of the interfaces begin that Felix takes for workloads' (tuple of text).

    settings
        Finished settings: the node's own go before those for the whole cluster.
    """
    wanted = row("InterfacePrefix")
    found = settings["felix"].get(wanted.name)
    for name, value in settings["network"]["felix"].items():
        if not found and row(name) is wanted:
            found = value
    return tuple(part for part in str(found or WORKLOADS).split(",") if part)


def problem(name, value, major, minor):
    """
    What would be accepted, where Felix would not take ``value`` from its environment; else None.

    Felix ignores what is empty, and takes 'none' for the setting switched off.
    """
    found = row(name)
    if found is None or not found.known(major, minor) or value is None:
        return None
    form = found.form_of(major, minor)
    if not isinstance(value, (str, int, float)):
        return form.accepted if isinstance(form, calico_forms.Words) else "text or a number"
    if not str(value).strip():
        return None
    if str(value).strip().lower() == "none":
        return form.accepted if found.name in NEVER_NONE else None
    if isinstance(form, calico_forms.Duration):
        # With a unit, it is for FelixConfiguration only.
        bare = str(value).replace(".", "", 1).isdigit() and not isinstance(value, bool)
        return None if bare else "a number of " + ("seconds" if form.unit == "s" else "milliseconds")
    # Free text may be anything, and of structures only the text of FelixConfiguration is known.
    if type(form) in (calico_forms.FreeText, calico_forms.Structure):
        return None
    return None if form.valid(form.read(value)) else form.accepted


def gone_hint(name, major, minor):
    """Where a release does not know a setting that others know: a text that says so; else ''."""
    found = row(name)
    if found is None or found.known(major, minor):
        return ""
    if found.until == ONLY_2_6:
        return " (Calico 2.6 had it)"
    if major == 3 and found.until is not None and minor > found.until:
        return " (it is gone since Calico 3.%d)" % (found.until + 1)
    return " (Calico has it since 3.%d)" % (found.since or 0)


def nearest(name, major=None):
    """' (did you mean …?)' where a known parameter or field is near, else ''."""
    found = difflib.get_close_matches(str(name).lower(), list(_BY_NAME), n=1, cutoff=0.6)
    if not found:
        return ""
    close = _BY_NAME[found[0]]
    return " (did you mean '%s'?)" % (close.field if major == 3 and close.field else close.name)
