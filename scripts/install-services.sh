#!/usr/bin/env bash
# Sees to it that PostgreSQL and RabbitMQ can be started for the tests: from the PATH, else from the system's packages.
set -euo pipefail

has_postgres() { command -v initdb >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; }
has_rabbitmq() { command -v rabbitmq-server >/dev/null || [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]; }

missing=()
has_postgres || missing+=(postgresql)
has_rabbitmq || missing+=(rabbitmq-server)
[ "${#missing[@]}" -eq 0 ] && exit 0

if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    echo "Installing ${missing[*]} from the system's packages ..." >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # The packages' own servers are not wanted: the tests start theirs on free ports with throwaway data.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    echo "Starting PostgreSQL and RabbitMQ from compose/ ..." >&2
    docker compose -f compose/compose.yaml up --wait -d postgres rabbitmq
    echo "Now run the tests with SAGAKIT_TEST_POSTGRES and SAGAKIT_TEST_RABBITMQ as compose/README.md says." >&2
else
    echo "error: ${missing[*]} missing. Install it with your system's package manager (apt-get install ${missing[*]}), or start Docker." >&2
    exit 1
fi
