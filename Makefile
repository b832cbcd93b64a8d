# `make demo` is where to start. HOSTS=N makes another number of hosts than three;
# CALICO_IMAGE_ARCHIVE=, CALICOCTL= and CALICO_VERSION= put the originals into the lab.

HOSTS ?= 3
PYTHON := $(shell command -v python3.11)
VENV := .venv
# Says when the environment is complete, and whether it still is what the requirements want.
VENV_READY := $(VENV)/ready
BIN := $(VENV)/bin
LAB := $(BIN)/python -m tests.lab
TIER := $(BIN)/python -m tests.tiers

# `su` leaves root without these.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
# As on a minion: what is compiled is compiled once, and not by each of some thousand processes.
unexport PYTHONDONTWRITEBYTECODE
export PROFILE CALICO_IMAGE_ARCHIVE CALICOCTL CALICO_VERSION

.NOTPARALLEL:
.PHONY: help release demo shell demo-down test test-unit test-functional test-integration ci \
	matrix matrix-faults matrix-fleet matrix-salt lint bench venv packages distclean \
	fit-for-venv fit-for-tests fit-for-lab

help:
	@echo 'make demo         three hosts with Calico, from nothing'
	@echo "make shell        a prompt where salt '*' … works on them"
	@echo 'make demo-down    remove them'
	@echo 'make test         test-unit, test-functional and test-integration'
	@echo 'make matrix       what is slower: matrix-faults, matrix-fleet, matrix-salt'
	@echo 'make ci           test and lint, on HEAD in a fresh clone'
	@echo 'make lint bench   ruff, yamllint, salt-lint; the benchmark'
	@echo 'make distclean    remove what was downloaded and built as well'

demo: fit-for-lab venv
	@$(LAB) demo --hosts $(HOSTS)

shell: venv
	@$(LAB) shell

demo-down:
	@# Also where the virtual environment is broken, or was never completed.
	@$(PYTHON) -m tests.lab down

test matrix matrix-faults matrix-fleet matrix-salt test-integration: fit-for-lab venv packages
	@$(TIER) $@

test-functional: fit-for-tests venv packages
	@$(TIER) $@

test-unit: fit-for-venv venv
	@$(TIER) $@

# Only a commit that passes here may become `main`.
ci:
	@$(PYTHON) tools/ci.py

bench: fit-for-lab venv packages
	PYTHONPATH=_utils $(BIN)/python -m tests.bench.bench

lint: fit-for-venv venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/yamllint --strict .
	git ls-files -z '*.sls' '*.jinja' | xargs -0 $(BIN)/salt-lint

release: fit-for-venv venv
	$(BIN)/python tools/release.py

distclean: demo-down
	rm -rf .lab $(VENV)

venv: $(VENV_READY)

$(VENV_READY): tests/requirements.txt
	@echo 'Salt and the test tools go to $(VENV) (a minute or two) …'
	@$(PYTHON) -m tests.lab.packages venv
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --root-user-action=ignore \
		-r tests/requirements.txt
	@touch $@

packages:
	@$(BIN)/python -m tests.lab.packages tests

# Whether this machine is fit is asked before anything is changed on it.
fit-for-venv fit-for-tests fit-for-lab: fit-for-%:
	@[ -n '$(PYTHON)' ] || { echo 'Python 3.11 is needed, and there is no python3.11.' >&2; exit 1; }
	@$(PYTHON) -B tests/lab/checks.py $*
