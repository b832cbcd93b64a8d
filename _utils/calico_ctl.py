"""
calicoctl of both generations: arguments in, typed results and errors out.

calicoctl has no time limit of its own (3.x waits for ever on an etcd that refuses), reads its
environment where it finds no configuration, tells failures by words, and some of them by success:
here every call has a deadline, only the configuration file counts, and each failure is an error of
its own class. Nothing unreachable is ever taken for absent.

Standard library only, no Salt.
"""

import contextlib
import errno
import json
import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass

LARGEST_OUTPUT = 64 * 1024 * 1024
# Whatever calicoctl would read from the environment, were there no configuration file; and proxies, which
# its Go client would ask for the datastore, too. A minion has those for the world outside.
_ENVIRONMENT = re.compile(
    r"DATASTORE_TYPE|KUBECONFIG|(?:CALICO|ETCD|K8S|FELIX)_.*|(?i:(?:HTTP|HTTPS|ALL|NO)_PROXY)", re.DOTALL
)
# --allow-version-mismatch is an unknown option before this release.
_CHECKS_VERSION_SINCE = (3, 20)


class CtlError(Exception):
    """calicoctl did not do what it was asked to do."""


class NotInstalled(CtlError):
    """There is no calicoctl at that path."""


class NotRunnable(CtlError):
    """The file at that path cannot be run on this host."""


class TimedOut(CtlError):
    """calicoctl was still running at the deadline and was killed with its children."""


class TooMuchOutput(CtlError):
    """calicoctl wrote more than anybody can want to read and was killed."""


class NotFound(CtlError):
    """The resource does not exist; the datastore itself was reached and said so."""


class AlreadyExists(CtlError):
    """The resource, or the label, exists already."""


class Conflict(CtlError):
    """Somebody changed the resource since it was read."""


class Unsupported(CtlError):
    """This calicoctl or this datastore does not know the kind, or not this verb for it."""


class Unreachable(CtlError):
    """The datastore could not be reached, or is in no state to answer: the text says which."""


class Denied(CtlError):
    """The datastore knows us and says no."""


class Locked(CtlError):
    """The datastore is locked: a migration or an upgrade is under way."""


class VersionMismatch(CtlError):
    """calicoctl and the cluster are of different releases."""


class WrongGeneration(CtlError):
    """The configuration file is one of the other generation of calicoctl."""


class BadConfig(CtlError):
    """calicoctl's configuration file, or a file that it names, cannot be used."""


class NotRunning(CtlError):
    """No calico/node process on this host (node status)."""


class NotPermitted(CtlError):
    """calicoctl wants to be root for this."""


class Unknown(CtlError):
    """A failure in words that we have not met; the message is calicoctl's, verbatim."""


class Invalid(CtlError):
    """
    The input was refused.

    field, value, reason
        What calicoctl says about it; None where it does not say.
    """

    def __init__(self, message, field=None, value=None, reason=None):
        super().__init__(message)
        self.field = field
        self.value = value
        self.reason = reason


class PartialSuccess(CtlError):
    """
    Some of several resources were written, then one failed.

    done, total
        How many, or None where calicoctl does not say.
    reason
        The error of the one that failed, a :class:`CtlError`.
    """

    def __init__(self, message, done, total, reason):
        super().__init__(message)
        self.done = done
        self.total = total
        self.reason = reason


# After these a write is tried again: it lost against another one, or the datastore was away for a moment.
AGAIN = (Conflict, AlreadyExists, NotFound, Unreachable)


@dataclass
class Result:
    """What one run of calicoctl left: ``rc`` is None where it was killed at the deadline."""

    rc: int
    stdout: str
    stderr: str


def get(kind, name=None, *, options=None, **how):
    """
    The resources of ``kind``, or the one called ``name``, as a list; empty if there is none.

    options
        Further options, such as {"scope": "node", "node": "node1"} of a v1 BGP peer; one without a
        value is True.
    how
        ``binary``, ``config`` and ``deadline`` as for :func:`run`; with
        ``allow_version_mismatch=True`` it also works while the cluster is being upgraded.
    """
    argv = ["get", kind, *([name] if name else []), *_options(options or {}), "-o", "json"]
    try:
        return _resources(_call(argv, **how).stdout)
    except NotFound:
        return []


def apply(resources, **how):
    """Create or replace each of these resources."""
    return _call(["apply", "-f", "-"], _documents(resources), **how)


