"""The command line: what is asked for, who does it, and where the answer goes."""

import re
import sys

from . import settings
from .errors import BadFile, CtlError, Missing, NotFound, OnStdout
from .versions import VERSIONS

COMMON = ("--config=", "-c")
OF_RESOURCES = (*COMMON, "--namespace=", "--context=", "--allow-version-mismatch")
OF_FILES = (*OF_RESOURCES, "--filename=", "-f", "--recursive", "-R", "--skip-empty")
V1_IDENTITY = ("--node=", "--scope=", "--workload=", "--orchestrator=")
SHORT = {
    "-c": "--config=",
    "-f": "--filename=",
    "-o": "--output=",
    "-p": "--patch=",
    "-t": "--type=",
    "-s": "--skip-not-exists",
    "-R": "--recursive",
    "-A": "--all-namespaces",
    "-a": "--all-namespaces",
}
# command: its options; those of the first generation have other names for some
OPTIONS = {
    "get": (*OF_FILES, "--output=", "--all-namespaces", "--export", *V1_IDENTITY),
    "create": (*OF_FILES, "--skip-exists"),
    "apply": OF_FILES,
    "replace": OF_FILES,
    "delete": (*OF_FILES, "--skip-not-exists", *V1_IDENTITY),
    "patch": (*OF_RESOURCES, "--patch=", "--type="),
    "label": (*OF_RESOURCES, "--overwrite", "--remove"),
    "config": (*COMMON, "--node=", "--raw="),
    "ipam": (
        *COMMON,
        "--allow-version-mismatch",
        "--ip=",
        "--show-blocks",
        "--show-borrowed",
        "--show-configuration",
        "--strictaffinity=",
        "--max-blocks-per-host=",
    ),
    "datastore": (*COMMON, "--allow-version-mismatch"),
    "version": (*COMMON, "--allow-version-mismatch", "--client"),
    "node": (),
}
USAGE = "Usage:\n  calicoctl [options] <command> [<args>...]\n"
ONLY_FIRST = ("config",)
NOT_FIRST = ("patch", "label", "datastore")
# command: pattern of the words behind it, and options that must be there; with --filename none may
WORDS = {
    "get": (r"\S+( \S+)*", ()),
    "create": ("", ("--filename",)),
    "apply": ("", ("--filename",)),
    "replace": ("", ("--filename",)),
    "delete": (r"\S+( \S+)*", ()),
    "patch": (r"\S+ \S+", ("--patch",)),
    "label": (r"\S+ \S+ \S+", ()),
    "config": (r"set \S+ \S+|(get|unset) \S+", ()),
    "ipam": (r"release|show|check|configure", ()),
    "datastore": (r"migrate (lock|unlock)", ()),
    "version": ("", ()),
    "node": ("status", ()),
}
# Where the first generation takes less.
WORDS_V1 = {"get": (r"\S+( \S+)?", ()), "delete": (r"\S+( \S+)?", ()), "ipam": ("release|show", ("--ip",))}


def main(name, argv):
    """Be calicoctl of this version; returns the exit code."""
    return Program(VERSIONS[name]).run(argv)


def _say(text):
    sys.stdout.write(text)
    sys.stdout.flush()


