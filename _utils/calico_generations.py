"""
What differs between the generations of Calico, as data.

A *generation* is what ``calico:version`` belongs to: ``v1`` for calico/node 2.6.x (named after the
``apiVersion`` of its resources). Every difference between generations that the formula knows of
stands here or in :mod:`calico_resources`; the code that reads these tables is the same for all.

Pure data: no Salt, no side effects.
"""

# Felix 2.6 reads FELIX_<NAME IN CAPITALS> and ignores names it does not know, so that a misspelt
# one has no effect and no message. Source: Felix 2.6 configuration reference and its param table.
FELIX_2_6 = (
    "ChainInsertMode",
    "ClusterGUID",
    "ClusterType",
    "DatastoreType",
    "DebugDisableLogDropping",
    "DebugMemoryProfilePath",
    "DebugSimulateCalcGraphHangAfter",
    "DebugSimulateDataplaneHangAfter",
    "DefaultEndpointToHostAction",
    "DisableConntrackInvalidCheck",
    "DropActionOverride",
    "EndpointReportingDelaySecs",
    "EndpointReportingEnabled",
    "FailsafeInboundHostPorts",
    "FailsafeOutboundHostPorts",
    "HealthEnabled",
    "HealthPort",
    "IgnoreLooseRPF",
    "InterfaceExclude",
    "InterfacePrefix",
    "IpInIpEnabled",
    "IpInIpMtu",
    "IpsetsRefreshInterval",
    "IptablesAllowAction",
    "IptablesFilterAllowAction",
    "IptablesLockFilePath",
    "IptablesLockProbeIntervalMillis",
    "IptablesLockTimeoutSecs",
    "IptablesMangleAllowAction",
    "IptablesMarkMask",
    "IptablesPostWriteCheckIntervalSecs",
    "IptablesRefreshInterval",
    "Ipv6Support",
    "LogFilePath",
    "LogPrefix",
    "LogSeverityFile",
    "LogSeverityScreen",
    "LogSeveritySys",
    "MaxIpsetSize",
    "MetadataAddr",
    "MetadataPort",
    "NetlinkTimeoutSecs",
    "PrometheusGoMetricsEnabled",
    "PrometheusMetricsEnabled",
    "PrometheusMetricsPort",
    "PrometheusProcessMetricsEnabled",
    "ReportingIntervalSecs",
    "ReportingTTLSecs",
    "RouteRefreshInterval",
    "StartupCleanupDelay",
    "TyphaAddr",
    "TyphaCAFile",
    "TyphaCN",
    "TyphaCertFile",
    "TyphaK8sNamespace",
    "TyphaK8sServiceName",
    "TyphaKeyFile",
    "TyphaReadTimeout",
    "TyphaURISAN",
    "TyphaWriteTimeout",
    "UsageReportingEnabled",
)

GENERATIONS = {
    "v1": {
        "versions": "2.6.x",
        "datastores": ("etcdv2",),
        # What the chapter's unit sets and Felix would otherwise decide differently.
        "felix_defaults": {
            "DefaultEndpointToHostAction": "ACCEPT",
            "Ipv6Support": False,
            "LogSeverityScreen": "info",
            "IpInIpMtu": 1440,
            "HealthEnabled": True,
        },
        "felix_names": FELIX_2_6,
        # Variables without a setting of their own; calico:env may override them.
        "env_defaults": {
            "CALICO_LIBNETWORK_ENABLED": "true",
            "CALICO_DISABLE_FILE_LOGGING": "true",
        },
        # DATASTORE_TYPE is left out where the image's own default is right.
        "default_datastore_in_image": "etcdv2",
        # word of calico:network:pools:*:ipip -> value of CALICO_IPV4POOL_IPIP
        "ipip_words": {"never": "off", "always": "always", "crosssubnet": "cross-subnet"},
        # The same path on the host and in the container; the certificates come first, see mounts().
        "mounts": (
            "/var/run/calico",
            "/lib/modules",
            "/run/docker/plugins",
            "/var/run/docker.sock",
            "/var/log/calico",
        ),
        "cni_version": "0.1.0",
        "calicoctl_config": {"apiVersion": "v1", "kind": "calicoApiConfig"},
    },
}


def generation_of(major, minor):
    """
    Name of the generation a release belongs to.

    major, minor
        The first two numbers of the release (int).

    Returns the name, a key of :data:`GENERATIONS`, or None where the formula has no data for it.
    """
    if (major, minor) == (2, 6):
        return "v1"
    return None
