# make run    set up what the simulator needs and simulate the quickstart
# make app    the dashboard, in the browser
# make test   lint, type-check, check the layering and run the tests
# make bench  how many requests a second are simulated, and where the time goes
# make gpu    on a machine with a GPU: test and measure the kernels, calibrate (docs/hardware.md)

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt

# An install is as new as its stamp, so that a second `make run` calls no pip.
BASE := $(VENV)/.simlora-base
APP := $(VENV)/.simlora-app
DEV := $(VENV)/.simlora-dev

# Where there is a GPU, torch is usually there too: no environment of our own.
GPU_PYTHON ?= python3
GPU_MODEL ?= llama-3.1-8b
GPU_OUT ?= runs/gpu

.PHONY: setup run app test browser lint bench gpu
.DELETE_ON_ERROR:
.NOTPARALLEL:

setup: $(BASE)

run: $(BASE)
	@$(PY) -m simlora run scenarios/quickstart.yaml

app: $(APP)
	@$(PY) -m streamlit run app.py --server.address=127.0.0.1 --browser.gatherUsageStats=false \
		--server.fileWatcherType=none --client.toolbarMode=minimal --client.showErrorDetails=none

# In processes of their own: triton is interpreted from its import on, and a browser's driver and a
# notebook's kernel leave their event loops and settings to what comes after them. On all cores but
# for what serves in real time, or starts processes itself. All are run, whatever fails in one of
# them, and no test is waited for longer than this.
PATIENCE_S ?= 600
PYTEST := $(PY) -m pytest --timeout $(PATIENCE_S)
ALONE := tests/integration tests/unit/live tests/unit/serve tests/unit/dashboard
test: $(DEV) lint browser
	@failed=0; \
	$(PYTEST) -n auto --dist worksteal $(patsubst %,--ignore %,$(ALONE) tests/unit/kernels tests/browser) || failed=1; \
	$(PYTEST) -n auto --dist worksteal tests/unit/kernels || failed=1; \
	$(PYTEST) $(ALONE) --ignore tests/integration/test_notebooks.py || failed=1; \
	$(PYTEST) tests/integration/test_notebooks.py || failed=1; \
	$(PYTEST) tests/browser || failed=1; \
	exit $$failed

# The tests of the dashboard are made in a real browser; without one they are skipped, and say so.
browser:
	@command -v chromium >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing chromium for the tests of the dashboard"; \
			{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium; } >/dev/null 2>&1 \
				|| echo "chromium cannot be installed, so the tests of the dashboard are skipped"; \
		else \
			echo "there is no chromium, so the tests of the dashboard are skipped (Debian's package is called chromium)"; \
		fi; }

lint: $(DEV)
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(PY) $(VENV)/bin/lint-imports --no-logo

bench: $(DEV)
	@$(PY) -m tests.benchmarks

gpu:
	@mkdir -p $(GPU_OUT)
	@$(GPU_PYTHON) -m pytest -q tests/unit/kernels --confcutdir tests/unit/kernels
	@$(GPU_PYTHON) -m pytest -q tests/unit/engine --confcutdir tests/unit/engine
	@$(GPU_PYTHON) -m kernels.benchmark --model $(GPU_MODEL) --out $(GPU_OUT)
	@$(GPU_PYTHON) -m simlora calibrate --device cuda --model $(GPU_MODEL) --out $(GPU_OUT)/$(GPU_MODEL).json

$(PY):
	@command -v $(PYTHON) >/dev/null || \
		{ echo "simlora needs Python 3.11 or newer, and there is no $(PYTHON); name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "simlora needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1); name another with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module; on Debian and Ubuntu install the package python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)

$(BASE): pyproject.toml constraints.txt | $(PY)
	@echo "installing simlora into $(VENV) (the first time this takes about a minute)"
	@$(PIP_INSTALL) -e .
	@touch $@

$(APP): pyproject.toml constraints.txt | $(PY)
	@echo "installing simlora and its dashboard into $(VENV)"
	@$(PIP_INSTALL) -e '.[dashboard]'
	@touch $(BASE) $@

$(DEV): pyproject.toml constraints.txt | $(PY)
	@echo "installing simlora and its development tools into $(VENV)"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $(BASE) $(APP) $@
