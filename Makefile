# `make help` lists what there is. Everything runs in .venv, made from requirements.lock.

PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
INSTALLED := .venv/.installed
export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install repro pull clothing minilm banking77 pairs test test-long test-all stress portable check format bench pretrain table cuts presets portable-table verify wheel lock clean

help:  ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(INSTALLED)  ## Make .venv from the lock file

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "graft needs Python 3.11 to 3.13, and %s is %s; name another: make PYTHON=python3.12 ..." % (sys.executable, sys.version.split()[0]))'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

repro: $(INSTALLED)  ## Run the pipeline on params.yaml; print the result and where to look
	@graft params check
	dvc repro
	@echo 'See also, after `. .venv/bin/activate`: graft result, mlflow ui, dvc plots show.'

pull: $(INSTALLED)  ## Fetch from DVC's remote what dvc.lock names; then `dvc repro` has nothing to compute
	dvc pull

clothing: $(INSTALLED)  ## Fetch 3,781 product photos (CC0, 106 MB) into data/clothing, as data/clothing.dvc pins them
	@set -e; here=$$PWD; project=$$(mktemp -d); trap 'rm -rf "$$project"' EXIT; \
	cp data/clothing.dvc "$$project"; cd "$$project"; dvc init --quiet --no-scm; dvc pull clothing.dvc; \
	mv clothing "$$here/data/clothing"

minilm: $(INSTALLED)  ## Fetch MiniLM, a network that reads texts (Apache-2.0, 91 MB), into data/minilm, pinned by its sha256
	@python fetch/minilm.py

banking77: $(INSTALLED)  ## Fetch 13,083 questions of bank customers (CC BY 4.0, 1 MB) into data/banking77, pinned likewise
	@python fetch/banking77.py

pairs: $(INSTALLED)  ## Make pairs of these questions, of the same or of different meaning, in data/pairs
	@python fetch/pairs.py

test: $(INSTALLED)  ## Run the test suite
	pytest

test-long: $(INSTALLED)  ## Run what else CI runs: a second kind of the same, clean environments, whole passes
	pytest -m "long and not slow"

test-all: $(INSTALLED)  ## Run every test but `make stress`, the largest networks and what takes longest too
	pytest -m "not stress"

stress: $(INSTALLED)  ## Kill runs, take the server away, fill disks (docs/stress.md)
	pytest -m stress -n 1

portable: $(INSTALLED)  ## Compare features and training with an emulated Haswell (needs qemu-user; five minutes)
	python tests/portable/compare.py

check: $(INSTALLED)  ## Lint, check the format, check types
	ruff check .
	ruff format --check .
	mypy

format: $(INSTALLED)  ## Format the code
	ruff check --fix .
	ruff format .

bench: $(INSTALLED)  ## Measure what stages cost, into benchmarks/results.json (PHOTOS=data/clothing TORCH=python: all, 25 min)
	python benchmarks/prepare.py $(if $(PHOTOS),--photos $(PHOTOS))
	python benchmarks/extract.py $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(TORCH),--torch $(TORCH))
	python benchmarks/finetune.py $(if $(PHOTOS),--photos $(PHOTOS))
	$(if $(PHOTOS),python benchmarks/pipeline.py $(PHOTOS),@echo "PHOTOS is not set: the tutorial's way is not measured")

pretrain: $(INSTALLED)  ## Pretrain the bundled backbone anew (about 45 minutes on two cores)
	python pretrain/train.py pretrain/out

table: $(INSTALLED)  ## Measure the table in pretrain/README.md (about 20 minutes on two cores)
	python pretrain/table.py pretrain/table.json

cuts: $(INSTALLED)  ## Derive src/graft/backbones/cuts.json from the networks
	python -m graft.cli.derive cuts

presets: $(INSTALLED)  ## Write presets/*.yaml anew from params.yaml and their own values
	python -m graft.cli.derive presets

portable-table: $(INSTALLED)  ## Derive src/graft/features/engines/portable.json (needs AVX-512; an hour)
	python -m graft.cli.derive portable

verify: $(INSTALLED)  ## Say whether the presets that need no download give what is claimed of them
	graft verify digits

wheel: $(INSTALLED)  ## Build dist/graft_transfer-*.whl, which `graft init` starts projects from
	python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

lock: $(INSTALLED)  ## Resolve requirements.lock anew from pyproject.toml
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-emit-index-url --quiet --output-file requirements.lock

clean:  ## Remove the environment and what tools leave behind; outputs and runs stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
