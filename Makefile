PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Another Triton than the pinned one: make test VENV=.venv-3.8 TRITON=3.8
CONSTRAINTS := $(if $(TRITON),$(VENV)/constraints.txt,constraints.txt)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
REPORT ?= report
KERNELS ?= chunk_osdn fused_recurrent_osdn
# CI sets SLOW=1 to run the tests marked slow as well.
CHOICE := $(if $(SLOW),,-m "not slow")

.PHONY: verify test suite coverage lint site clean

# Every step runs and the page is written, whatever the outcome; a failure is the exit code at the end. Exit code 3 is
# none: where Coq may not be installed its proofs are not run, and what a precision cannot show is not observed. The
# page says so. What proofs and cross-checks print lies beside their documents: what verify prints sums them up.
verify: $(VENV)/.installed
	@code=0; \
	step() { "$$@" || [ $$? -eq 3 ] || code=1; }; \
	step .ci/install-coq; \
	mkdir -p $(REPORT)/crosscheck; \
	step $(BIN)/osdn-theory prove --out $(REPORT) >$(REPORT)/proofs.txt; \
	for kernel in $(KERNELS); do \
		folder=$(REPORT)/crosscheck/$$kernel; \
		step $(BIN)/osdn-theory crosscheck --kernel $$kernel --out $$folder >$$folder.txt; \
	done; \
	step $(BIN)/osdn-theory verify --out $(REPORT); \
	exit $$code

# Types are checked beside the tests, so that no core waits for them.
test: $(VENV)/.test-installed
	$(MAKE) --jobs=2 lint suite

# One thread for each of pytest's processes: more of them than cores make training wait for itself. Bytecode is kept
# whatever the shell says: tests start hundreds of processes that would each compile every module again.
suite: $(VENV)/.test-installed
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal $(CHOICE)

# Python 3.11 follows every line to count some: everyday tests take twice as long, and CI does without.
coverage: CHOICE := -m "not slow" --cov --cov-report=term --cov-fail-under=90
coverage: suite

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Warnings are errors, and so is a link to a page, a place or a file that is not there.
site: $(VENV)/.site-installed
	$(BIN)/sphinx-build --builder html --fail-on-warning --keep-going --quiet --doctree-dir build/doctrees notebooks site
	$(BIN)/python notebooks/generate/check_links.py site
	@echo "site: site/index.html"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Torch brings a Triton of its own choice: with another one it is not pinned either.
$(VENV)/constraints.txt: constraints.txt | $(BIN)/python
	grep -viE '^(torch|triton)==' constraints.txt >$@
	echo 'triton == $(TRITON).*' >>$@

$(VENV)/.installed: setup.cfg $(CONSTRAINTS) | $(BIN)/python
	$(PIP) -e '.[theory,kernels]'
	touch $@

$(VENV)/.test-installed: setup.cfg $(CONSTRAINTS) | $(BIN)/python
	$(PIP) -e '.[test]'
	touch $@ $(VENV)/.installed $(VENV)/.site-installed

$(VENV)/.site-installed: setup.cfg $(CONSTRAINTS) | $(BIN)/python
	$(PIP) -e '.[docs]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(REPORT) site jupyter_execute notebooks/generated build *.egg-info
