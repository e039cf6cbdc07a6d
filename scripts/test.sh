#!/usr/bin/env bash
# Runs the tests with PostgreSQL and RabbitMQ at hand: `test.sh [pytest's arguments]`.
set -euo pipefail
exec "$(dirname "$0")/with-servers.sh" .venv/bin/python -m pytest "$@"
