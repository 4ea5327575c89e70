# Two commands are all a stranger needs:
#   make run    a running gateway
#   make test   everything that must hold
# Each sets up .venv by itself: pinned and hashed, nothing outside this folder is touched.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint agents simulation bench bench-breaker bench-added compare docs constraints clean help
.DEFAULT_GOAL := help

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: .venv/.run  ## start the gateway (recloser.toml if there is one; otherwise what is found)
	@$(BIN)/recloser serve

test: .venv/.dev  ## run every test
	@$(BIN)/pytest -n auto $(ARGS)

lint: .venv/.dev  ## ruff, mypy --strict, import contracts, docs freshness
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python docs/generate.py --check

mutation: .venv/.dev  ## break the core in small ways, and see the tests notice
	@$(BIN)/python -m tests.mutation $(ARGS)

agents: .venv/.dev  ## install real coding agents, and let each work through a gateway in all weathers
	@$(BIN)/python -m tests.agents.install
	@$(BIN)/pytest -n 2 tests/agents $(ARGS)

simulation: .venv/.dev  ## 10,000 runs of several processes on a bad store, in virtual time
	@$(BIN)/python -m tests.properties.simulation --seeds 10000 $(ARGS)

bench: .venv/.dev  ## measure the gateway against nginx and LiteLLM in one run
	@$(BIN)/python benchmarks/gateway.py $(ARGS)

bench-breaker: .venv/.dev  ## measure the circuit breaker against six others in one run
	@$(BIN)/python benchmarks/breaker.py $(ARGS)

bench-added: .venv/.dev  ## measure what the gateway adds to a request and to an event of a stream
	@$(BIN)/python benchmarks/added.py $(ARGS)

compare: .venv/.dev  ## play the same scenes with each of them: the table of the guide
	@$(BIN)/python benchmarks/compare/table.py $(ARGS)

docs: .venv/.dev  ## regenerate what the documentation takes from the code
	@$(BIN)/python docs/generate.py

constraints:  ## pin the newest versions anew (needs uv)
	uv pip compile pyproject.toml --extra build --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -U -o requirements/run.txt
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -U -c requirements/run.txt -o requirements/dev.txt
	uv pip compile requirements/bench.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -U -o requirements/bench.txt

clean:  ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "recloser needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || \
	  { echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf .venv; exit 2; }

.venv/.run: .venv/bin/python requirements/run.txt pyproject.toml
	@echo "setting up .venv (once) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: .venv/bin/python requirements/dev.txt pyproject.toml
	@echo "setting up .venv for development (once) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ .venv/.run
