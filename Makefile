# Needs Python 3.11 or newer, and nothing else: bootstrap.py fetches uv where it is missing.
# Without make (Windows), the README has the same commands as `uv run …`.
PYTHON ?= python3
UV = $(PYTHON) bootstrap.py
RUN = $(UV) run --locked --all-extras

.DEFAULT_GOAL := help
.PHONY: help demo test check bench chaos

help: ## these lines
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

demo: ## two real stations replayed into an embedded store, and proven complete
	@$(RUN) --no-dev clima demo $(ARGS)

test: ## the tests, with what was skipped and why
	@$(RUN) pytest $(ARGS)

check: ## lint, format, strict types, then the tests
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	@$(MAKE) --no-print-directory test

bench: ## the figures of docs/benchmarks.md
	@$(RUN) python -m bench $(ARGS)

chaos: ## the faults of the tests, for longer
	@$(RUN) pytest -m chaos $(ARGS)
