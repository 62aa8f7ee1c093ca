PYTHON ?= $(or $(shell command -v python3.11),python3)
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format types docs lock bench gpu-check clean

help: ## show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv with everything pinned in constraints.txt

$(STAMP): constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: install ## train the four variants on the embedded corpus and compare them (under 6 minutes on 2 cores)
	$(BIN)/python run.py -m model=gpt,parallelgpt,lineargpt,convgpt budget.tokens=3e5 validation.tokens=16384 \
	  hydra.launcher.n_jobs=2

test: install ## run the tests
	$(BIN)/python -m pytest --durations=40

test-all: install ## run the slow tests too
	$(BIN)/python -m pytest -m ""

lint: install ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install ## put the code into its style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install ## check types
	$(BIN)/ty check

docs: install ## build the documentation as a site in site/, to be opened from there; a dead link ends it
	$(BIN)/python -m docs.build

lock: ## write requirements.lock: the pins of constraints.txt with the hashes of their files (needs uv)
	uv pip compile pyproject.toml --extra dev -c constraints.txt --universal --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" --quiet -o requirements.lock

bench: install ## measure speed and memory against plain PyTorch and tiktoken (a quiet machine, minutes)
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.training_loop
	$(BIN)/python -m benchmarks.training_step
	$(BIN)/python -m benchmarks.training_step --memory
	$(BIN)/python -m benchmarks.scoring
	$(BIN)/python -m benchmarks.scoring --precision bf16
	$(BIN)/python -m benchmarks.inference
	$(BIN)/python -m benchmarks.tokenize
	$(BIN)/python -m benchmarks.preparation

gpu-check: install ## check and measure everything on one GPU, step by step (22 minutes at most)
	$(BIN)/python -m benchmarks.gpu

clean: ## remove the environment and caches; keeps outputs and prepared data
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist site *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
