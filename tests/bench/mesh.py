"""``salt-run calico.mesh`` on what a thousand minions answered: half a million sessions, with faults."""

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.measure import Figure

ROOT = Path(__file__).parents[2]
NODES = 1000
LIMITS = {"seconds": 5.0, "megabytes": 500.0}
# In a process of its own: memory is that of one run, the answers included.
PROGRAM = """
import json, resource, sys, time
import calico_mesh, calico_page, calico_report
from tests.support.views import NOW, REFUSED, Fleet

fleet = Fleet(int(sys.argv[1]))
fleet.breaks_all(fleet.names[333], "BIRD gives no answer", REFUSED)
for number in range(0, len(fleet.names) - 20, 20):
    fleet.breaks(fleet.names[number], fleet.names[number + 7])
answers = fleet.answers()
figures = {}
for form in ("text", "html"):
    begin = time.perf_counter()
    mesh = calico_mesh.judge(answers, NOW)
    data = calico_report.data(mesh)
    if form == "text":
        calico_report.text(data, NOW)
    else:
        calico_page.page(mesh, data, NOW)
    figures[form] = time.perf_counter() - begin
figures["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(figures))
"""


def figures(rounds):
    """Seconds for the text and for the page, and the most memory that both took."""
    found = {
        "text": Figure(f"calico.mesh, {NODES} nodes, text", [], "s", LIMITS["seconds"]),
        "html": Figure(f"calico.mesh, {NODES} nodes, page", [], "s", LIMITS["seconds"]),
        "megabytes": Figure(f"calico.mesh, {NODES} nodes, memory", [], "MB", LIMITS["megabytes"]),
    }
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / '_utils'}"}
    for _ in range(rounds):
        argv = [sys.executable, "-c", PROGRAM, str(NODES)]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
        for name, value in json.loads(done.stdout).items():
            found[name].samples.append(value)
    return list(found.values())
