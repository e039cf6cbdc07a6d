#!/usr/bin/env bash
# Runs the tests with PostgreSQL and RabbitMQ at hand: `test.sh [pytest's arguments]`. All of them run in two processes with
# servers of their own (tests/conftest.py says when not), each file in one; a choice of them runs in one, in its order.
set -euo pipefail
[ $# -gt 0 ] || set -- -n auto --dist loadfile
exec "$(dirname "$0")/with-servers.sh" .venv/bin/python -m pytest "$@"
