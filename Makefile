# Everything sets itself up: `make demo` and `make test` need python3 (3.11 or newer), pip, git and make.
MAKEFLAGS += --no-print-directory
bin := .venv/bin

.PHONY: help docs demo test bench chaos test-interop lint setup lock audit sbom soak clean

help:
	@echo 'make demo          repair a real package with a swarm, without a model (SEED=1 FAULTS=12 AGENTS=8)'
	@echo 'make test          linters, types and all tests'
	@echo 'make bench         measure against other projects, about 40 minutes (ROWS=calls,memory  QUICK=1)'
	@echo 'make chaos         1,000 runs that meet with faults, and long fuzzing (SEED=17: that run alone)'
	@echo 'make test-interop  tests against other projects'
	@echo 'make lint          linters and types only'
	@echo 'make lock          write the lock files again'
	@echo 'make audit         licences, builds and known vulnerabilities of what is locked (3: not checked)'
	@echo 'make sbom          write the bill of materials to dist/swarm.cdx.json'
	@echo 'make soak          two hours of mixed runs in one process, which must stay flat (MINUTES=120)'
	@echo 'make docs          build the documentation: .cache/site/index.html'
	@echo 'make clean         remove what the other targets made'

demo:
	@scripts/setup demo
	@$(bin)/python examples/demo.py

test:
	@scripts/test

chaos: setup
	@scripts/chaos

test-interop: setup
	@if [ -d tests/interop ]; then scripts/pytest tests/interop; else echo 'test-interop: there are none yet'; fi

bench: setup
	@$(bin)/python -m benchmarks run '$(ROWS)' $(if $(QUICK),--quick)

lint: setup
	@echo 'lint: ruff, mypy'
	@$(bin)/ruff check --quiet
	@$(bin)/ruff format --check --quiet
	@$(bin)/mypy --no-error-summary swarm tests examples

setup:
	@scripts/setup dev

lock:
	@scripts/lock

audit:
	@scripts/audit

sbom: setup
	@$(bin)/python -m tests.supply.sbom dist/swarm.cdx.json

soak: setup
	@$(bin)/python -m tests.soak --minutes $(or $(MINUTES),120) --out .cache/soak

docs:
	@scripts/setup docs
	@NO_MKDOCS_2_WARNING=1 $(bin)/mkdocs build --strict --quiet && echo 'docs: .cache/site/index.html (with its search: python3 -m http.server -d .cache/site)'

clean:
	@rm -rf .venv .cache build dist demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
