PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
REPORT ?= report
# CI sets SLOW=1 to run the tests marked slow as well.
MARKERS := $(if $(SLOW),,-m "not slow")

.PHONY: verify prove test lint clean

verify: prove
	$(BIN)/osdn-theory verify --out $(REPORT)

# Exit code 3: nothing failed, but without Coq its proofs were not run, and the table says so.
prove: $(VENV)/.installed
	$(BIN)/osdn-theory prove --out $(REPORT) || [ $$? -eq 3 ]

test: $(VENV)/.test-installed lint
	$(BIN)/python -m pytest -n auto --dist worksteal $(MARKERS) --cov --cov-report=term --cov-fail-under=95

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.test-installed: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) -e '.[test]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(REPORT) build *.egg-info
