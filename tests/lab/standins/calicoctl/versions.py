"""What differs between the versions that can be played, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Version:
    name: str
    api_version: str  # of resources
    config_kind: str  # of calicoctl.cfg
    datastore: str  # the only one that is played
    commit: str = "standin"
    build_date: str = ""
    # The errors of a command: where they go, and whether they begin with a small letter.
    errors_to_stderr: bool = True
    small_letters: bool = True
    # The YAML library: its words for a bad document, and where an unknown field is found.
    yaml_words: str = "wrapper"
    json_newline: bool = True
    # A printer's error ends the command with exit code 0.
    printer_errors_pass: bool = False
    # "already exists" says what the datastore said, too.
    exists_with_cause: bool = False
    # patch starts from a copy that has lost labels and annotations.
    patch_drops_labels: bool = False
    # Resources are held to the schema of their custom resource definition as well.
    crd_checks: bool = False
    tiers: bool = False
    # `node status` looks for Felix by process name, or by the words of a command line.
    felix_by_name: bool = False
    backends: str = "The BGP backend process (BIRD) is not running."
    backend_names: tuple = ("bird", "bird6")
    ipam_owner_words: bool = False
    ipam_properties: tuple = ("StrictAffinity", "AutoAllocateBlocks", "MaxBlocksPerHost")
    ipam_check_needs_kubernetes: bool = False
    checks_cluster_version: bool = True

    @property
    def number(self):
        """(major, minor), to compare with what a field is known since."""
        major, minor, *_ = self.name.lstrip("v").split(".")
        return int(major), int(minor)

    @property
    def first(self):
        """Whether it is of the v1 API."""
        return self.api_version == "v1"


_V3 = {
    "api_version": "projectcalico.org/v3",
    "config_kind": "CalicoAPIConfig",
    "datastore": "etcdv3",
}
VERSIONS = {
    version.name: version
    for version in (
        Version(
            name="v1.6.3",
            api_version="v1",
            config_kind="calicoApiConfig",
            datastore="etcdv2",
            build_date="unknown",
            errors_to_stderr=False,
            small_letters=False,
            printer_errors_pass=True,
            felix_by_name=True,
            backends="None of the BGP backend processes (BIRD or GoBGP) are running.",
            backend_names=("bird", "bird6", "calico-bgp-daemon"),
            checks_cluster_version=False,
        ),
        Version(name="v3.22.5", small_letters=False, patch_drops_labels=True, **_V3),
        Version(
            name="v3.32.1",
            commit="",
            yaml_words="kubernetes",
            json_newline=False,
            exists_with_cause=True,
            crd_checks=True,
            tiers=True,
            ipam_owner_words=True,
            ipam_properties=(
                "StrictAffinity",
                "AutoAllocateBlocks",
                "MaxBlocksPerHost",
                "KubeVirtVMAddressPersistence",
            ),
            ipam_check_needs_kubernetes=True,
            **_V3,
        ),
    )
}
