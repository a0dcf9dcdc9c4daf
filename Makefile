# `make` alone lists what can be done. Every target works on a fresh clone.
#
#   PYTHON=python3.12 make install       another interpreter (3.11 or newer)
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make install
#                                        PyTorch without CUDA, a far smaller download
#   make demo ARGS="seed=1"              more arguments for the program or for pytest

PYTHON ?= python3
CONSTRAINTS ?= constraints/cpu.txt
ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check format seed-model bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## create .venv and install iterdpo with the tested versions, once

demo: $(STAMP)  ## run the loop M0 -> M1 -> M2 -> M3 in the lab (minutes on two cores, no GPU)
	$(BIN)/python -m iterdpo iterations=3 $(ARGS)

test: $(STAMP)  ## run every test that this machine can run
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP)  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)  ## put the code in its form and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

seed-model: $(STAMP)  ## train the lab's seed model again, from its fixed seeds
	$(BIN)/python -m iterdpo.lab.train_seed $(ARGS)

bench: $(STAMP)  ## time the stages of a run
	@test -f experiments/bench.py || { echo "bench: experiments/bench.py is not there yet"; exit 1; }
	$(BIN)/python experiments/bench.py $(ARGS)

clean:  ## remove caches and build outputs; .venv, runs and the store stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find iterdpo tests experiments -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is touched last, so an installation that broke off is taken up again.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "install: iterdpo needs Python 3.11 or newer, $(PYTHON) is older; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@
