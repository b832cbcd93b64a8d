"""get, create, apply, replace, delete, patch, label: what is done with resources, and what is said of it."""

import json

from .errors import AlreadyExists, BadFile, CtlError, NotFound

PAST = {
    "create": "created",
    "apply": "applied",
    "replace": "replaced",
    "delete": "deleted",
    "patch": "patched",
}
WRITES = ("create", "apply", "replace")


class Failed(CtlError):
    """The command failed; its text is complete."""


class Outcome:
    """What became of the resources that a verb was asked to handle."""

    def __init__(self, wanted):
        self.total = len(wanted)
        kinds = {kind.kind for kind, _resource in wanted}
        self.kind = kinds.pop() if len(kinds) == 1 else ""
        self.handled = 0
        self.errors = []

    @property
    def of_kind(self):
        return f"'{self.kind}' " if self.kind else ""


def do_each(layout, version, verb, wanted, options, errors_of_store):
    """Handle each resource; where the original stops at an error, the rest is left."""
    outcome = Outcome(wanted)
    for kind, resource in wanted:
        error = _tried(layout, version, verb, kind, resource, options, errors_of_store)
        if error is not None:
            outcome.errors.append(error)
        # v3 counts a replace as handled even where it failed.
        if error is None or (verb == "replace" and not version.first):
            outcome.handled += 1
        elif version.first:
            break
    return outcome


def _tried(layout, version, verb, kind, resource, options, errors_of_store):
    """The error that it ended in, if it counts."""
    try:
        _do(layout, version, verb, kind, resource, options)
    except NotFound as error:
        return None if options.get("--skip-not-exists") else error
    except AlreadyExists as error:
        return None if options.get("--skip-exists") else error
    except (CtlError, *errors_of_store) as error:
        return error
    return None


def _do(layout, version, verb, kind, resource, options):
    if version.first:
        from .rules_v1 import identify

        identify(kind, resource["metadata"])
        if verb in WRITES:
            layout.initialise()
    else:
        place(kind, resource, options)
    if verb == "delete":
        layout.delete(kind, resource["metadata"])
    else:
        getattr(layout, verb)(kind, resource)


def place(kind, resource, options):
    """Give a resource its namespace, from itself or from the command line."""
    metadata = resource["metadata"]
    asked, everywhere = options.get("--namespace", ""), options.get("--all-namespaces", False)
    own = metadata.get("namespace", "")
    if not kind.namespaced:
        if own:
            raise CtlError(
                "namespace should not be specified for a non-namespaced resource. "
                f"{kind.name} is not a namespaced resource"
            )
        if asked or everywhere:
            raise CtlError(f"{kind.name} is not namespaced")
    elif everywhere and asked:
        raise CtlError("cannot use both --namespace and --all-namespaces flags at the same time")
    elif everywhere:
        metadata.pop("namespace", None)
    elif own and asked and own != asked:
        raise CtlError(f"resource namespace does not match client namespace. {own} != {asked}")
    else:
        metadata["namespace"] = own or asked or "default"


# --- what is said --------------------------------------------------------------------------------


def report(version, verb, outcome, say, words):
    """Say what came of it; raises Failed where something failed."""
    if version.first:
        return _report_v1(verb, outcome, say)
    return _REPORTS_V3.get(verb, _report_going_on)(verb, outcome, say, words)


def _succeeded(verb, outcome, say):
    say(f"Successfully {PAST[verb]} {outcome.handled} {outcome.of_kind}resource(s)\n")


def _report_v1(verb, outcome, say):
    if not outcome.errors:
        return _succeeded(verb, outcome, say)
    error = outcome.errors[0]
    if outcome.handled:
        say(f"Partial success: {PAST[verb]} the first {outcome.handled} out of {outcome.total} ")
        say(f"{outcome.of_kind}resources:\n")
        raise Failed(f"Hit error: {error}")
    if outcome.total == 1:
        raise Failed(f"Failed to {verb} '{outcome.kind}' resource: {error}")
    raise Failed(f"Failed to {verb} any {outcome.of_kind}resources: {error}")


def _report_going_on(verb, outcome, say, words):
    """create and apply: all errors in one list."""
    if not outcome.errors:
        return _succeeded(verb, outcome, say)
    listed = "[" + " ".join(str(error) for error in outcome.errors) + "]"
    if outcome.handled:
        raise Failed(f"{words('Hit error(s)')}: {listed}")
    if outcome.total == 1:
        raise Failed(f"{words('Failed')} to {verb} '{outcome.kind}' resource: {listed}")
    raise Failed(f"{words('Failed')} to {verb} any {outcome.of_kind}resources: {listed}")


def _report_replace(verb, outcome, say, words):
    if not outcome.errors:
        return _succeeded(verb, outcome, say)
    say(f"Partial success: {PAST[verb]} the first {outcome.handled} out of {outcome.total} ")
    say(f"{outcome.of_kind}resources:\n")
    raise Failed(f"{words('Hit error')}: {outcome.errors[-1]}")


def _report_delete(verb, outcome, say, _words):
    if outcome.handled:
        _succeeded(verb, outcome, say)
    if outcome.errors:
        each = f"Failed to delete {outcome.of_kind}resource: "
        raise Failed("".join(f"{each}{error}\n" for error in outcome.errors))


_REPORTS_V3 = {"replace": _report_replace, "delete": _report_delete}


# --- patch and label -----------------------------------------------------------------------------


def patched(reader, kind, stored, patch, version):
    """The resource that a merge of PATCH into what is stored makes."""
    try:
        changes = json.loads(patch)
    except ValueError:
        raise CtlError("permorming strategic merge patch: invalid JSON document") from None
    base = dict(stored, metadata=dict(stored["metadata"]))
    if version.patch_drops_labels:
        for name in ("labels", "annotations"):
            base["metadata"].pop(name, None)
    try:
        return reader.decode(_merged(base, changes))[1]
    except BadFile as error:
        raise CtlError(f"creating resource from patched data: {error}") from None


def _merged(base, changes):
    """Fields given replace those stored, null removes one, lists are taken whole."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    found = dict(base)
    for key, value in changes.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), value)
    return found


def relabelled(metadata, key, value, overwrite, kind_word, full_stop):
    """(labels, whether the key was there) with KEY set, or without it where VALUE is None."""
    labels = dict(metadata.get("labels") or {})
    name = metadata["name"]
    there = key in labels
    if value is None:
        if not there:
            raise CtlError(f"cannot remove label of {kind_word} {name}, key {key} does not exist")
        del labels[key]
    elif there and not overwrite and labels[key] != value:
        raise CtlError(
            f"failed to update label of {kind_word} {name}, key {key} is already present. "
            f"please use '--overwrite' to set a new value{full_stop}"
        )
    else:
        labels[key] = value
    return labels, there


def exported(resource):
    """Without what only this cluster's datastore says of it."""
    own = ("namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
    metadata = {name: value for name, value in resource["metadata"].items() if name not in own}
    return {**resource, "metadata": metadata}
