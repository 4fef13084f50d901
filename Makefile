# Two commands: `make compare` and `make test`. Both install what they need into .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
RUN := runs/pocket
POCKET := pocket:base pocket:sft pocket:rl pocket:overoptimised
STEPS := runs/over_optimisation/checkpoints

.PHONY: compare test slow lint docs package figures bench lenses resolve clean

compare: .venv/.installed
	$(BIN)/mcinterp compare $(POCKET) --out $(RUN) --replace
	@echo "The report is $(CURDIR)/$(RUN)/report.html"

test: .venv/.tests-installed
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile

slow: .venv/.tests-installed
	$(BIN)/python -m pytest -m slow --numprocesses 2 --dist loadgroup

lint: .venv/.lint-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

# The documentation as HTML, from the repository alone: no network while it is built or read.
docs: .venv/.docs-installed
	$(BIN)/python -m sphinx --fail-on-warning --nitpicky --quiet --fresh-env docs build/docs
	@echo "The documentation is $(CURDIR)/build/docs/index.html"

# Sdist and wheel in build/dist, the wheel made from the sdist; installed into an environment of its own, it compares the
# pocket pair outside the checkout, and all types that it shows to a type checker are known.
FRESH := $(CURDIR)/build/fresh
package: .venv/.lint-installed
	rm -rf build/dist $(FRESH)
	$(BIN)/python -m build --outdir build/dist
	$(PYTHON) -m venv $(FRESH)
	$(FRESH)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt build/dist/*.whl
	cd $(FRESH) && bin/mcinterp compare pocket:base pocket:sft --only lens --out run --quiet && bin/mcinterp verify run
	cd $(FRESH) && PATH="$(FRESH)/bin:$$PATH" $(CURDIR)/$(BIN)/pyright --verifytypes mcinterp --ignoreexternal > types.txt \
	  || { cat types.txt; exit 1; }

# Every picture that the README shows, from the pocket chain (half an hour on two cores); the benchmark draws its own.
figures: compare
	$(BIN)/mcinterp figures $(RUN) --out figures
	$(BIN)/mcinterp locate pocket:base pocket:sft --out runs/where --replace
	$(BIN)/mcinterp figures runs/where --out figures
	$(BIN)/mcinterp behave $(POCKET) --out runs/behaviour --replace
	$(BIN)/mcinterp figures runs/behaviour --out figures
	test -e $(STEPS) || $(BIN)/python -m mcinterp.organisms.steps --out $(STEPS) --threads 2
	$(BIN)/mcinterp behave pocket:base $(STEPS)/step-* --battery over_optimisation \
	  --prompts battery:over_optimisation-pocket --out runs/over_optimisation/steps --replace
	$(BIN)/mcinterp figures runs/over_optimisation/steps --out figures

# Plants collapse in known sites and scores every method of localisation (about 20 minutes on two cores).
bench: .venv/.installed
	$(BIN)/mcinterp bench localise --half both --out runs/bench

# The tuned lenses that lie beside the shipped checkpoints.
lenses: .venv/.installed
	$(BIN)/mcinterp fit-lens $(POCKET) --out mcinterp/organisms/checkpoints

# Whether all dependencies resolve for the other Pythons (one of them ships as source only and is built first).
resolve: .venv/.installed
	$(PIP) --upgrade pip
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheels . transformers-stream-generator==0.0.5
	for version in 3.12 3.13; do \
	  $(BIN)/python -m pip install --dry-run --quiet --ignore-installed --target build/none --find-links build/wheels \
	    --only-binary=:all: --python-version $$version --constraint constraints.txt 'mcinterp[test,dev]' \
	  && echo "resolves for Python $$version" || exit 1; \
	done

.venv/bin/python:
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "Python 3.11, 3.12 or 3.13 is wanted; name one: make PYTHON=python3.11"'
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv (once; a few minutes) ..."
	$(PIP) --editable .
	@touch $@

.venv/.docs-installed: .venv/.installed
	$(PIP) --editable '.[docs]'
	@touch $@

.venv/.tests-installed: .venv/.installed
	$(PIP) --editable '.[test]'
	@touch $@

.venv/.lint-installed: .venv/.tests-installed
	$(PIP) --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv runs
