# `make` alone lists the targets. Everything lives in .venv; what is already set up is not set up again.

PYTHON ?= python3
VENV ?= .venv
# Pinned here and nowhere else: the package itself takes any torch from 2.8 on.
TORCH ?= torch==2.13.0

# Test files run side by side.
JOBS ?= 2

DEMO_IMAGE ?= examples/cat.jpg
DEMO_PROMPT ?= --point 200,150
DEMO_OUT ?= out/demo

BIN := $(VENV)/bin
CREATED := $(VENV)/.created
NODE_MODULES := web/node_modules/.installed
BASE := $(VENV)/.base-installed
DEV := $(VENV)/.dev-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test page check format bench docs mutants clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(BASE) ## segment an example photograph (no torch needed), then click on it yourself in the browser
	@$(BIN)/segloop segment $(DEMO_IMAGE) $(DEMO_PROMPT) -o $(DEMO_OUT) > /dev/null
	@echo "The mask, the overlay and the cut-out are in $(DEMO_OUT)/"
	@if [ "$$(uname)" = Darwin ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ]; then $(BIN)/segloop demo $(DEMO_IMAGE); \
	else echo "To click on it yourself:  $(BIN)/segloop demo $(DEMO_IMAGE)"; fi

test: check page ## run every check and every test
	cd web && npm test
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

page: $(NODE_MODULES) ## type-check the web page and build it into the package
	cd web && npm run --silent build

check: $(DEV) ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## format the code and apply the safe lint fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV) ## measure speed and memory on this machine, beside transformers
	$(BIN)/python -m benchmarks

docs: $(DEV) ## build the guide and the API reference into site/, warnings are errors
	$(BIN)/mkdocs build --strict

mutants: $(DEV) ## break the code in listed ways; a test must notice each
	$(BIN)/python tests/mutants/run.py

clean: ## remove what was built, not the virtual environment
	rm -rf out site dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(CREATED):
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) not found: name a Python with  make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is older than Python 3.10: name a newer one with  make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || { echo "$(PYTHON) lacks the venv module: on Debian or Ubuntu  apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@touch $@

$(BASE): pyproject.toml | $(CREATED)
	@echo "Installing segloop into $(VENV) ..."
	@$(PIP) install --quiet --editable .
	@touch $@

$(DEV): pyproject.toml | $(CREATED)
	@echo "Installing segloop with its development tools into $(VENV) ..."
	@$(BIN)/python -c 'import torch' 2> /dev/null || $(PIP) install --quiet "$(TORCH)"
	@$(PIP) install --quiet --editable '.[dev]'
	@touch $@ $(BASE)

$(NODE_MODULES): web/package-lock.json
	@command -v npm > /dev/null || { echo "npm not found: install Node.js 20.19 or newer" >&2; exit 1; }
	@cd web && npm ci --silent
	@touch $@