def create(resources, **how):
    """Create these resources; :class:`AlreadyExists` if one is there already."""
    return _call(["create", "-f", "-"], _documents(resources), **how)


def replace(resources, **how):
    """Replace these resources; :class:`NotFound` if one is not there."""
    return _call(["replace", "-f", "-"], _documents(resources), **how)


def delete(resources, **how):
    """Delete these resources; those that are gone already are no error."""
    _call(["delete", "--skip-not-exists", "-f", "-"], _documents(resources), **how)


def config_get(name, *, node=None, raw=None, **how):
    """
    A setting of the v1 API; None if it is not set at this place.

    node
        Ask for the value of one node; None means the global one.
    raw
        "felix" or "bgp" for keys that calicoctl has no name for.
    """
    argv = ["config", "get", name, *_options({"node": node, "raw": raw})]
    value = _call(argv, **how).stdout.rstrip("\n")
    unset = value == "(unset)" if raw else value.endswith(" (inherited from global)")
    return None if unset else value


def config_set(name, value, *, node=None, raw=None, **how):
    """Set a setting of the v1 API."""
    _call(["config", "set", name, str(value), *_options({"node": node, "raw": raw})], **how)


def config_unset(name, *, node=None, raw=None, **how):
    """Give a setting of the v1 API its default back."""
    _call(["config", "unset", name, *_options({"node": node, "raw": raw})], **how)


def _call(argv, stdin=None, *, binary, config, deadline, allow_version_mismatch=False):
    if allow_version_mismatch and client_version(binary, deadline) >= _CHECKS_VERSION_SINCE:
        argv = [*argv, "--allow-version-mismatch"]
    result = run(argv, binary=binary, config=config, deadline=deadline, stdin=stdin)
    error = classify(result)
    if error is not None:
        raise error
    return result


def run(argv_tail, *, binary, config, deadline, stdin=None, env=None):
    """
    Run calicoctl and return its :class:`Result`, whatever its exit code.

    argv_tail
        Arguments after the program's name; ``--config=`` is added.
    deadline
        Seconds, after which calicoctl and its children are killed: :class:`TimedOut`.
    stdin
        Text to feed it.
    env
        Environment to start from instead of our own; what would configure calicoctl is taken out.
    """
    argv = [binary, *argv_tail, f"--config={config}"]
    stdout, stderr, rc = _supervise(argv, deadline, stdin, env)
    return Result(rc, stdout, stderr)


_versions = {}


def client_version(binary, deadline=10.0):
    """The release of this calicoctl as a tuple of numbers, such as (1, 6, 3)."""
    try:
        stat = os.stat(binary)
    except OSError as err:
        raise NotInstalled(f"calicoctl is not at {binary}: {err.strerror}") from err
    key = (binary, stat.st_mtime_ns, stat.st_size)
    if key not in _versions:
        # It says its own version first and then asks the datastore for the cluster's, which may
        # take for ever; without a configuration to read it never gets there.
        argv = [binary, "version", "--config=/dev/null"]
        stdout, stderr, _rc = _supervise(argv, deadline, None, None, until=b"\n")
        found = re.match(r"Client Version:\s+v?(\d+)\.(\d+)\.(\d+)", stdout)
        if not found:
            raise Unknown(f"{binary} version said: {(stdout + stderr).strip()!r}")
        _versions.clear()
        _versions[key] = tuple(int(number) for number in found.groups())
    return _versions[key]


def classify(result):
    """The error that this :class:`Result` stands for, or None."""
    if result.rc is None:
        return TimedOut("calicoctl did not end before the deadline and was killed")
    if result.rc == 0:
        return None
    partial = _PARTIAL.match(result.stdout)
    # Errors go to stdout in 1.x and 3.0 to 3.7, to stderr later; then stdout may hold resources.
    error = None
    for text in (_LOG_LINE.sub("", result.stderr), _PARTIAL.sub("", result.stdout)):
        if text.strip() and (error is None or isinstance(error, Unknown)):
            error = _error(text.strip())
    if error is None:
        return Unknown((result.stderr + result.stdout).strip() or "calicoctl failed without a word")
    # 3.x says "the first 1 out of 1" where nothing was done at all.
    if partial and int(partial.group(1)) < int(partial.group(2)):
        done, total = int(partial.group(1)), int(partial.group(2))
        return PartialSuccess(f"{done} of {total} done, then: {error}", done, total, error)
    return error


