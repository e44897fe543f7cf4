# Everything sets itself up: `make demo` and `make test` need python3 (3.11 or newer), pip, git and make.
MAKEFLAGS += --no-print-directory
bin := .venv/bin

.PHONY: help demo test test-interop lint setup lock clean

help:
	@echo 'make demo          repair a real package with a swarm, without a model (SEED=1 FAULTS=12 AGENTS=8)'
	@echo 'make test          linters, types and all tests'
	@echo 'make test-interop  tests against other projects'
	@echo 'make lint          linters and types only'
	@echo 'make lock          write the lock files again'
	@echo 'make clean         remove what the other targets made'

demo:
	@scripts/setup demo
	@$(bin)/python examples/demo.py

test:
	@scripts/test

test-interop: setup
	@if [ -d tests/interop ]; then scripts/pytest tests/interop; else echo 'test-interop: there are none yet'; fi

lint: setup
	@echo 'lint: ruff, mypy'
	@$(bin)/ruff check --quiet
	@$(bin)/ruff format --check --quiet
	@$(bin)/mypy --no-error-summary swarm tests examples

setup:
	@scripts/setup dev

lock:
	@scripts/lock

clean:
	@rm -rf .venv .cache build dist demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
