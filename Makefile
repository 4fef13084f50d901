# Two commands: `make compare` and `make test`. Both install what they need into .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
RUN := runs/pocket

.PHONY: compare test slow lint pocket figures clean

compare: .venv/.installed
	$(BIN)/mcinterp compare pocket:base pocket:sft pocket:rl pocket:overoptimised --out $(RUN)
	@echo "The report is $(CURDIR)/$(RUN)/report.html"

test: .venv/.tests-installed
	$(BIN)/python -m pytest -m "not slow"

slow: .venv/.tests-installed
	$(BIN)/python -m pytest -m slow

lint: .venv/.lint-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

.venv/bin/python:
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "Python 3.11, 3.12 or 3.13 is wanted; name one: make PYTHON=python3.11"'
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv (once; a few minutes) ..."
	$(PIP) --editable .
	@touch $@

.venv/.tests-installed: .venv/.installed
	$(PIP) --editable '.[test]'
	@touch $@

.venv/.lint-installed: .venv/.tests-installed
	$(PIP) --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv runs
