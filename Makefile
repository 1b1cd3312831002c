PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
REPORT ?= report
KERNELS ?= chunk_osdn fused_recurrent_osdn
# CI sets SLOW=1 to run the tests marked slow as well and to measure coverage, which takes half as long again.
CHOICE := $(if $(SLOW),--cov --cov-report=term --cov-fail-under=95,-m "not slow")

.PHONY: verify test lint clean

# Every step runs and the page is written, whatever the outcome; a failure is the exit code at the end. Exit code 3 is
# none: where Coq may not be installed its proofs are not run, and what a precision cannot show is not observed. The
# page says so.
verify: $(VENV)/.installed
	@code=0; \
	step() { "$$@" || [ $$? -eq 3 ] || code=1; }; \
	step .ci/install-coq; \
	step $(BIN)/osdn-theory prove --out $(REPORT); \
	for kernel in $(KERNELS); do \
		step $(BIN)/osdn-theory crosscheck --kernel $$kernel --out $(REPORT)/crosscheck/$$kernel; \
	done; \
	step $(BIN)/osdn-theory verify --out $(REPORT); \
	exit $$code

# One thread for each of pytest's processes: more of them than cores make training wait for itself.
test: $(VENV)/.test-installed lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal $(CHOICE)

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) -e '.[theory,kernels]'
	touch $@

$(VENV)/.test-installed: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) -e '.[test]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(REPORT) build *.egg-info
