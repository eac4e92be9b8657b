# `make demo` and `make test` need Python 3.11 or newer and nothing else: they make .venv and install into it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The dictionary of a real model, cards of its neurons, and an organism: packages of their own.
PACKAGES := packages/silverstain-smollm2 packages/silverstain-smollm2-cards packages/silverstain-composing
DOCS_INSTALLED := $(VENV)/.installed-docs

# A language model this small runs fastest on one thread; more threads wait for each other.
export OMP_NUM_THREADS ?= 1
# Tests run beside each other, the tests of a file in one process: they share what the file makes.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test fuzz check format bench studies docs clean help

help:            ## list the targets
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | sort

demo: $(INSTALLED)  ## trace, draw and prove one answer of the organism, and a contrast of a real model
	@$(BIN)/silverstain models get smollm2-135m || echo "It is shown without a real model." >&2
	@$(BIN)/silverstain demo

test: $(INSTALLED)  ## the whole default test run
	$(PYTEST) $(PYTEST_ARGS)

fuzz: $(INSTALLED)  ## damage every kind of file, and kill every command, many times over (about an hour)
	SILVERSTAIN_FUZZ=$${SILVERSTAIN_FUZZ:-60} $(PYTEST) tests/fuzz $(PYTEST_ARGS)

check: $(INSTALLED)  ## what a change must pass: format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(PYTEST) $(PYTEST_ARGS)

format: $(INSTALLED)  ## put the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED)  ## measure speed, as ratios to this machine's own matrix product
	$(BIN)/python benchmarks/trace.py

studies: $(INSTALLED)  ## ask every study of the composing organism, and write the reports into docs/studies/
	$(BIN)/python -m silverstain.studies.publishing docs/studies

docs: $(DOCS_INSTALLED)  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:           ## remove what was built, the environment included
	rm -rf $(VENV) site build dist .pytest_cache .ruff_cache .hypothesis

# Installed again only when the project's needs change. The stamp is written last, so a broken install is retried.
$(INSTALLED): pyproject.toml constraints.txt $(PACKAGES:%=%/pyproject.toml)
	@test -n "$(PYTHON)" || { echo "Silverstain needs Python 3.11 or newer, and none was found. Install one, or say make PYTHON=/path/to/python3." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Silverstain into $(VENV) (once; torch is the large part) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' $(PACKAGES:%=--editable %)
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@
