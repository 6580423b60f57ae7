# Every target sets itself up. Variables of the run-* targets: INPUT OUTPUT MODEL RECIPE EXAMPLES
# RUNNER ARGS; patterns in INPUT reach the program as they are, the shell does not expand them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
UV := $(BIN)/uv
READY := $(VENV)/.ready
KERNELS := build/kernels.built
AIRFLOW_VENV := .venv-airflow
PEERS_VENV := .venv-peers
PEERS_READY := $(PEERS_VENV)/.ready
AIRFLOW_READY := $(AIRFLOW_VENV)/.ready
SPARK_VENV := .venv-spark
SPARK_READY := $(SPARK_VENV)/.ready
SOURCES := twinbeam pipelines transforms model demo tests setup.py $(wildcard benchmarks dags deploy)

# One compiler for everybody: the lock must not depend on the machine that makes it.
PIN := $(UV) pip compile --generate-hashes --quiet --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
COMPILE := $(PIN) --python-platform x86_64-manylinux_2_28
# $(call compile,folder): all lock files, starting from what they pin already. The first is for every
# Python that setup.py allows; the worker image's are a part of it, but for the CUDA libraries.
WORKER := $(COMPILE) setup.py --constraints
compile = $(PIN) --universal setup.py --all-extras -o $(1)/requirements.lock $(ARGS) \
	&& $(COMPILE) requirements-data.in --no-deps -o $(1)/requirements-data.lock $(ARGS) \
	&& $(WORKER) $(1)/requirements.lock -o $(1)/docker/requirements-cpu.lock $(ARGS) \
	&& $(WORKER) $(1)/requirements.lock docker/gpu.in -o $(1)/docker/requirements-gpu.lock $(ARGS)
# A process holds TensorFlow, near a gigabyte: no more of them than a laptop bears.
PARALLEL := -n auto --maxprocesses=4 --dist=worksteal
PYTHONS := 3.11 3.12 3.13
LOCKS := requirements.lock requirements-data.lock
ALL_LOCKS := $(LOCKS) docker/requirements-cpu.lock docker/requirements-gpu.lock

NEEDS_preprocess := INPUT RECIPE OUTPUT
NEEDS_train = $(if $(RECIPE),OUTPUT,EXAMPLES OUTPUT)
NEEDS_train-vertex := EXAMPLES OUTPUT
NEEDS_score := INPUT MODEL OUTPUT
NEEDS_find := MODEL OUTPUT
NEEDS_cluster := INPUT OUTPUT
NEEDS_evaluate := INPUT OUTPUT
NEEDS_drift := INPUT OUTPUT
NEEDS_convert := INPUT OUTPUT
NEEDS_label := INPUT OUTPUT
NEEDS_doubts := INPUT OUTPUT
NEEDS_inspect := INPUT
NEEDS_try := MODEL
NEEDS_calibrate := INPUT MODEL OUTPUT
NEEDS_export := MODEL EXAMPLES OUTPUT
EXAMPLE_preprocess := INPUT='data/labelled/*.parquet' RECIPE=char-bilstm-manhattan OUTPUT=out/examples
EXAMPLE_train := EXAMPLES=out/examples OUTPUT=out/bundle
EXAMPLE_train-vertex := EXAMPLES=gs://b/examples OUTPUT=gs://b/bundle ARGS='--project p --region r --image i'
EXAMPLE_score := INPUT='data/pairs/*.parquet' MODEL=out/bundle OUTPUT=out/scores
EXAMPLE_find := INPUT='data/questions/*.parquet' MODEL=out/bundle OUTPUT=out/pairs
EXAMPLE_cluster := INPUT=out/pairs OUTPUT=out/clusters
EXAMPLE_evaluate := INPUT=out/scores OUTPUT=out/report
EXAMPLE_drift := INPUT='out/scores-*' OUTPUT=out/drift.html
EXAMPLE_convert := INPUT='data/*.tsv' OUTPUT=data/pairs.parquet
EXAMPLE_doubts := INPUT='data/labelled/*.parquet' OUTPUT=out/doubts
EXAMPLE_label := INPUT=out/scores OUTPUT=out/to-label ARGS='--pairs 500'
EXAMPLE_inspect := INPUT=out/scores
EXAMPLE_try := MODEL=out/bundle
EXAMPLE_export := MODEL=out/bundle EXAMPLES=out/examples OUTPUT=out/bundle-int16 ARGS='--precision int16'
EXAMPLE_calibrate := INPUT=out/scores MODEL=out/bundle OUTPUT=out/bundle-calibrated

