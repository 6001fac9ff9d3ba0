# Every target makes the virtual environment first if it is missing or out of date.
.DELETE_ON_ERROR:
.PHONY: help venv demo test lint bench docs clean

PYTHON ?= python3
# Options for pip, such as an index that has CPU builds of torch.
PIP_ARGS ?=
PYTEST_ARGS ?=
# Tests run side by side on the cores there are; each worker may take 1 GB of memory.
PYTEST_WORKERS ?= logical
BENCH_ARGS ?=
DEMO_DIR ?= scanward-demo
# Without a GPU the pinned CPU versions are installed; with one, pip chooses builds that can use it.
CONSTRAINTS := $(if $(shell command -v nvidia-smi 2>/dev/null),,-c constraints-cpu.txt)
# mkdocs-material advertises its successor on every build.
export NO_MKDOCS_2_WARNING := 1
BIN := .venv/bin
STAMP := .venv/.installed

help:
	@echo "make demo    forge copies of two real mammograms and a chest phantom, scan all six, write a report"
	@echo "make test    run the tests (PYTEST_ARGS=..., PYTEST_WORKERS=0 for one after the other)"
	@echo "make lint    ruff, mypy, the law of imports, the docs"
	@echo "make bench   measure speed and memory"
	@echo "make docs    build the documentation into site/"
	@echo "make venv    only make the virtual environment"

venv: $(STAMP)

$(STAMP): pyproject.toml constraints-cpu.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "scanward needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) $(CONSTRAINTS) -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m scanward demo -o "$(DEMO_DIR)"

test: $(STAMP)
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	$(BIN)/python -m mkdocs build --strict --quiet --site-dir site

docs: $(STAMP)
	$(BIN)/python -m mkdocs build --strict --site-dir site

bench: $(STAMP)
	$(BIN)/python benchmarks/speed.py $(BENCH_ARGS)

clean:
	rm -rf .venv site dist scanward-demo