_PARTIAL = re.compile(r"Partial success: \w+ the first (\d+) out of (\d+)[^\n]*\n?", re.IGNORECASE)
# What the libraries inside calicoctl log between its own words.
_LOG_LINE = re.compile(r"^(?:\{\"level\":|time=\"|\d{4}-\d\d-\d\d[ T]\d\d:).*\n?", re.MULTILINE)
_HEAD = re.compile(
    r"""(?:failed\ to\ (?:
            (?P<command>execute\ command)
            |create\ Calico\ API\ client
            |get\ resources
            |(?:create|apply|replace|delete|patch)\ (?:any\ )?'[^']*'\ resources?
        )
        |hit\ error(?P<some>\(s\))?
        |error\ executing\ command
    ):\ \[?(?:updating\ existing\ resource:\ )?""",
    re.IGNORECASE | re.VERBOSE,
)

# What an error text begins with, once the words about what was tried are gone. In this order.
_CAUSES = [
    (NotFound, r"resource does not exist: "),
    (NotFound, r"\w+ \S+ not found$"),
    (NotFound, r"IP address \S+ is not assigned"),
    (AlreadyExists, r"resource already exists: "),
    (AlreadyExists, r"failed to update label of .* is already present"),
    (Conflict, r"update conflict: "),
    (Invalid, r"error with (?:field|the following fields:\s+-) +(?P<field>\S+)"
              r"(?: = '(?P<value>[^\n]*?)')?(?: \((?P<reason>.*?)\)\]?(?:\n|$)|\]?$)"),
    (WrongGeneration, r"syntax error in .*: invalid config file: unknown (?:APIVersion|Kind) "),
    (BadConfig, r"syntax error in |Error reading config file: |unknown datastore type: "),
    (BadConfig, r"no etcd endpoints specified|KUBECONFIG environment variable or "),
    (BadConfig, r"(?:could not initialize etcdv3 client: )?(?:open|stat) \S+: "),
    (Locked, r"[^\n]*(?:datastore (?:is )?locked|not ready to process requests)"),
    (Unreachable, r"unable to get Cluster Information to verify version mismatch: "),
    (VersionMismatch, r"version mismatch"),
    (Denied, r"[^\n]*(?:connection is unauthorized|permission denied|\(Forbidden\))"),
    (Unreachable, r"client: etcd cluster is unavailable or misconfigured"),
    (Unreachable, r"(?:[^\n]*: )?(?:dial (?:tcp|udp)|context deadline exceeded|EOF|x509: |tls: )"),
    (Unreachable, r"could not initialize etcdv3 client: "),
    (Unsupported, r"(?:unknown )?resource type ['(]?(?P<value>[^')]*)['\)]? "),
    (Unsupported, r"operation \w+ is not supported on "),
    (NotRunning, r"Calico process is not running"),
    (NotPermitted, r"Need super user privileges"),
    (Invalid, r"(?:error parsing document: )?field in document is not recognized or is in the"
              r" wrong location: (?P<field>\S+)"),
    (Invalid, r"error parsing document: cannot parse string '(?P<value>.*)' into field"
              r" (?P<field>\S+)"),
    (Invalid, r"error parsing document: invalid (?:IP|CIDR) address: (?P<value>.*)"),
    (Invalid, r"error (?:parsing document|unmarshaling JSON|converting YAML to JSON): "
              r"(?P<reason>.*)"),
    (Invalid, r"insufficient identifiers, missing '(?P<field>\w+)'"),
    (Invalid, r"invalid (?:IP address specified|CIDR address|IP address): (?P<value>.*)"),
    (Invalid, r"invalid value '(?P<value>.*)'"),
    (Invalid, r"unrecogni[sz]ed (?P<field>output format|component) '(?P<value>.*)'"),
    (Invalid, r"unrecognised config name '(?P<field>.*)'"),
    (Invalid, r"the supplied (?P<field>AS number) is not valid"),
    (Invalid, r"--(?P<field>node) should not be specified"),
    (Invalid, r"no resources specified|Invalid option: "),
    # Last, as they may stand anywhere: what somebody wrote into a resource has been told apart by now. A
    # socket of the host's, such as BIRD's, is none of the datastore's.
    (Unreachable, r"(?![^\n]*\bunix\b)[^\n]*(?:"
                  # An etcd without a leader, or with too much to do; by either of its clients.
                  r"has no leader|etcdserver: (?:no leader|not leader|leader changed|request timed out"
                  r"|too many requests|server stopped|unhealthy cluster)|Raft Internal Error"
                  r"|response is invalid json|rpc error: code = (?:Unavailable|DeadlineExceeded)"
                  r"|transport is closing|no available endpoint"
                  # A connection that was lost.
                  r"|connection (?:refused|reset by peer|timed out)|unexpected EOF|broken pipe|i/o timeout"
                  r"|TLS handshake timeout|no route to host|network is unreachable|no such host"
                  # The Kubernetes API.
                  r"|server is currently unable to handle the request|has received too many requests"
                  r"|unable to return a response in the time allotted"
                  r")"),
]  # fmt: skip
_CAUSES = [(kind, re.compile(pattern, re.IGNORECASE | re.DOTALL)) for kind, pattern in _CAUSES]


