# Everything one does in a checkout. Needs make and Python 3.11 or newer, nothing else.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python that is new enough. Any other by `make PYTHON=/path/to/python3 …`, in an environment
# of its own: .venv-3.13.
PYTHON ?= $(eval PYTHON := $(firstword $(foreach name,\
	python3 python3.14 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null))))$(PYTHON)
ifeq ($(origin VENV) $(origin PYTHON),undefined command line)
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
endif
VENV ?= .venv
PORT ?= 8000
CASES ?= 20000
SUBMITS ?= 10000
DOCKER ?= docker
REGISTRY ?=
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
BIN := $(VENV)/bin
REQUIREMENTS := $(VENV)/.requirements
READY := $(VENV)/.ready

# Tests run in a process for each core, up to four, each with Redis servers of its own. ARGS='-n 0' keeps
# them in one, for -s and a debugger.
PARALLEL = -n logical --maxprocesses 4 --dist worksteal

# Pins with hashes for every system. No lock file: it would record download addresses.
PIN = UV_CUSTOM_COMPILE_COMMAND="make requirements" $(BIN)/uv pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --no-header --no-emit-index-url $(UPGRADE)
# What an image holds is pinned as in requirements.txt.
PIN_IMAGE = $(PIN) --no-annotate --constraint requirements.txt

.PHONY: help venv dev test check check-version format bench simulate chaos soak soak-worker test-cluster-smoke \
	test-cluster measure-operator images kind chart-docs audit requirements clean

help: ## Explain every target (this text)
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

venv: $(READY) ## Make the virtual environment .venv, again when the requirements have changed

$(REQUIREMENTS): requirements-dev.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Headrace needs Python 3.11 or newer, and $(or $(PYTHON),what is on PATH) is none:" \
		"install one, or name it: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { echo "Python's venv module is missing:" \
		"on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the pinned requirements into $(VENV) (once, half a minute or so) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-dev.txt
	@touch $@

# The checkout itself, for the `headrace` command and for packages that ask for headrace.
$(READY): $(REQUIREMENTS) pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
		--no-build-isolation --editable .
	@touch $@

dev: $(READY) ## Try it: Redis, the API and a worker in one terminal, and a sample run (PORT=8000)
	@PORT=$(PORT) $(BIN)/headrace dev

test: $(READY) ## Run every test that needs no cluster (ARGS='-k name' for some of them)
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

check: $(READY) ## Format, lint, types, the order of imports, generated files, the version
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/chart_docs.py --check
	$(BIN)/python tools/version.py

check-version: ## Say the version, or where its places differ (tools/version.py 1.2.3 writes it)
	@$(PYTHON) tools/version.py

format: $(READY) ## Format the code and fix what can be fixed by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Measure the queue beside a bare floor (ARGS='--json FILE' keeps the figures)
	$(BIN)/python benchmarks/queue.py $(ARGS)

simulate: $(READY) ## Drive the scaling decision and its peers through seven loads (ARGS='--json FILE')
	$(BIN)/python benchmarks/autoscaling.py $(ARGS)

chaos: $(READY) ## Kill, pause and cut for minutes, and look whether anything was lost
	$(BIN)/python -m pytest -m chaos tests/chaos -s --timeout 1800 -o faulthandler_timeout=0 $(ARGS)

soak: $(READY) ## 20,000 generated requests to the API, 10,000 submits through a chaotic proxy (CASES, SUBMITS)
	@HEADRACE_API_CASES=$(CASES) $(BIN)/python -m pytest tests/integration/api/test_properties.py -s \
		--timeout 3600 -o faulthandler_timeout=0 $(ARGS)
	@HEADRACE_CLIENT_SUBMITS=$(SUBMITS) $(BIN)/python -m pytest \
		tests/integration/client/test_safe_to_repeat.py -k submit --timeout 3600 -o faulthandler_timeout=0 $(ARGS)

soak-worker: $(READY) ## Sixty hostile handlers on the Python of the images, where it is; a call of 60 s in a process; kills and parks of runs
	$(BIN)/python -m pytest -m soak tests/integration tests/unit/workflows $(ARGS)

test-cluster-smoke: $(READY) ## Install the chart on a real cluster and execute a workflow there
	@PYTHON=$(BIN)/python tests/cluster/run.sh smoke $(ARGS)

measure-operator: $(READY) ## 50 scale-downs under load and 20 starts from zero on a real cluster
	@PYTHON=$(BIN)/python tests/cluster/run.sh measure $(ARGS)

test-cluster: $(READY) ## Every test that needs a cluster: upgrades, kills, ingress, policies
	@PYTHON=$(BIN)/python tests/cluster/run.sh all $(ARGS)

images: ## Build the images and push them (REGISTRY=registry.example.com/team)
	@test -n "$(REGISTRY)" || { echo "Say where to push:" \
		"make images REGISTRY=registry.example.com/team" >&2; exit 1; }
	@set -e; for folder in services/api services/worker controller; do \
		image=$(REGISTRY)/headrace-$${folder##*/}:$(VERSION); \
		$(DOCKER) build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) \
			--tag $$image --file $$folder/Dockerfile .; \
		$(DOCKER) push $$image; \
	done

kind: ## Try it on Kubernetes in Docker: cluster, images, ingress controller, chart
	@k8s/kind.sh

chart-docs: $(READY) ## Write the chart's README and its schema's descriptions anew from values.yaml
	$(BIN)/python tools/chart_docs.py

audit: $(READY) ## Look the requirements up in the database of known weaknesses (needs the network)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --requirement requirements.txt --requirement controller/requirements.txt \
		--require-hashes

requirements: $(REQUIREMENTS) ## Pin the requirements anew after a change in pyproject.toml (UPGRADE=--upgrade)
	$(PIN) --extra api --extra worker --extra cli pyproject.toml --output-file requirements.txt
	$(PIN) --extra api --extra worker --extra cli --extra django --group dev pyproject.toml \
		controller/requirements.in --constraint requirements.txt --output-file requirements-dev.txt
	$(PIN_IMAGE) --extra api pyproject.toml services/requirements-init.in \
		--output-file services/api/requirements.txt
	$(PIN_IMAGE) --extra worker pyproject.toml services/requirements-init.in \
		--output-file services/worker/requirements.txt
	$(PIN_IMAGE) --constraint requirements-dev.txt controller/requirements.in \
		services/requirements-init.in --output-file controller/requirements.txt
	$(PIN) --no-annotate services/requirements-build.in --output-file services/requirements-build.txt

clean: ## Remove the virtual environment, the data of `make dev`, and every cache
	rm -rf $(VENV) .dev .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
		build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
