.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
DATA ?= .data
SECTION ?= log
export PYTHON
run := .venv/bin/python

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

set-up:
	@scripts/set-up.sh requirements.lock

set-up-dev:
	@scripts/set-up.sh requirements-dev.lock

demo: set-up ## import sample orders, watch them become sagas; KEEP=1 leaves it running, ARGS="--input FILE ..."
	@data=$$(mktemp -d "$${TMPDIR:-/tmp}/sagakit-demo-XXXXXX"); echo "data folder: $$data" >&2; \
	exec $(run) -m worker --data "$$data" demo $(if $(KEEP),--keep) $(ARGS)

start: set-up ## run all services on the data folder .data until ^C
	@exec $(run) -m worker --data "$(DATA)" start $(ARGS)

test: set-up-dev ## run all tests on real PostgreSQL, RabbitMQ and Temporal
	@REQUIRE_SERVICES=$${REQUIRE_SERVICES-1} scripts/test.sh $(ARGS)

test-fast: set-up-dev ## run the tests that need no server
	@$(run) -m pytest tests/unit tests/architecture $(ARGS)

bench: set-up-dev ## measure beside peers: SECTION=log|delivery|sagas; ARGS="--quick --only TEXT" for a look
	@scripts/with-servers.sh $(run) -m benchmarks $(SECTION) $(ARGS)

record-histories: set-up-dev ## record the ways of sagas that tests/replay has not yet
	@$(run) -m tests.replay.record
diagrams: set-up-dev ## draw the sagas of the example anew, from their rehearsals
	@$(run) -m worker sagas diagram --into docs/order-sagas.md
	@$(run) -m worker sagas diagram --rehearsals worker.rehearsals:LONG_WAYS --into docs/order-sagas.md
	@$(run) -m worker --app worker.services:BANK sagas diagram --rehearsals worker.rehearsals:BANK --into docs/money-transfer.md
	@$(run) -m worker --app worker.services:RENEWALS sagas diagram --rehearsals worker.rehearsals:RENEWALS --into docs/subscription-renewal.md
	@$(run) -m worker --app worker.services:TRIPS sagas diagram --rehearsals worker.rehearsals:TRIPS --into docs/trip-booking.md
chaos: set-up-dev ## kill what delivers, or sagas and what they stand on: SECTION=delivery|sagas; ARGS="--help" says how to have a look
	@scripts/with-servers.sh $(run) -m tests.chaos.$(or $(filter-out log,$(SECTION)),delivery) $(ARGS)
	@$(if $(ARGS)$(filter sagas,$(SECTION)),:,$(run) -m pytest -q tests/chaos/long_broker_faults.py)

check: set-up-dev ## format, lint, types, imports, contracts, architecture
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(run) -m worker contracts check
	@$(run) -m worker sagas check
	@$(run) -m worker --app worker.services:BANK sagas check
	@$(run) -m worker --app worker.services:RENEWALS sagas check
	@$(run) -m worker --app worker.services:TRIPS sagas check
	@$(run) -m worker --app worker.services:BANK contracts check --lock-file contracts.bank.lock.json
	@$(run) -m worker --app worker.services:RENEWALS contracts check --lock-file contracts.renewals.lock.json
	@$(run) -m worker --app worker.services:TRIPS contracts check --lock-file contracts.trips.lock.json
	@$(run) -m pytest -q tests/architecture

format: set-up-dev ## rewrite the code in the house format
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

up: ## start the real parts with Docker
	docker compose -f compose/compose.yaml up --wait -d

down: ## stop them, keeping their data
	docker compose -f compose/compose.yaml down

lock: set-up-dev ## renew both lock files
	uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header --universal --python-version 3.11 pyproject.toml -o requirements.lock
	uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header --universal --python-version 3.11 --extra dev pyproject.toml -o requirements-dev.lock

.PHONY: help set-up set-up-dev demo start test test-fast bench chaos record-histories diagrams check format up down lock
