# One command starts everything (`make up`), one runs every test (`make test`). `make help` lists the rest.
#
# Needs only make and Python 3.11 or newer with venv. Everything else is installed into .venv, pinned and hashed.
# PYTHON=… picks another interpreter, VENV=… another folder, ARGS="…" is handed to the command.

PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,\
  $(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))) python3)
VENV ?= .venv
ARGS ?=
# Most tests wait for other processes, so there are more workers than cores. And they start so many that each of
# them compiling every module once more would take minutes, so bytecode is kept even where the environment says not to.
WORKERS ?= 4

bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check --quiet
node_modules := tests/interop/node_modules/.package-lock.json

.DEFAULT_GOAL := help
.PHONY: help up test lint format types contracts generated reference tree interop campaign check requirements clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | while IFS='	' read -r name about; do printf '  make %-13s %s\n' "$$name" "$$about"; done

up: $(VENV)/.ready ## Start everything on this machine (ARGS="--port 9000" passes flags)
	@exec $(bin)/backchannel up $(ARGS)

test: $(VENV)/.ready-dev ## Run every test except the long campaigns (ARGS="-k sidebar")
	@$(MAKE) --no-print-directory interop
	@PYTHONDONTWRITEBYTECODE= $(bin)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.ready-dev ## Formatting and lint rules, without changing anything
	@$(bin)/ruff format --check .
	@$(bin)/ruff check .

format: $(VENV)/.ready-dev ## Format, and fix what can be fixed without thought
	@$(bin)/ruff check --fix .
	@$(bin)/ruff format .

types: $(VENV)/.ready-dev ## mypy --strict
	@$(bin)/mypy

contracts: $(VENV)/.ready-dev ## Who may import whom
	@$(bin)/lint-imports

tree: $(VENV)/.ready-dev ## Write the tree in ARCHITECTURE.md anew from the modules' captions
	@$(bin)/python docs/tree.py

reference: $(VENV)/.ready-dev ## Write the generated pages of docs/reference anew from the code
	@$(bin)/python docs/reference.py

generated: $(VENV)/.ready-dev ## Fail if a generated file is stale
	@$(bin)/python docs/tree.py --check
	@$(bin)/python docs/reference.py --check

interop: ## Install what the Node.js interop tests need, if node and npm are here
	@if command -v node >/dev/null && command -v npm >/dev/null && $(MAKE) -s --no-print-directory $(node_modules); then :; \
	else echo "note: without node, npm and the packages in tests/interop the tests with Node.js clients are skipped." >&2; fi

campaign: $(VENV)/.ready-dev ## The long fault and load campaigns
	@$(bin)/python -m pytest -m campaign $(ARGS)

check: lint types contracts generated test ## Everything a change must pass

requirements: ## Resolve and hash the requirements anew (needs uv)
	@command -v uv >/dev/null || { echo "make requirements needs uv: install it and try again." >&2; exit 1; }
	uv pip compile $(ARGS) --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate pyproject.toml requirements/build.in --output-file requirements/runtime.txt
	uv pip compile $(ARGS) --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --extra dev --constraint requirements/runtime.txt pyproject.toml requirements/build.in \
	  --output-file requirements/dev.txt

clean: ## Remove the environment and caches; data folders stay
	rm -rf $(VENV) tests/interop/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Each stamp is the proof that a step was done with the file it depends on; a second run finds nothing to do.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Backchannel needs Python 3.11 or newer, and $(PYTHON) is not: install one, or name it with make PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install its venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@echo "Making the environment in $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.ready: $(VENV)/.created requirements/runtime.txt pyproject.toml
	@echo "Installing pinned requirements …"
	@$(pip) install --require-hashes -r requirements/runtime.txt
	@$(pip) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements/dev.txt
	@echo "Installing pinned development requirements …"
	@$(pip) install --require-hashes -r requirements/dev.txt
	@touch $@

$(node_modules): tests/interop/package.json tests/interop/package-lock.json tests/interop/.npmrc
	@cd tests/interop && npm ci --silent --no-audit --no-fund
	@touch $@
