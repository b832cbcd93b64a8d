"""The lab's commands: `python -m tests.lab up|down|demo|status|exec|salt|salt-run|etcd|shell`."""

import argparse
import signal
import subprocess
import sys

from tests.lab import checks, demo, docker, lab, salt, settings, shell
from tests.lab.artifacts import BuildFailed
from tests.support import waiting


def parser():
    top = argparse.ArgumentParser(prog="lab", description=__doc__.partition(":")[0])
    verbs = top.add_subparsers(dest="verb", required=True)
    for verb, text in (("up", "hosts, Salt and etcd run"), ("demo", "up, and Calico applied")):
        making = verbs.add_parser(verb, help=text)
        making.add_argument("--hosts", type=_host_count, default=lab.HOSTS)
    verbs.add_parser("down", help="nothing is left but the cache")
    verbs.add_parser("status", help="what runs")
    verbs.add_parser("shell", help="a prompt where `salt '*' …` works")
    running = verbs.add_parser("exec", help="run a command in a host")
    running.add_argument("host")
    running.add_argument("command", nargs=argparse.REMAINDER)
    for program in ("salt", "salt-run"):
        salting = verbs.add_parser(program, help=f"{program} ARGUMENTS against the lab's master")
        salting.add_argument("arguments", nargs=argparse.REMAINDER)
        salting.set_defaults(verb="salt", program=program)
    etcd = verbs.add_parser("etcd", help="what may happen to a datastore")
    etcd.add_argument("action", choices=("start", "stop", "freeze", "thaw"))
    return top


def _host_count(text):
    count = int(text)
    if not 1 <= count <= 60:
        raise argparse.ArgumentTypeError("1 to 60 hosts")
    return count


class Interrupted(BaseException):
    """Ctrl-C. Not KeyboardInterrupt: Salt's event bus takes that one for itself, and goes on."""


def _interrupt(*_):
    raise Interrupted


def main(argv):
    options = parser().parse_args(argv)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        return globals()[f"_{options.verb}"](options) or 0
    except (checks.Unfit, settings.Refused, lab.Busy) as refusal:
        print(refusal, file=sys.stderr)
    except (RuntimeError, BuildFailed, subprocess.SubprocessError, waiting.Missed) as failure:
        print(failure, file=sys.stderr)
    except Interrupted:
        print("Interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    return 1


def _up(options):
    lab.Lab(count=options.hosts).up()


def _down(_):
    with lab.exclusive():
        lab.down()


def _demo(options):
    return demo.run(lab.Lab(count=options.hosts))


def _status(_):
    if not docker.running():
        print("The lab is down.")
        return 1
    found = lab.attach()
    print(f"etcd   {found.etcd.endpoint}  {'runs' if found.etcd.pid else 'stopped'}")
    for host in found.hosts:
        print(f"{host.name}  {host.address}")


def _exec(options):
    _needs_running()
    terminal = ["--tty"] if sys.stdin.isatty() else []
    return subprocess.call(docker.command("exec", "--interactive", *terminal, options.host, *options.command))


def _salt(options):
    _needs_running()
    return subprocess.call(salt.command(*options.arguments, program=options.program))


def _etcd(options):
    _needs_running()
    getattr(lab.attach().etcd, options.action)()


def _shell(_):
    _needs_running()
    return shell.run()


def _needs_running():
    if not docker.running():
        raise settings.Refused("The lab is down; `make demo` makes one.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
