# `make` prints what there is. Everything that is installed or built goes into $(OLLAMASERVE_CACHE).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
OLLAMASERVE_CACHE ?= $(HOME)/.cache/ollamaserve
PYTHON ?= python3
CLUSTER ?= demo
VENV := $(OLLAMASERVE_CACHE)/venv-$(shell cat requirements/dev.txt <($(PYTHON) --version) | sha256sum | cut -c1-12)
PY := $(VENV)/bin/python
export OLLAMASERVE_CACHE
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/sidecar:$(CURDIR)/dev
export PATH := $(VENV)/bin:$(PATH)

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

venv: $(VENV)/.complete ## the virtual environment, from the hash-pinned lock
# The name holds the lock's hash: a newer file of the same content (a second clone) must not rebuild it under a running one.
$(VENV)/.complete:
	@echo "==> virtual environment: $(VENV)"
	@rm -rf $(VENV) && mkdir -p $(OLLAMASERVE_CACHE) && $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

check: venv ## formatting, lint, types, layers, lock freshness: in seconds
	ruff format --check .
	ruff check .
	mypy operator/ollamaserve_operator sidecar/ollamaserve_sidecar dev/ollamaserve_dev tests bench
	lint-imports
	$(PY) -m ollamaserve_dev.lock --check
	$(PY) -m ollamaserve_dev.install --check
	$(PY) -m ollamaserve_dev.apidoc --check
	$(PY) -m bench.gate.page --check

format: venv ## rewrite the code in the house format
	ruff format . && ruff check --fix .

lock: venv ## compile requirements/*.txt again from the pyproject.toml files
	$(PY) -m ollamaserve_dev.lock

install: venv ## the operator into the cluster of your kubectl context (REGISTRY=… has its images)
	@$(PY) -m ollamaserve_dev.install --print --registry=$(REGISTRY) | kubectl apply -f -

install-yaml: venv ## write deploy/install.yaml from the CRD and deploy/operator.yaml
	$(PY) -m ollamaserve_dev.install

docs: venv ## write docs/api.md from the CRD
	$(PY) -m ollamaserve_dev.apidoc

demo: venv ## from nothing to an answer through the gate (MODEL=smollm:135m for a public model)
	@$(PY) -m ollamaserve_dev.demo --cluster=$(CLUSTER) --model=$(MODEL)

demo-down: venv ## remove the demo's cluster
	@$(PY) -m ollamaserve_dev.demo --cluster=$(CLUSTER) --down

test: check ## everything that CI runs, clusters included (ARGS=tests/unit for a part)
	$(PY) -m pytest $(ARGS)

images: venv ## build the images of operator, gate and Ollama, if their inputs changed
	$(PY) -m ollamaserve_dev images build

standalone: venv ## build the image of the one container: Ollama and the gate, without Kubernetes
	$(PY) -m ollamaserve_dev images standalone

cluster-up: venv ## a local kind cluster (ARGS="--name demo --nodes 3", or another --provider)
	$(PY) -m ollamaserve_dev cluster up $(ARGS)

cluster-down: venv ## take it down, leaving nothing of it (ARGS="--name demo")
	$(PY) -m ollamaserve_dev cluster down $(ARGS)

clean: venv ## remove every local cluster and image; says what it keeps
	$(PY) -m ollamaserve_dev clean

# The gate is measured with what runs it and what draws the plots, and nothing else.
# Debian's Python is built with the optimisations of the image's, a self-compiled one mostly isn't.
BENCH_PYTHON ?= $(firstword $(wildcard /usr/bin/python3) $(PYTHON))
BENCH := $(OLLAMASERVE_CACHE)/venv-bench-$(shell cat requirements/bench.txt <($(BENCH_PYTHON) --version; echo $(BENCH_PYTHON)) | sha256sum | cut -c1-12)
$(BENCH)/.complete: | $(VENV)/.complete
	@echo "==> virtual environment of the bench: $(BENCH)"
	@rm -rf $(BENCH) && uv venv -q --python $(BENCH_PYTHON) $(BENCH)
	@uv pip install -q --python $(BENCH)/bin/python --require-hashes -r requirements/bench.txt
	@touch $@

bench-gate: $(BENCH)/.complete ## the gate against nginx + Lua and others, 20 minutes (ARGS=--quick for a look)
	$(BENCH)/bin/python -m bench.gate $(ARGS)

soak: $(BENCH)/.complete ## the gate under 500 clients for an hour: is its memory flat? (ARGS="--minutes 10 --out /tmp/soak")
	$(BENCH)/bin/python -m bench.soak $(ARGS)

bench-operator: venv ## the operator against a plain writer, 1,000 resources (ARGS="--resources 100 --out /tmp")
	$(PY) -m bench.operator $(ARGS)

coverage: venv ## branch coverage of what needs no cluster
	$(PY) -m pytest --cov --cov-report=term tests/unit tests/contract tests/component $(ARGS)

.PHONY: soak bench-gate bench-operator coverage install help venv check format lock install-yaml docs test demo demo-down images standalone cluster-up cluster-down clean