class Program:
    def __init__(self, version):
        self._version = version
        self._options = {}
        self._loaded = {}

    def run(self, argv):
        if "--help" in argv or "-h" in argv:
            _say(USAGE)
            return 0
        try:
            words = self._parsed(argv)
            getattr(self, f"_{words[0]}_command")(words[1:])
        except OnStdout as error:
            _say(f"{error}\n")
            return 1
        except CtlError as error:
            self._complain(error)
            return 1
        return 0

    def _complain(self, error):
        from .status import Halted

        # In the middle of a line: the first generation leaves it like that.
        end = "" if isinstance(error, Halted) and self._version.first else "\n"
        stream = sys.stderr if self._version.errors_to_stderr else sys.stdout
        sys.stdout.flush()
        stream.write(f"{error}{end}")

    def _words(self, text):
        """The begin of an error as this version writes it."""
        return text[0].lower() + text[1:] if self._version.small_letters else text

    # --- arguments ---

    def _parsed(self, argv):
        """The words among the arguments; options are kept apart."""
        first = next((word for word in argv if not word.startswith("-")), "")
        if not first:
            raise OnStdout(USAGE)
        unknown = NOT_FIRST if self._version.first else ONLY_FIRST
        if first not in OPTIONS or first in unknown:
            raise OnStdout(f"Unknown command: {first}")
        words, rest = [], list(argv)
        while rest:
            item = rest.pop(0)
            if not item.startswith("-") or item == "-":
                words.append(item)
                continue
            name, sign, value = item.partition("=")
            if not name.startswith("--"):
                name, sign, value = item[:2], "=" if len(item) > 2 else "", item[2:].removeprefix("=")
            name = self._long(name)
            if name.endswith("="):
                self._options[name[:-1]] = value if sign else rest.pop(0) if rest else self._refuse(argv)
            else:
                self._options[name] = True
            if name not in OPTIONS[first]:
                self._refuse(argv)
        if not self._is_usage(first, words[1:]):
            self._refuse(argv)
        return words

    def _is_usage(self, command, words):
        pattern, needed = {**WORDS, **(WORDS_V1 if self._version.first else {})}[command]
        if "--filename" in self._options:
            return not words
        # A word may have blanks in it.
        line = " ".join(re.sub(r"\s", "_", word) or "_" for word in words)
        return re.fullmatch(pattern, line) is not None and all(name in self._options for name in needed)

    def _long(self, name):
        """An option's long name, with ``=`` where it takes a value."""
        if name == "-n":
            return "--node=" if self._version.first else "--namespace="
        name = SHORT.get(name, name)
        known = {option for options in OPTIONS.values() for option in options}
        return f"{name}=" if f"{name}=" in known else name

    def _refuse(self, argv):
        raise CtlError(
            f"Invalid option: 'calicoctl {' '.join(argv)}'. "
            "Use flag '--help' to read about a specific subcommand."
        )

    # --- parts that are made when they are needed ---

    def _part(self, name, make):
        if name not in self._loaded:
            self._loaded[name] = make()
        return self._loaded[name]

    @property
    def _schema(self):
        from . import structs

        generation = "v1" if self._version.first else "v3"
        return self._part("schema", lambda: structs.load(generation, self._version.number))

    @property
    def _kinds(self):
        from .kinds import Kinds

        return self._part("kinds", lambda: Kinds(self._version))

    @property
    def _reader(self):
        from .documents import Reader

        return self._part("reader", lambda: Reader(self._version, self._kinds, self._schema))

    def _client(self):
        path = self._options.get("--config", settings.DEFAULT)
        return self._part("client", lambda: settings.client(path, self._version))

    @property
    def _layout(self):
        """Of the datastore; that it cannot be had is told in one way by all commands on resources."""
        if self._version.first:
            from .layout_v1 import Layout
        else:
            from .layout_v3 import Layout
        try:
            client = self._client()
        except Missing:
            raise
        except CtlError as error:
            raise OnStdout(f"Failed to create Calico API client: {error}") from None
        return self._part("layout", lambda: Layout(client, self._version, self._kinds, self._schema))

    @property
    def _store_errors(self):
        if self._version.first:
            import etcdv2 as etcd
        else:
            import etcdv3 as etcd
        return (etcd.EtcdError,)

    # --- what is asked for ---

    def _asked_for(self, words):
        """[(kind, resource)] of a file, or of a kind and names on the command line."""
        if "--filename" in self._options:
            from .documents import text_of

            found = self._reader.load(text_of(self._options["--filename"]))
            if self._version.first:
                from .rules_v1 import check

                for kind, resource in found:
                    check(kind, resource)
            return found
        word = words[0]
        kind = self._kinds.by_argument(word)
        if kind is None:
            lead = "Resource" if self._version.first else "resource"
            raise CtlError(f"{lead} type '{word}' is not supported")
        metadata = {
            option: self._options[f"--{option}"]
            for option in kind.options
            if self._options.get(f"--{option}")
        }
        found = []
        for name in words[1:] or [None]:
            named = {} if name is None else {kind.argument: self._name(kind, name)}
            found.append((kind, {"metadata": {**metadata, **named}, "spec": {}}))
        return found

    def _name(self, kind, text):
        """A name on the command line as the metadata has it."""
        import ipaddress

        try:
            if kind.argument == "cidr":
                return str(ipaddress.ip_network(text, strict=False))
            if kind.argument == "peerIP":
                return str(ipaddress.ip_address(text))
        except ValueError:
            what = "CIDR" if kind.argument == "cidr" else "IP"
            raise CtlError(f"invalid {what} address: {text}") from None
        return text

    def _check_cluster_version(self):
        """Calico's newer commands want a cluster of their own version."""
        if not self._version.checks_cluster_version or self._options.get("--allow-version-mismatch"):
            return
        try:
            layout = self._layout
        except OnStdout:
            # It will fail at what it was asked to do.
            return
        found = self._cluster_information(layout).get("calicoVersion", "").removeprefix("v").partition("-")[0]
        if found and found != self._version.name[1:]:
            raise CtlError(
                f"{self._words('Version mismatch.')}\nClient Version:   {self._version.name}\n"
                f"Cluster Version:  {found}\nUse --allow-version-mismatch to override.\n"
            )

    def _cluster_information(self, layout):
        kind = self._kinds.by_argument("clusterinformation")
        try:
            return layout.get(kind, {"name": "default"})["spec"]
        except NotFound:
            return {}

    # --- commands on resources ---

    def _get_command(self, words):
        from . import gotemplate, output

        form, value = output.checked(self._options.get("--output", "ps"))
        failed = self._words("Failed to get resources")
        try:
            self._check_cluster_version()
            wanted = self._asked_for(words)
        except BadFile as error:
            raise CtlError(f"{self._words('Failed to execute command')}: {error}") from None
        except CtlError as error:
            raise CtlError(f"{failed}: {error}") from None
        layout = self._layout
        try:
            results, errors = self._found(layout, wanted)
            printer = output.Printer(self._version, self._schema, layout.as_number)
            spaced = bool(self._options.get("--all-namespaces") or self._options.get("--namespace"))
            _say(printer.render(form, value, results, spaced))
        except (gotemplate.TemplateError, output.HeadingError) as error:
            if not self._version.printer_errors_pass:
                raise CtlError(str(error)) from None
            return _say(f"{error}\n")
        except self._store_errors as error:
            raise CtlError(f"{failed}: {error}") from None
        if errors:
            raise CtlError("\n".join(map(str, errors)))

    def _found(self, layout, wanted):
        """What was found, and what was not; the first generation ends at the first error."""
        from .output import Found
        from .resources import exported, place

        results, errors = [], []
        for kind, asked in wanted:
            metadata = asked["metadata"]
            try:
                if not self._version.first:
                    place(kind, asked, self._options)
                if self._version.first or not metadata.get("name"):
                    results.append(Found(kind, *layout.list(kind, metadata)))
                    continue
                one = layout.get(kind, metadata)
                if self._options.get("--export"):
                    one = exported(one)
                results.append(Found(kind, [one], is_list=False))
            except CtlError as error:
                if self._version.first:
                    raise CtlError(f"Failed to get resources: {error}") from None
                errors.append(error)
        return results, errors

    def _change(self, verb, words):
        from . import resources

        try:
            self._check_cluster_version()
            wanted = self._asked_for(words)
        except BadFile as error:
            raise CtlError(f"{self._words('Failed to execute command')}: {error}") from None
        except CtlError:
            if not self._version.first:
                raise
            wanted = []
        if not wanted:
            if self._options.get("--skip-empty"):
                return _say("No resources specified\n")
            where = "" if self._version.first else f" {self._options.get('--filename')}"
            raise CtlError(f"{self._words('No resources specified in file')}{where}")
        if verb == "delete" and not self._version.first and "--filename" not in self._options:
            self._need_names(wanted)
        layout = self._layout
        if verb in resources.WRITES and not self._version.first:
            layout.initialise()
        outcome = resources.do_each(layout, self._version, verb, wanted, self._options, self._store_errors)
        resources.report(self._version, verb, outcome, _say, self._words)

    @staticmethod
    def _need_names(wanted):
        if not all(resource["metadata"].get("name") for _kind, resource in wanted):
            raise CtlError("resource name may not be empty")

    def _create_command(self, words):
        self._change("create", words)

    def _apply_command(self, words):
        self._change("apply", words)

    def _replace_command(self, words):
        self._change("replace", words)

    def _delete_command(self, words):
        self._change("delete", words)

    def _patch_command(self, words):
        from . import resources

        self._check_cluster_version()
        ((kind, asked),) = self._asked_for(words)
        resources.place(kind, asked, self._options)
        layout = self._layout
        try:
            stored = layout.get(kind, asked["metadata"])
            new = resources.patched(
                self._reader, kind, stored, self._options.get("--patch", ""), self._version
            )
            try:
                layout.update(kind, new, stored)
            except CtlError as error:
                raise CtlError(f"updating existing resource: {error}") from None
        except CtlError as error:
            raise CtlError(f"{self._words('Hit error')}: {error}") from None
        _say(f"Successfully patched 1 '{kind.name}' resource\n")

    def _label_command(self, words):
        from . import resources

        self._check_cluster_version()
        kind_word, name, change = words
        ((kind, asked),) = self._asked_for([kind_word, name])
        resources.place(kind, asked, self._options)
        remove = self._options.get("--remove")
        key, sign, value = change.partition("=")
        if bool(sign) == bool(remove) or "=" in value:
            raise CtlError(f"invalid label {change}")
        layout = self._layout
        try:
            stored = layout.get(kind, asked["metadata"])
        except NotFound:
            raise CtlError(f"{kind_word} {name} not found") from None
        value = None if remove else value
        overwrite = self._options.get("--overwrite")
        full_stop = "" if self._version.small_letters else "."
        labels, there = resources.relabelled(stored["metadata"], key, value, overwrite, kind_word, full_stop)
        new = {**stored, "metadata": {**stored["metadata"], "labels": labels}}
        try:
            layout.update(kind, new, stored)
        except CtlError:
            raise CtlError(f"failed to update {kind_word} {name}, label not changed") from None
        if remove:
            _say(f"Successfully removed label {key} from {kind_word} {name}\n")
        else:
            done = "updated" if there else "set"
            _say(f"Successfully {done} label {key} on {kind_word} {name}\n")

    # --- the rest ---

    def _config_command(self, words):
        from . import configure

        client = self._client()
        action, name, value = [*words, ""][:3]
        try:
            node, raw = self._options.get("--node"), self._options.get("--raw")
            _say(configure.run(client, action, name, value, node, raw))
        except (CtlError, *self._store_errors) as error:
            raise CtlError(f"Error executing command: {error}") from None

    def _ipam_command(self, words):
        from . import ipam

        action = words[0]
        if action == "check" and self._version.ipam_check_needs_kubernetes:
            raise CtlError("KUBECONFIG environment variable or --kubeconfig parameter not set")
        address = None
        if "--ip" in self._options or action == "release":
            address = ipam.address_of(self._options.get("--ip", ""))
        self._check_cluster_version()
        layout = self._layout
        try:
            _say(self._ipam_text(ipam, layout, action, address))
        except self._store_errors as error:
            raise CtlError(f"Error executing command: {error}") from None

    def _ipam_text(self, ipam, layout, action, address):
        client = layout.client
        if action == "release":
            return ipam.release(client, address)
        if action == "configure":
            affinity, most = (
                self._options.get(f"--{name}") for name in ("strictaffinity", "max-blocks-per-host")
            )
            return ipam.configure(client, affinity, most)
        if action == "check":
            return ipam.check(client, self._pools(layout), *self._addresses_in_use(layout))
        if self._version.first:
            return ipam.show_address_v1(client, address)
        if address is not None:
            return ipam.show_address(client, address, self._version)
        if self._options.get("--show-configuration"):
            return ipam.show_configuration(client, self._version.ipam_properties)
        if self._options.get("--show-borrowed"):
            return ipam.borrowed(client)
        return ipam.usage(client, self._pools(layout), self._options.get("--show-blocks", False))

    def _pools(self, layout):
        import ipaddress

        found, _revision = layout.list(self._kinds.by_argument("ippool"), {})
        return [ipaddress.ip_network(pool["spec"]["cidr"]) for pool in found]

    def _addresses_in_use(self, layout):
        """Tunnel addresses by node, and addresses by workload endpoint."""
        import ipaddress

        nodes, _revision = layout.list(self._kinds.by_argument("node"), {})
        tunnels = [
            [
                ipaddress.ip_address(address)
                for address in (
                    (node["spec"].get("bgp") or {}).get("ipv4IPIPTunnelAddr"),
                    node["spec"].get("ipv4VXLANTunnelAddr"),
                )
                if address
            ]
            for node in nodes
        ]
        endpoints, _revision = layout.list(self._kinds.by_argument("workloadendpoint"), {})
        workloads = [
            [ipaddress.ip_interface(network).ip for network in endpoint["spec"].get("ipNetworks") or []]
            for endpoint in endpoints
        ]
        return tunnels, workloads

    def _datastore_command(self, words):
        """``datastore migrate lock|unlock``: nothing may be written meanwhile, by nobody."""
        locked = words == ["migrate", "lock"]
        layout = self._layout
        kind = self._kinds.by_argument("clusterinformation")
        stored = layout.get(kind, {"name": "default"})
        layout.update(kind, {**stored, "spec": {**stored["spec"], "datastoreReady": not locked}}, stored)
        _say("Datastore locked.\n" if locked else "Datastore unlocked.\n")

    def _version_command(self, _words):
        version = self._version
        built = f"Build date:        {version.build_date}\n" if version.build_date else ""
        _say(f"Client Version:    {version.name}\n{built}Git commit:        {version.commit}\n")
        if self._options.get("--client"):
            return
        for title, found in self._cluster_words():
            _say(f"{title:<19}{found or 'unknown'}\n")

    def _cluster_words(self):
        titles = ("Cluster Version:", "Cluster Type:")
        if not self._version.first:
            found = self._cluster_information(self._layout)
            return list(zip(titles, (found.get("calicoVersion"), found.get("clusterType")), strict=True))
        from .keys_v1 import V1

        client = self._client()
        found = []
        for title, name in zip(titles, ("CalicoVersion", "ClusterType"), strict=True):
            try:
                found.append((title, client.get(f"{V1}/config/{name}")))
            except self._store_errors as error:
                found.append((title, f"unknown ({error})"))
        return found

    def _node_command(self, _words):
        from . import status

        try:
            status.run(self._version, _say)
        except status.Halted as error:
            raise status.Halted(f"{self._words('Error executing command')}: {error}") from None
