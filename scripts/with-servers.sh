#!/usr/bin/env bash
# Runs a command with PostgreSQL and RabbitMQ at hand: `with-servers.sh COMMAND ...`. The servers' programs are taken from
# the PATH, else installed from the system's packages, else run by Docker from compose/ and ended with the command.
# Node, for the tests' participant in another language, is installed alike; where that cannot be, the command runs without it.
set -euo pipefail
cd "$(dirname "$0")/.."

has_postgres() { command -v initdb >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; }
has_rabbitmq() { command -v rabbitmq-server >/dev/null || [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]; }

install_packages() {
    echo "Installing $* from the system's packages ..." >&2
    "${as_root[@]}" apt-get update -qq
    # The packages' own servers are not wanted: tests and benchmarks start theirs on free ports with throwaway data.
    (
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap '"${as_root[@]}" rm -f "$policy"' EXIT
            printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null && "${as_root[@]}" chmod +x "$policy"
        fi
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    )
}

run_with_docker() {
    compose=(docker compose -f compose/compose.yaml -p "sagakit-tests-$$")
    # Port 0 lets Docker take a free one, so that servers of the user are not in the way.
    export SAGAKIT_POSTGRES_PORT=0 SAGAKIT_RABBITMQ_PORT=0 SAGAKIT_RABBITMQ_UI_PORT=0
    trap '"${compose[@]}" down -v' EXIT
    echo "Starting PostgreSQL and RabbitMQ from compose/ ..." >&2
    "${compose[@]}" up --wait -d postgres rabbitmq
    SAGAKIT_TEST_POSTGRES="postgresql://saga:saga@$("${compose[@]}" port postgres 5432)"
    SAGAKIT_TEST_RABBITMQ="amqp://saga:saga@$("${compose[@]}" port rabbitmq 5672)/"
    export SAGAKIT_TEST_POSTGRES SAGAKIT_TEST_RABBITMQ
    unset SAGAKIT_POSTGRES_PORT SAGAKIT_RABBITMQ_PORT SAGAKIT_RABBITMQ_UI_PORT
}

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
can_install() { command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; }

has_node() { command -v node >/dev/null && command -v npm >/dev/null; }
if ! has_node && can_install; then
    install_packages nodejs npm || echo "warning: no Node with npm: its tests are skipped, or fail with REQUIRE_SERVICES=1" >&2
fi

missing=()
has_postgres || missing+=(postgresql)
has_rabbitmq || missing+=(rabbitmq-server)
if [ "${#missing[@]}" -gt 0 ]; then
    if can_install; then
        install_packages "${missing[@]}"
    elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then
        run_with_docker
    else
        echo "error: ${missing[*]} missing. Install it with your system's package manager (apt-get install ${missing[*]}), or start Docker." >&2
        exit 1
    fi
fi
"$@"
