# Sets everything up in .venv and runs it; needs Python 3.11 or newer and make.

# Some environments disable Python's cache of compiled modules. Then each start of the trainer would compile all libraries again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
SYNC := $(BIN)/uv sync --locked --inexact --extra trainer --extra operator --extra ui
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --durations 20 --durations-min 2
PARALLEL := --numprocesses auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-timed test-containers crds chart cluster-up cluster-down demo-cluster lint bench clean

help:  ## Lists the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

demo: .venv/trainer  ## Trains the example dog on this machine and ends with a report.
	$(BIN)/dreambooth run examples/dog/dreamboothjob.yaml

test: .venv/developer  ## Runs the tests that take minutes; lists the slowest at the end.
	[ -n "$$KUBECONFIG" ] || $(BIN)/python -m tests.cluster build
	$(PYTEST) $(PARALLEL) -m "not (slow or containers or timed)"

test-slow: .venv/developer  ## Runs the tests that take longer: complete trainings, kills, outages, Prometheus.
	[ -n "$$KUBECONFIG" ] || $(BIN)/python -m tests.cluster build --slow
	$(PYTEST) $(PARALLEL) -m "slow and not (containers or timed)"

test-timed: .venv/developer  ## Runs the tests of how long something takes: alone on the machine.
	$(PYTEST) -m timed

test-containers: .venv/developer  ## Runs the tests with real pods; as root on Linux.
	$(PYTEST) -m containers

crds: .venv/developer  ## Writes crds/ from the models.
	$(BIN)/python -m dreambooth_api.crd crds

chart: .venv/developer  ## Writes the schema and the table of the chart's values from its values.yaml.
	$(BIN)/python -m charts.values

cluster-up: .venv/developer  ## Starts a Kubernetes cluster on this machine, for tests.
	$(BIN)/python -m tests.cluster up

cluster-down: .venv/developer  ## Takes it away.
	$(BIN)/python -m tests.cluster down

demo-cluster: .venv/developer  ## Shows the operator in a cluster of this machine: install, apply, progress, pictures.
	$(BIN)/python -m tests.e2e.demo

lint: .venv/developer  ## Checks style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/bench  ## Compares this trainer with diffusers' script: make bench SCRIPT=path/to/train_dreambooth.py
	$(BIN)/python -m benchmarks.speed --script $(SCRIPT)

clean:  ## Removes the environment.
	rm -rf .venv

.venv/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	touch $@

.venv/trainer: .venv/uv pyproject.toml uv.lock
	$(SYNC) --no-default-groups
	touch $@

.venv/developer: .venv/uv pyproject.toml uv.lock
	$(SYNC) --extra tensorboard --extra wandb --extra s3
	touch $@ .venv/trainer

.venv/bench: .venv/developer
	$(SYNC) --group bench
	touch $@
