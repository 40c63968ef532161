# Each target does all its own set-up, once: `.venv` is made again only when its inputs change.
# Needs Python 3.11, 3.12 or 3.13, make and git. Without make: see "Plain pip" in README.md.

PYTHON ?= python3
WORKERS ?= 2
PORT ?= 5000
TORCH ?=
ARGS ?=

BIN := .venv/bin
SLOW = $(shell grep -rl --include='*.py' 'mark\.slow' tests)  # to import all tests takes longer than to look
INSTALLED := .venv/.installed

# TORCH=cpu: torch's wheels for machines without a GPU, gigabytes smaller than the default on Linux.
# The stamp remembers it: without TORCH= an existing .venv keeps its build, TORCH=cpu replaces another.
BUILT := $(strip $(shell cat $(INSTALLED) 2>/dev/null))
BUILD := $(or $(strip $(TORCH)),$(BUILT))
ifeq ($(BUILD),cpu)
TORCH_INDEX := --extra-index-url https://download.pytorch.org/whl/cpu
else ifneq ($(BUILD),)
$(error TORCH=$(BUILD): unknown build of torch; allowed: TORCH=cpu, or leave TORCH out)
endif
ifneq ($(BUILD),$(BUILT))
FRESH := fresh
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: fresh help install train ui test test-slow test-full fuzz bench soak lint format clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'ARGS="..." is passed on: make train ARGS="trainer.max_epochs=3", make test ARGS="-k lstm"'
	@echo 'PYTHON=python3.12 chooses the Python, PORT=5001 the port of the UI'
	@echo 'TORCH=cpu installs torch without CUDA, for machines without a GPU: make train TORCH=cpu'

install: $(INSTALLED) ## make .venv and install the tested versions into it

train: $(INSTALLED) ## train a stacked bidirectional LSTM on handwritten digits
	$(BIN)/python -m seqpipe cell=lstm bidirectional=true depth=3 $(ARGS)

ui: $(INSTALLED) ## open the MLflow UI on the runs of this folder
	@test -f outputs/mlflow.db || { echo "no runs yet in outputs/: make train first"; exit 1; }
	PATH="$(CURDIR)/$(BIN):$$PATH" MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui \
		--backend-store-uri "sqlite:///outputs/mlflow.db" --workers 1 --port $(PORT)

test: $(INSTALLED) ## run the tests, without the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not full" $(ARGS)

test-slow: $(INSTALLED) ## run the slow tests: the wheel, built, installed and used
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "slow and not full" $(SLOW) $(ARGS)

test-full: $(INSTALLED) ## run the cases that the others leave out: every combination, not every pair
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m full tests $(ARGS)

fuzz: $(INSTALLED) ## try thousands of odd command lines and damaged files, other ones each time
	$(BIN)/python -m pytest -n $(WORKERS) --hypothesis-profile=nightly tests/fuzz $(ARGS)

bench: $(INSTALLED) ## run the benchmarks and write docs/performance.md; leave the machine alone meanwhile
	$(BIN)/python benchmarks/all.py --page docs/performance.md $(ARGS)

soak: $(INSTALLED) ## 200 runs in one process, 50 processes in turn, a server under load: half an hour
	$(BIN)/python benchmarks/soak.py $(ARGS)

lint: $(INSTALLED) ## ruff, mypy, yamllint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/yamllint --strict conf

format: $(INSTALLED) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove .venv, caches and builds; never outputs/ or data/
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks build dist
	find src tests conf -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so an installation that was cut short is taken up again.
$(INSTALLED): pyproject.toml constraints.txt $(FRESH)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { echo \
		"PYTHON=$(PYTHON): seqpipe needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12 ..."; \
		exit 1; }
	@if [ -n "$(FRESH)" ]; then rm -rf .venv; fi
	@echo "installing into .venv (minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet $(TORCH_INDEX) -c constraints.txt -e ".[dev]"
	@echo "$(BUILD)" > $@

fresh:
