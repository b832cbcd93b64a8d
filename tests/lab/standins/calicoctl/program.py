"""The command line: what is asked for, and where the answer goes."""

import sys

from . import RELEASE, documents, settings
from .errors import BadFile, CtlError, NoResources, NotFound
from .kinds import KINDS, by_argument

PAST = {"create": "created", "apply": "applied", "replace": "replaced", "delete": "deleted"}
FLAGS = ("--skip-exists", "--skip-not-exists", "--export", "--allow-version-mismatch", "-h", "--help")
SHORT = {"-f": "--filename", "-o": "--output", "-c": "--config", "-n": "--node", "-w": "--workload"}


def main(argv):
    words, options = _arguments(argv)
    try:
        return _run(words, options)
    except CtlError as error:
        _say(f"{error}\n")
        return 1


def _say(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def _arguments(argv):
    words, options = [], {}
    rest = list(argv)
    while rest:
        item = rest.pop(0)
        if item in FLAGS:
            options[item] = True
        elif item.startswith("--") and "=" in item:
            name, _, value = item.partition("=")
            options[name] = value
        elif item.startswith("--") or item in SHORT:
            options[SHORT.get(item, item)] = rest.pop(0) if rest else ""
        elif len(item) > 2 and item[:2] in SHORT:
            options[SHORT[item[:2]]] = item[2:].removeprefix("=")
        else:
            words.append(item)
    return words, options


def _run(words, options):
    command = words[0] if words else ""
    if command in PAST:
        return _change(command, words[1:], options)
    if command == "get":
        return _get(words[1:], options)
    if command in ("config", "ipam"):
        return _of_the_datastore(command, words[1:], options)
    if words == ["version"]:
        return _version(options)
    if words == ["node", "status"]:
        return _status()
    raise CtlError(
        f"Unknown command: {' '.join(words)}" if words else "Usage: calicoctl <command> [<args>...]"
    )


def _client(options):
    return settings.client(options.get("--config", settings.DEFAULT))


def _store(options):
    from .store import Store

    try:
        return Store(_client(options))
    except settings.Missing:
        raise
    except CtlError as error:
        raise CtlError(f"Failed to create Calico API client: {error}") from None


def _read(path):
    if path == "-":
        return sys.stdin.read()
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise BadFile(f"open {path}: {error.strerror.lower()}") from None


def _asked_for(words, options):
    """[(kind, resource)] of a file, or of a kind and a name on the command line."""
    if "--filename" in options:
        return documents.load(_read(options["--filename"]))
    kind = by_argument(words[0]) if words else None
    if kind is None:
        raise CtlError(f"Resource type '{words[0] if words else ''}' is not supported")
    metadata = {}
    for option in ("node", "scope", "workload", "orchestrator"):
        if options.get(f"--{option}") and option in kind.metadata:
            metadata[option] = options[f"--{option}"]
    found = []
    for name in words[1:] or [None]:
        own = dict(metadata)
        if name is not None:
            own[kind.argument] = _name(kind, name)
        found.append((kind, {"metadata": own, "spec": {}}))
    return found


def _name(kind, text):
    import ipaddress

    if kind.name == "ipPool":
        try:
            return str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise CtlError(f"invalid CIDR address: {text}") from None
    if kind.name == "bgpPeer":
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            raise CtlError(f"invalid IP address: {text}") from None
    return text


# --- get -------------------------------------------------------------------------------------


def _get(words, options):
    import etcdv2

    from . import output

    store = None
    try:
        wanted = _asked_for(words, options)
    except BadFile as error:
        raise CtlError(f"Failed to execute command: {error}") from None
    except CtlError as error:
        raise CtlError(f"Failed to get resources: {error}") from None
    store = _store(options)
    resources = []
    inherited = "64512"
    try:
        for kind, asked in wanted:
            found = store.list(kind, asked["metadata"])
            if not found and kind.missing_is_error and kind.argument in asked["metadata"]:
                raise NotFound(f"{kind.shown}({kind.argument}={asked['metadata'][kind.argument]})")
            resources.extend(found)
        if wanted and wanted[0][0].name == "node" and options.get("--output") == "wide":
            from .store import BGP

            inherited = store.client.get(f"{BGP}/global/as_num") or inherited
    except (CtlError, etcdv2.EtcdError) as error:
        raise CtlError(f"Failed to get resources: {error}") from None
    kind = wanted[0][0] if wanted else KINDS[0]
    try:
        _say(output.render(options.get("--output"), kind, resources, inherited))
    except output.TemplateError as error:
        _say(f"{error}\n")
    return 0


# --- create, apply, replace, delete ----------------------------------------------------------


def _change(verb, words, options):
    try:
        wanted = _asked_for(words, options)
    except BadFile as error:
        raise CtlError(f"Failed to execute command: {error}") from None
    except CtlError:
        raise NoResources("No resources specified in file") from None
    if not wanted:
        raise NoResources("No resources specified in file")
    store = _store(options)
    done, failure = _each(verb, store, wanted, options)
    names = {kind.name for kind, _resource in wanted}
    one = names.pop() if len(names) == 1 else None
    return _report(verb, done, len(wanted), one, failure)


def _each(verb, store, wanted, options):
    """How many were handled, and what ended it."""
    import etcdv2

    for number, (kind, resource) in enumerate(wanted):
        try:
            documents.required(kind, resource["metadata"])
            if verb in ("create", "apply", "replace"):
                store.initialise()
            _do(verb, store, kind, resource)
        except NotFound as error:
            if "--skip-not-exists" not in options:
                return number, error
        except (CtlError, etcdv2.EtcdError) as error:
            exists = verb == "create" and "already exists" in str(error)
            if not (exists and "--skip-exists" in options):
                return number, error
    return len(wanted), None


def _do(verb, store, kind, resource):
    if verb == "apply":
        store.write(kind, resource)
    elif verb == "delete":
        store.delete(kind, resource["metadata"])
    else:
        getattr(store, verb)(kind, resource)


def _report(verb, done, total, one, failure):
    if failure is None:
        of_kind = f"'{one}' " if one else ""
        _say(f"Successfully {PAST[verb]} {done} {of_kind}resource(s)\n")
        return 0
    if done:
        of_kind = f"'{one}' " if one else ""
        _say(f"Partial success: {PAST[verb]} the first {done} out of {total} {of_kind}resources:\n")
        _say(f"Hit error: {failure}\n")
    elif total == 1:
        _say(f"Failed to {verb} '{one}' resource: {failure}\n")
    else:
        of_kind = f"'{one}' " if one else ""
        _say(f"Failed to {verb} any {of_kind}resources: {failure}\n")
    return 1


# --- the rest --------------------------------------------------------------------------------


def _of_the_datastore(command, words, options):
    import etcdv2

    client = _client(options)
    action = words[0] if words else ""
    try:
        if command == "ipam":
            from . import ipam

            text, code = ipam.run(client, action, options.get("--ip", ""))
            _say(text)
            return code
        from . import configure

        name, value = ([*words[1:], "", ""])[:2]
        _say(configure.run(client, action, name, value, options.get("--node"), options.get("--raw")))
        return 0
    except (CtlError, etcdv2.EtcdError) as error:
        raise CtlError(f"Error executing command: {error}") from None


def _version(options):
    import etcdv2

    from .store import V1

    _say(f"Client Version:    v{RELEASE}\nBuild date:        unknown\nGit commit:        standin\n")
    client = _client(options)
    for title, name in (("Cluster Version:", "CalicoVersion"), ("Cluster Type:", "ClusterType")):
        try:
            found = client.get(f"{V1}/config/{name}") or "unknown"
        except etcdv2.EtcdError as error:
            found = f"unknown ({error})"
        _say(f"{title:<19}{found}\n")
    return 0


def _status():
    from . import status

    try:
        return status.run(_say)
    except status.Halted as error:
        _say(f"Error executing command: {error}")
        return 1
