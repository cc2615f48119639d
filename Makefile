# make run    set up what the simulator needs and simulate the quickstart
# make test   lint, type-check, check the layering and run the tests
# make bench  how many requests a second are simulated, and where the time goes
# make gpu    on a machine with a GPU: test and measure the kernels, calibrate (docs/hardware.md)

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt

# An install is as new as its stamp, so that a second `make run` calls no pip.
BASE := $(VENV)/.simlora-base
DEV := $(VENV)/.simlora-dev

# Where there is a GPU, torch is usually there too: no environment of our own.
GPU_PYTHON ?= python3
GPU_MODEL ?= llama-3.1-8b
GPU_OUT ?= runs/gpu

.PHONY: setup run test lint bench gpu
.DELETE_ON_ERROR:
.NOTPARALLEL:

setup: $(BASE)

run: $(BASE)
	@$(PY) -m simlora run scenarios/quickstart.yaml

test: $(DEV) lint
	@$(PY) -m pytest

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

$(DEV): pyproject.toml constraints.txt | $(PY)
	@echo "installing simlora and its development tools into $(VENV)"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $(BASE) $@