# Stops before anything is installed, with one line that shows how, unless all variables are given.
need = $(foreach name,$(NEEDS_$(1)),$(if $(strip $($(name))),,$(error make run-$(1) needs \
	$(NEEDS_$(1):%=%=), and $(name)= is missing; for example: make run-$(1) $(EXAMPLE_$(1)))))
ifeq ($(filter --help -h,$(ARGS)),)
$(foreach goal,$(filter run-%,$(MAKECMDGOALS)),$(call need,$(goal:run-%=%)))
endif

# $(call flag,--name,value): the value in single quotes, so that the shell leaves it alone.
quoted = '$(subst ','\'',$(1))'
flag = $(if $(strip $(2)),$(1)=$(call quoted,$(2)))
# --input takes several patterns, parted by spaces.
INPUTS = $(if $(strip $(INPUT)),--input $(foreach pattern,$(INPUT),'$(subst ','\'',$(pattern))'))
OUT = $(call flag,--output,$(OUTPUT))
# On Flink: the job server that `make flink-up` put together (without it Beam fetches its own), and a
# worker pool beside each TaskManager. Flags in ARGS come later and win.
FLINK_JOB_SERVER ?= $(wildcard .flink/job-server.jar)
ON_FLINK = $(call flag,--flink_job_server_jar,$(FLINK_JOB_SERVER)) \
	--environment_type=EXTERNAL --environment_config=localhost:50000
RUN_ON = $(call flag,--runner,$(RUNNER)) $(if $(filter FlinkRunner,$(RUNNER)),$(ON_FLINK))

.PHONY: help flags setup demo test test-slow lint format run-preprocess run-train run-train-vertex \
	run-score run-find run-cluster run-evaluate run-calibrate run-export run-import run-drift \
	run-label run-doubts run-convert run-inspect run-try bench bench-score bench-peers peers-lock \
	quality lock lock-check \
	audit docs screenshots clean flink-up flink-down flink-lock test-flink \
	airflow-up airflow-cli airflow-down airflow-lock test-airflow \
	mutants spark-lock test-spark test-cloud image template

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s%s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "Variables of run-*: INPUT OUTPUT MODEL RECIPE EXAMPLES RUNNER ARGS; flags: make run-score ARGS=--help"

setup: $(READY) ## Make .venv and install everything from the lock file (other targets do it themselves)

demo: $(READY) ## Make sample pairs, preprocess, train, score and show a table (a few minutes)
	@$(PY) -m demo.run

test: $(READY) ## Run the fast tests
	@$(PY) -m pytest -q $(PARALLEL) $(ARGS)

test-slow: $(READY) ## Run the slow tests
	@$(PY) -m pytest -q -m slow $(PARALLEL) $(ARGS)

lint: $(READY) ## Check format, style and types
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy

format: $(READY) ## Format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix-only $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

run-preprocess: $(READY) ## Labelled pairs to examples: INPUT= RECIPE= OUTPUT= [RUNNER= ARGS=]
	@$(PY) -m twinbeam preprocess $(INPUTS) $(call flag,--recipe,$(RECIPE)) $(OUT) $(RUN_ON) $(ARGS)

run-train: $(READY) ## Examples to a bundle: EXAMPLES= OUTPUT= [ARGS=]; without labels: RECIPE=universal-cosine OUTPUT=
	@$(PY) -m twinbeam train $(call flag,--examples,$(EXAMPLES)) \
		$(if $(EXAMPLES),,$(call flag,--recipe,$(RECIPE))) $(OUT) $(ARGS)

run-train-vertex: $(READY) ## Train on Vertex AI: EXAMPLES= OUTPUT= ARGS='--project P --region R --image I [--dry_run]'
	@$(PY) -m twinbeam vertex $(call flag,--examples,$(EXAMPLES)) $(OUT) $(ARGS)

run-score: $(READY) ## Pairs and a bundle to scored pairs: INPUT= MODEL= OUTPUT= [RUNNER= ARGS=]
	@$(PY) -m twinbeam score $(INPUTS) $(call flag,--model,$(MODEL)) $(OUT) $(RUN_ON) $(ARGS)

run-find: $(READY) ## Similar pairs of a table, or of two: INPUT= MODEL= OUTPUT= [RUNNER= ARGS='--against G' or '--left G --right G']
	@$(PY) -m twinbeam find $(INPUTS) $(call flag,--model,$(MODEL)) $(OUT) $(RUN_ON) $(ARGS)

run-cluster: $(READY) ## Pairs of find to clusters with stable ids: INPUT= OUTPUT= [RUNNER= ARGS='--rows G --previous D']
	@$(PY) -m twinbeam cluster $(INPUTS) $(OUT) $(RUN_ON) $(ARGS)

run-evaluate: $(READY) ## Labelled scores to metrics and a report: INPUT= OUTPUT= [RUNNER= ARGS=]
	@$(PY) -m twinbeam evaluate $(INPUTS) $(OUT) $(RUN_ON) $(ARGS)

run-drift: $(READY) ## Scores of several nights to a page with their trend: INPUT= OUTPUT=
	@$(PY) -m twinbeam drift $(INPUTS) $(OUT)

run-label: $(READY) ## Choose the pairs that people should label, and a page for it: INPUT= OUTPUT= [MODEL= RUNNER= ARGS=--next]
	@$(PY) -m twinbeam label $(INPUTS) $(call flag,--model,$(MODEL)) $(OUT) $(RUN_ON) $(ARGS)

run-doubts: $(READY) ## Rank labelled pairs by how likely their label is wrong: INPUT= OUTPUT= [ARGS=]
	@$(PY) -m twinbeam doubts $(INPUTS) $(OUT) $(ARGS)

run-convert: $(READY) ## CSV, TSV or JSON Lines to Parquet: INPUT= OUTPUT= [ARGS=]
	@$(PY) -m twinbeam convert $(INPUTS) $(OUT) $(ARGS)

run-inspect: $(READY) ## Show what a bundle, examples, scores or a report are: INPUT= [ARGS=--json]
	@$(PY) -m twinbeam inspect $(call quoted,$(INPUT)) $(ARGS)

run-try: $(READY) ## Score pairs from the keyboard, one a line, separated by a tab: MODEL= [ARGS=]
	@$(PY) -m twinbeam try $(call quoted,$(MODEL)) $(ARGS)

run-export: $(READY) ## A bundle in another precision: MODEL= EXAMPLES= OUTPUT= ARGS='--precision int16'
	@$(PY) -m twinbeam export $(call flag,--model,$(MODEL)) $(call flag,--examples,$(EXAMPLES)) $(OUT) $(ARGS)

run-import: $(READY) ## Your own model to a bundle: MODEL= OUTPUT= ARGS='--threshold 0.5 --vocabulary words.json'
	@$(PY) -m twinbeam import $(call quoted,$(MODEL)) $(OUT) $(ARGS)

run-calibrate: $(READY) ## Labelled scores to a bundle of true probabilities: INPUT= MODEL= OUTPUT= [ARGS=]
	@$(PY) -m twinbeam calibrate $(INPUTS) $(call flag,--model,$(MODEL)) $(OUT) $(ARGS)

bench-score: $(READY) ## Four ways of scoring side by side: ARGS='--model BUNDLE --file NAME=PATH'
	@$(PY) -m benchmarks.score $(ARGS)

bench: $(READY) ## Run all benchmarks of scoring into RESULTS.md: ARGS='--model BUNDLE --data DIR'
	@$(PY) -m benchmarks.run $(ARGS)

bench-peers: $(READY) $(PEERS_READY) ## Compare our encoders with torch, onnxruntime and OpenVINO: ARGS='--encoder minilm --file PARQUET'
	@$(PY) -m benchmarks.peers $(ARGS)

peers-lock: $(UV) ## Pin what bench-peers measures in benchmarks/peers.lock
	@$(subst make lock,make peers-lock,$(COMPILE)) benchmarks/peers.in -o benchmarks/peers.lock $(ARGS)

quality: $(READY) ## Train recipes on real data and measure them: ARGS='--data DIR [--jobs …]'
	@$(PY) -m benchmarks.quality $(ARGS)

lock: $(UV) ## Pin all versions with hashes in requirements*.lock (ARGS=--upgrade for newer ones)
	@$(call compile,.)

lock-check: $(UV) ## Check that the lock files match setup.py
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cp --parents $(ALL_LOCKS) "$$folder" \
		&& $(call compile,"$$folder") \
		$(foreach lock,$(ALL_LOCKS),&& diff -u -I '^ *#' $(lock) "$$folder/$(lock)") \
		$(foreach version,$(PYTHONS),&& $(UV) pip install --dry-run --quiet --require-hashes \
			--python-version $(version) --python-platform x86_64-manylinux_2_28 \
			--target "$$folder/$(version)" -r requirements.lock) \
		&& echo "The lock files are current, and install on Python $(PYTHONS)" \
		|| { echo "the lock files are not what setup.py asks for: run make lock" >&2; exit 1; }

audit: $(READY) lock-check ## List the dependencies with their licences and check the lock file
	@$(BIN)/pip-licenses --from=mixed --order=license

flink-up: $(READY) ## Start a Flink cluster on loopback, or what it lost: [ARGS="--task_managers=2 --slots=2"]
	@$(PY) -m deploy.flink.cluster up $(ARGS)

flink-down: $(READY) ## Stop what flink-up started
	@$(PY) -m deploy.flink.cluster down

flink-lock: $(READY) ## Pin Flink's and the job server's jars in deploy/flink/jars.lock (needs mvn)
	@$(PY) -m deploy.flink.jars --lock

test-flink: $(READY) ## Start a Flink cluster, run the pipelines on it, kill parts of it (needs Java)
	@$(PY) -m pytest -q -m flink tests/flink $(ARGS)

airflow-up: $(READY) $(AIRFLOW_READY) ## Start a real Airflow on loopback, with sample data, after one nightly run: [PORT=8080]
	@$(PY) -m deploy.airflow.local up $(call flag,--port,$(PORT))

airflow-cli: $(READY) $(AIRFLOW_READY) ## Run a command of Airflow's against airflow-up: ARGS="dags list"
	@$(PY) -m deploy.airflow.local cli $(ARGS)

airflow-down: $(READY) ## Stop what airflow-up started
	@$(PY) -m deploy.airflow.local down

airflow-lock: $(UV) ## Pin Airflow's own environment in deploy/airflow/requirements.lock
	@$(subst make lock,make airflow-lock,$(COMPILE)) deploy/airflow/requirements.in \
		-o deploy/airflow/requirements.lock $(ARGS)

spark-lock: $(UV) ## Pin Spark's own environment, of tests, in tests/spark/requirements.lock
	@$(subst make lock,make spark-lock,$(COMPILE)) tests/spark/requirements.in \
		-o tests/spark/requirements.lock $(ARGS)

test-airflow: $(READY) $(AIRFLOW_READY) ## Run all DAGs for real: locally, on a scheduler, and against a fake Dataflow
	@$(AIRFLOW_VENV)/bin/python -m pytest -q -c tests/airflow/pytest.ini $(or $(ARGS),tests/airflow)

mutants: $(READY) ## Put small faults into the code, count those that tests detect: ARGS='[GROUP] --each 12'
	@$(PY) -m tests.mutants $(ARGS)

test-spark: $(READY) $(SPARK_READY) ## Let a real Spark write pairs and read scores (needs Java)
	@$(PY) -m pytest -q -m slow tests/spark $(ARGS)

test-cloud: $(READY) ## Run everything against fake Google Cloud services on loopback, slow tests too
	@$(PY) -m pytest -q -m "slow or not slow" tests/cloud $(ARGS)

image: $(READY) ## Build the worker image, after its checks: IMAGE= [DEVICE=cpu|gpu ARGS=--push]
	@$(BIN)/hadolint -c docker/hadolint.yaml docker/Dockerfile
	@docker build -f docker/Dockerfile --build-arg DEVICE=$(or $(DEVICE),cpu) $(if $(IMAGE),-t $(call quoted,$(IMAGE))) $(ARGS) .

template: $(READY) ## Write the flex templates' parameters; with IMAGE= and TEMPLATE=gs://… the templates
	@$(foreach step,score preprocess,$(PY) -m twinbeam template $(step) --output docker/$(step).metadata.json;)
	@$(if $(TEMPLATE),$(foreach step,score preprocess,$(PY) -m twinbeam template $(step) --image \
		$(call quoted,$(IMAGE)) --output $(call quoted,$(TEMPLATE)/$(step).json);))

screenshots: $(READY) ## Pictures of the pages in docs/images, from the demo's data (needs Chromium)
	@$(PY) -m demo.screenshots $(ARGS)

docs: $(READY) ## Build the documentation as a site in build/site, with its links checked
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)
	@echo "build/site/index.html"