def _error(text):
    head = _HEAD.match(text)
    cause = _cause(text[head.end() :] if head else text, text, head and head.group("command"))
    if head and head.group("some"):
        return PartialSuccess(f"not all were written: {cause}", None, None, cause)
    return cause


def _cause(text, whole, command):
    for kind, pattern in _CAUSES:
        found = pattern.match(text)
        if not found:
            continue
        if kind is BadConfig and command:
            # The same words, but about the file that was to be applied.
            return Invalid(whole, reason=text)
        if kind is Invalid:
            return Invalid(whole, **found.groupdict())
        return kind(whole)
    return Unknown(whole)


def _documents(resources):
    """Several JSON documents, which are a YAML stream; both generations read that."""
    return "\n---\n".join(json.dumps(resource) for resource in resources)


def _resources(stdout):
    try:
        data = json.loads(stdout)
    except ValueError as err:
        raise Unknown(f"calicoctl get wrote no JSON: {stdout[:200]!r}") from err
    if data is None:
        raise Unknown("calicoctl get wrote null and no reason")
    if isinstance(data, dict) and str(data.get("kind", "")).endswith("List") and "items" in data:
        data = data["items"] or []
    return data if isinstance(data, list) else [data]


def _options(options):
    return [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in options.items()
        if value is not None
    ]


def _supervise(argv, deadline, stdin, env, until=None):
    """
    Run a program in a process group of its own, within a deadline, with bounded output.

    until
        Stop it as soon as it wrote this (bytes) to stdout.
    """
    inherited = os.environ if env is None else env
    clean = {name: value for name, value in inherited.items() if not _ENVIRONMENT.fullmatch(name)}
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean,
            start_new_session=True,
        )
    except OSError as err:
        raise _why_not_started(argv[0], err) from err
    output = {process.stdout: bytearray(), process.stderr: bytearray()}
    try:
        with process.stdin, process.stdout, process.stderr:
            _exchange(process, output, (stdin or "").encode(), time.monotonic() + deadline, until)
    except TimeoutError:
        words = " ".join(argv[1:3])
        raise TimedOut(f"calicoctl {words} did not end within {deadline:g} s and was killed") from None
    finally:
        _kill_group(process)
    stdout, stderr = (bytes(part).decode("utf-8", "replace") for part in output.values())
    return stdout, stderr, process.returncode


def _exchange(process, output, stdin, end, until):
    with selectors.DefaultSelector() as selector:
        for stream in output:
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _events in selector.select(left):
                stream = key.fileobj
                if stream is process.stdin:
                    stdin = _feed(selector, stream, stdin)
                    continue
                chunk = os.read(stream.fileno(), 65536)
                output[stream] += chunk
                if not chunk:
                    selector.unregister(stream)
                if until and until in output[process.stdout]:
                    return
                if sum(map(len, output.values())) > LARGEST_OUTPUT:
                    raise TooMuchOutput(f"calicoctl wrote more than {LARGEST_OUTPUT} bytes")
    left = end - time.monotonic()
    try:
        process.wait(max(left, 0.01))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None


def _feed(selector, stream, data):
    try:
        data = data[os.write(stream.fileno(), data) :] if data else b""
    except BrokenPipeError:
        data = b""
    if not data:
        selector.unregister(stream)
        stream.close()
    return data


def _kill_group(process):
    """Children may outlive calicoctl, so this is done however it ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _why_not_started(binary, err):
    if err.errno == errno.ENOENT and not os.path.exists(binary):
        return NotInstalled(f"calicoctl is not at {binary}")
    reasons = {
        errno.EACCES: "it is not executable",
        errno.ENOEXEC: "it is no program for this machine (wrong architecture or damaged?)",
        errno.ENOENT: "the interpreter or loader that it needs is missing",
    }
    return NotRunnable(f"{binary} cannot be run: {reasons.get(err.errno, err.strerror)}")
