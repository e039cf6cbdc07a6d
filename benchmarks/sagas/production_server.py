"""The Temporal server of production, on PostgreSQL: built once per machine by Go, run for the time of a benchmark.

The dev server keeps everything in one process over SQLite; this one acknowledges nothing that PostgreSQL has not synced.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from sagakit.errors import SagakitError
from sagakit.temporal.attributes import require_search_attributes
from sagakit.temporal.dev_server import SERVER_VERSION, cache_folder
from tests.support.processes import end, spawn

MODULE = f"go.temporal.io/server@v{SERVER_VERSION}"
_PROGRAMS = {"server": "go.temporal.io/server/cmd/server", "sql": "go.temporal.io/server/cmd/tools/sql"}
_STORES = {"temporal": "temporal", "temporal_visibility": "visibility"}
_SECONDS = 120


class NoServer(Exception):
    """It cannot be built here; the text says why."""


def built() -> Path:
    """Find or build the server, its schema tool and its schema. Raises `NoServer`."""
    folder = cache_folder() / f"server-{SERVER_VERSION}"
    if all((folder / name).exists() for name in (*_PROGRAMS, "schema")):
        return folder
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not os.access(go, os.X_OK):
        raise NoServer("there is no Go to build it")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for package in _PROGRAMS.values():
            command = ["/usr/bin/env", f"GOBIN={folder}", go, "install", "-trimpath", "-ldflags", "-s -w"]
            subprocess.run([*command, f"{package}@v{SERVER_VERSION}"], check=True, capture_output=True, text=True)  # noqa: S603 our own words
        found = subprocess.run([go, "mod", "download", "-json", MODULE], check=True, capture_output=True, text=True, cwd=folder)  # noqa: S603 the same
    except subprocess.CalledProcessError as error:
        raise NoServer((error.stderr.strip().splitlines() or ["the build failed"])[-1]) from error
    shutil.copytree(Path(json.loads(found.stdout)["Dir"]) / "schema/postgresql/v12", folder / "schema", dirs_exist_ok=True)
    return folder


@asynccontextmanager
async def running(postgres: str, folder: Path) -> AsyncIterator[str]:
    """Run it on two databases of its own on a PostgreSQL server; yields its address. Raises `NoServer`."""
    programs = await asyncio.to_thread(built)
    where = urlsplit(postgres)
    await asyncio.to_thread(_make_schema, programs, where.hostname or "", where.port or 0, where.username or "")
    home = folder / "temporal-server"
    home.mkdir(exist_ok=True)
    port, config = _low_port(), home / "config.yaml"
    config.write_text(json.dumps(_config(f"{where.hostname}:{where.port}", where.username or "", port)))  # JSON is YAML
    process = spawn([str(programs / "server"), "--config-file", str(config), "start"], home / "log")
    try:
        address = f"127.0.0.1:{port}"
        await _prepare(address, process, home / "log")
        yield address
    finally:
        end(process, signal.SIGTERM)


def _make_schema(programs: Path, host: str, port: int, user: str) -> None:
    for database, kind in _STORES.items():
        tool = [str(programs / "sql"), "--plugin", "postgres12", "--ep", host, "-p", str(port), "-u", user, "--db", database]
        versions = str(programs / "schema" / kind / "versioned")
        for words in (["create"], ["setup", "-v", "0.0"], ["update", "-d", versions]):
            subprocess.run([*tool, *words], check=True, capture_output=True)  # noqa: S603 our own words


def _config(postgres: str, user: str, port: int) -> dict[str, object]:
    def store(name: str, connections: int) -> dict[str, object]:
        sql = {
            "pluginName": "postgres12", "databaseName": name, "connectAddr": postgres, "connectProtocol": "tcp", "user": user,
            "password": "", "maxConns": connections, "maxIdleConns": connections, "maxConnLifetime": "1h",
        }  # fmt: skip
        return {"sql": sql}

    def service(number: int) -> dict[str, object]:
        return {"rpc": {"grpcPort": number, "membershipPort": _low_port(), "bindOnIP": "127.0.0.1"}}

    cluster = {"enabled": True, "initialFailoverVersion": 1, "rpcName": "frontend", "rpcAddress": f"127.0.0.1:{port}"}
    return {
        "log": {"stdout": True, "level": "error"},
        "persistence": {
            "defaultStore": "default", "visibilityStore": "visibility", "numHistoryShards": 4,
            "datastores": {"default": store("temporal", 20), "visibility": store("temporal_visibility", 10)},
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
        "services": {
            "frontend": service(port), **{name: service(_low_port()) for name in ("matching", "history", "worker")},
        },
        "clusterMetadata": {
            "enableGlobalNamespace": False, "failoverVersionIncrement": 10, "masterClusterName": "active",
            "currentClusterName": "active", "clusterInformation": {"active": cluster},
        },
        "dcRedirectionPolicy": {"policy": "noop"},
        "archival": {kind: {"state": "disabled", "enableRead": False} for kind in ("history", "visibility")},
        "namespaceDefaults": {"archival": {kind: {"state": "disabled"} for kind in ("history", "visibility")}},
    }  # fmt: skip


def _low_port() -> int:
    """Find a free port that the server's table has room for: it takes none above 32767."""
    while True:
        port = random.randrange(20_000, 32_768)  # noqa: S311 no secret
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


async def _prepare(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it answers; make the namespace and the search attributes, and wait until the whole server knows them."""
    registration = RegisterNamespaceRequest(namespace="default")
    registration.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    attributes = AddSearchAttributesRequest(namespace="default")
    for name in ("SagaStatus", "CorrelationId"):
        attributes.search_attributes[name] = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    is_registered = False
    async with asyncio.timeout(_SECONDS):
        while True:
            if process.poll() is not None:
                raise NoServer(f"it ended at its start; {log} says why")
            try:
                client = await Client.connect(address)
                if not is_registered:
                    await client.workflow_service.register_namespace(registration)
                    is_registered = True
                    await client.operator_service.add_search_attributes(attributes)
                await require_search_attributes(client)
            except (RPCError, RuntimeError, SagakitError):
                await asyncio.sleep(0.5)
            else:
                return