# The encoders in C++. Without a compiler there is a warning, and TensorFlow encodes.
$(KERNELS): setup.py $(wildcard model/kernels/*.h model/kernels/*.cpp) | $(READY)
	@$(PY) setup.py --quiet build_ext --inplace
	@mkdir -p $(@D) && touch $@
setup demo test test-slow run-train run-score run-try run-export bench bench-score bench-peers quality: $(KERNELS)

flags: $(READY) ## Write the reference of all flags, docs/flags.md, from the code
	@$(PY) -m twinbeam.reference > docs/flags.md

clean: ## Remove caches, builds and the demo's data (not .venv)
	@rm -rf build dist model/kernels/*.so *.egg-info demo-data .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Airflow pins what we must not: its environment is apart, and it calls ours.
$(PEERS_READY): benchmarks/peers.lock $(UV)
	@echo "Installing torch, onnxruntime and OpenVINO into $(PEERS_VENV), once"
	@test -x $(PEERS_VENV)/bin/python || $(PY) -m venv $(PEERS_VENV)
	@$(UV) pip install --quiet --python $(PEERS_VENV)/bin/python --require-hashes -r $<
	@touch $(PEERS_READY)

$(AIRFLOW_READY): deploy/airflow/requirements.lock $(UV)
	@echo "Installing Airflow into $(AIRFLOW_VENV), once"
	@test -x $(AIRFLOW_VENV)/bin/python || $(PY) -m venv $(AIRFLOW_VENV)
	@$(UV) pip install --quiet --python $(AIRFLOW_VENV)/bin/python --require-hashes -r $< \
		|| $(AIRFLOW_VENV)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $(AIRFLOW_READY)

# Spark is 300 MB, which only its tests need.
$(SPARK_READY): tests/spark/requirements.lock $(UV)
	@echo "Installing Spark into $(SPARK_VENV), once"
	@test -x $(SPARK_VENV)/bin/python || $(PY) -m venv $(SPARK_VENV)
	@$(UV) pip install --quiet --python $(SPARK_VENV)/bin/python --require-hashes -r $< \
		|| $(SPARK_VENV)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $(SPARK_READY)

$(PY):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else \
		f"twinbeam needs Python 3.11 to 3.13, found {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

$(UV): requirements-uv.lock | $(PY)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $(UV)

# Without dependencies: the packages of data name some that we do without, PyTorch for one.
$(READY): $(LOCKS) $(UV)
	@echo "Installing the packages of requirements.lock into $(VENV), once"
	@$(UV) pip install --quiet --compile-bytecode --python $(PY) --require-hashes -r requirements.lock \
		|| $(PY) -m pip install --quiet --require-hashes -r requirements.lock # a mirror only pip knows
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r requirements-data.lock
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable . # the command
	@touch $(READY)
