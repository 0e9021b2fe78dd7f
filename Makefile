# Two commands on a fresh machine, each doing all its own set-up:
#   make quickstart   photographs -> pairs -> teacher -> evaluation -> report
#   make test         the test suite
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALLED := $(VENV)/.installed
TEST_ENV := OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0
TEST_PROCESSES ?= 2

.PHONY: quickstart test lint ci-test soak bench install clean

install: $(INSTALLED)

# Torch comes first, so that nothing pulls another one; the rest is a complete list, so pip need not resolve it;
# basicsr is an sdist whose build imports torch, so it builds in this very environment.
$(INSTALLED): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 12) else "Sharpline needs Python 3.11 or 3.12, this is " + sys.version.split()[0] + "; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch numpy setuptools wheel
	grep -Ev '^(#|$$|torch==|basicsr==)' constraints.txt > $(VENV)/requirements.txt
	$(PIP) install --no-deps -r $(VENV)/requirements.txt
	$(PIP) install --no-deps --no-build-isolation -c constraints.txt basicsr
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

quickstart: $(INSTALLED)
	$(BIN)/sharpline run specs/quickstart.yaml

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(INSTALLED) lint
	$(TEST_ENV) $(BIN)/python -m pytest -m "not ci and not soak" -n $(TEST_PROCESSES) --dist loadgroup --durations=15

ci-test: $(INSTALLED)
	$(TEST_ENV) $(BIN)/python -m pytest -m "ci" --durations=15

# Hours: the large counts that the claims name. Results belong into tests/benchmarks/results/ with versions and command.
soak: $(INSTALLED)
	$(TEST_ENV) $(BIN)/python -m pytest -m "soak" --timeout=14400 -s

bench: $(INSTALLED)
	for script in tests/benchmarks/*.py; do $(BIN)/python -m tests.benchmarks.$$(basename $$script .py) || exit 1; done

clean:
	rm -rf $(VENV) .sharpline specs/.sharpline *.egg-info
