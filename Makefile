# Two commands do everything: `make demo` and `make test`. Both create .venv and install the package into it by themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/.stamps

.PHONY: help demo test coverage sanitize lint types check clean

help:
	@echo "make demo   train, export, load, evaluate and measure a network on the embedded digits (a few minutes, CPU)"
	@echo "make test   install what the tests need and run them"
	@echo "make coverage  branch coverage of the container, which has to be complete"
	@echo "make sanitize  fuzz the compiled loops under the compiler's sanitizers"
	@echo "make check  lint and type-check"
	@echo "make clean  remove what the other targets made"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

SOURCES := pyproject.toml setup.py $(wildcard formats/pemn_formats/csrc/*)

$(STAMPS)/run: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[plot]"
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/dev: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[plot,dev]"
	@mkdir -p $(STAMPS) && touch $(STAMPS)/run $@

demo: $(STAMPS)/run
	$(BIN)/pemn-compress demo --force

test: $(STAMPS)/dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4

coverage: $(STAMPS)/dev
	$(BIN)/python -m pytest -q -n 2 -m "not slow" tests/formats --cov=pemn_formats --cov-fail-under=100 \
		--cov-report=term-missing:skip-covered

sanitize: $(STAMPS)/dev
	PYTHON=$(BIN)/python .ci/sanitized

lint: $(STAMPS)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMPS)/dev
	$(BIN)/mypy

check: lint types

clean:
	rm -rf build pemn_compress.egg-info formats/pemn_formats/_native.*
	rm -rf $(VENV) dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
