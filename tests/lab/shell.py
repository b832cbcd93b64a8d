"""A prompt at which the lab's Salt, hosts and Docker answer."""

import os
import subprocess

from tests.lab import docker, paths, salt

RC = """\
[ -f ~/.bashrc ] && . ~/.bashrc
export PATH={venv}/bin:"$PATH" SALT_CONFIG_DIR={etc}
lab() {{ (cd {checkout} && {venv}/bin/python -m tests.lab "$@"); }}
host() {{ {docker} exec -it "$@"; }}
PS1='(calico lab) \\w # '
cat <<'END'
salt '*' calico.status        what the nodes say
salt '*' state.apply calico   apply the formula
host node1 bash               into a host
lab status | lab etcd freeze | …
END
"""


def run():
    rc = paths.STATE / "shellrc"
    rc.write_text(
        RC.format(
            venv=paths.VENV,
            etc=salt.ETC,
            checkout=paths.CHECKOUT,
            docker=" ".join(docker.command()),
        )
    )
    return subprocess.call(["bash", "--rcfile", str(rc), "-i"], env=os.environ)
