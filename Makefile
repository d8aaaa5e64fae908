# Every target does its own set-up: a fresh clone needs no step before it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BIN := .venv/bin
VENV := .venv/.installed
WEIGHTS := .cache/weights.stamp
VIDEO := .cache/video/vtest.avi
KAFKA_DIR := .cache/kafka
KAFKA_PORT ?= 9092
KAFKA_CLUSTER_PORT ?= 9192
# Each broker takes three ports: for clients, for the quorum, and for clients with a certificate.
KAFKA_CLUSTER = $(shell port=$(KAFKA_CLUSTER_PORT); echo 127.0.0.1:$$port,127.0.0.1:$$((port + 3)),127.0.0.1:$$((port + 6)))

# Research data with truth is used where it lies beside the checkout; without it those tests skip.
CAMWEAVE_DATA ?= $(abspath $(wildcard ../shared/data))
ifneq ($(CAMWEAVE_DATA),)
export CAMWEAVE_DATA
endif

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV) $(WEIGHTS) $(VIDEO) ## Set up .venv, model weights and sample video

.PHONY: demo
demo: setup ## Run four virtual cameras end to end and leave runs/demo (ARGS="--frames 100 --json")
	$(BIN)/camweave demo $(ARGS)

.PHONY: test
test: setup ## Run all tests, on a real Apache Kafka too where mvn and java are present (ARGS="-k gallery")
	scripts/test.sh $(ARGS)

.PHONY: check
check: $(VENV) ## Check lint, format, types, the direction of imports, and the hooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pre-commit validate-config

.PHONY: format
format: $(VENV) ## Format the code and apply the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: setup ## Measure ratios against the peers into runs/bench.jsonl
	$(BIN)/python scripts/peers.py
	$(BIN)/python -m tests.benchmarks $(ARGS)

.PHONY: kafka
kafka: $(VENV) ## Fetch Apache Kafka and start it on 127.0.0.1:9092 (KAFKA_PORT=...)
	$(BIN)/python scripts/kafka.py start --dir $(KAFKA_DIR) --port $(KAFKA_PORT)

.PHONY: kafka-cluster
kafka-cluster: $(VENV) ## Start three Apache Kafka brokers on loopback, with TLS and SASL/SCRAM (KAFKA_CLUSTER_PORT=9192)
	$(BIN)/python scripts/kafka.py start --dir $(KAFKA_DIR) --port $(KAFKA_CLUSTER_PORT) --brokers 3 --secure

.PHONY: kafka-stop
kafka-stop: $(VENV) ## Stop what `make kafka` and `make kafka-cluster` started
	$(BIN)/python scripts/kafka.py stop --dir $(KAFKA_DIR) --port $(KAFKA_PORT)
	$(BIN)/python scripts/kafka.py stop --dir $(KAFKA_DIR) --port $(KAFKA_CLUSTER_PORT) --brokers 3 --secure

.PHONY: test-kafka
test-kafka: setup kafka ## Run the log's conformance suite and a short demo on that Kafka
	CAMWEAVE_TEST_KAFKA=127.0.0.1:$(KAFKA_PORT) $(BIN)/pytest -m kafka $(ARGS)
	$(BIN)/camweave demo --kafka 127.0.0.1:$(KAFKA_PORT) --frames 60 --out runs/demo-kafka

.PHONY: test-kafka-cluster
test-kafka-cluster: setup kafka-cluster ## Run the log's conformance suite and a short demo on those three brokers
	. $(KAFKA_DIR)/$(KAFKA_CLUSTER_PORT)/security/client.env; \
	CAMWEAVE_TEST_KAFKA=$(KAFKA_CLUSTER) $(BIN)/pytest tests/cluster/log -m kafka $(ARGS); \
	$(BIN)/camweave demo --kafka $(KAFKA_CLUSTER) --frames 60 --out runs/demo-kafka-cluster

.PHONY: test-outage
test-outage: setup kafka ## Take the broker away from a running site for a minute, at its start and in mid-stream
	CAMWEAVE_TEST_KAFKA=127.0.0.1:$(KAFKA_PORT) CAMWEAVE_TEST_OUTAGE_S=60 $(BIN)/pytest tests/cluster/test_faults.py -k comes_back $(ARGS)

.PHONY: schemas
schemas: $(VENV) ## Export the JSON Schema of every record to docs/schemas
	$(BIN)/camweave schema --out docs/schemas

.PHONY: lock
lock: ## Resolve pyproject.toml again into requirements.lock (ARGS=--upgrade)
	@test -x $(BIN)/uv || $(MAKE) $(VENV)  # not a prerequisite: that would install the lock that is to be replaced
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--quiet --output-file requirements.lock $(ARGS)

.PHONY: clean
clean: ## Remove what was built and run; keep .venv, weights and video
	rm -rf runs dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find cluster pipeline models tests scripts -name __pycache__ -prune -exec rm -rf {} +

$(VENV): requirements.lock pyproject.toml scripts/setup.sh
	scripts/setup.sh
	@touch $@

$(WEIGHTS): $(wildcard models/weights.py models/reid/osnet.*) | $(VENV)
	$(BIN)/camweave weights fetch
	@mkdir -p $(@D) && touch $@

$(VIDEO): | $(VENV)
	$(BIN)/python scripts/sample_video.py --to $@
