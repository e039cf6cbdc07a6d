"""Servers, one of each per session. A missing one skips its tests, or fails them when REQUIRE_SERVICES=1."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sagakit.errors import TemporalUnavailable
from sagakit.temporal import dev_server
from tests.support import node_participant, servers
from tests.support.node_participant import Node


def pytest_xdist_auto_num_workers() -> int:
    """Run in two processes; in one where the servers are given, since two would meet in the same queues."""
    return 1 if os.environ.keys() & {"SAGAKIT_TEST_POSTGRES", "SAGAKIT_TEST_RABBITMQ"} else 2


# What is to be deleted once no test's time runs any more.
_left: list[Path] = []


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    while _left:
        servers.remove(_left.pop())


@contextmanager
def _or_skip(server: Any) -> Iterator[Any]:
    try:
        value = server.__enter__()
    except servers.ServiceMissing as error:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))
    try:
        yield value
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with _or_skip(servers.postgres(_left.append)) as url:
        yield url


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    with _or_skip(servers.rabbitmq()) as url:
        yield url


@pytest.fixture(scope="session")
def node() -> Node:
    try:
        return node_participant.installed()
    except servers.ServiceMissing as error:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))


@contextmanager
def _of_its_own(server: Any, given: str) -> Iterator[Any]:
    """Run a server that the test may kill; one that is given by the variable may not be."""
    try:
        with server as started:
            yield started
    except servers.ServiceMissing as error:
        if os.environ.get("REQUIRE_SERVICES") == "1" and given not in os.environ:
            pytest.fail(str(error))
        pytest.skip(f"{error}; a server that is given cannot be killed")


@pytest.fixture
def own_postgres() -> Iterator[servers.PostgresServer]:
    with _of_its_own(servers.killable_postgres(), "SAGAKIT_TEST_POSTGRES") as server:
        yield server


@pytest.fixture(scope="module")
def own_rabbitmq() -> Iterator[servers.RabbitServer]:
    with _of_its_own(servers.killable_rabbitmq(), "SAGAKIT_TEST_RABBITMQ") as server:
        yield server


@pytest.fixture(scope="session")
def temporal_binary() -> Path:
    try:
        return asyncio.run(dev_server.find_binary(None, print))
    except TemporalUnavailable as error:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def temporal_address(temporal_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = asyncio.run(dev_server.start(temporal_binary, tmp_path_factory.mktemp("temporal"), 0, 0))
    yield server.address
    server.stop()


@pytest.fixture
def fresh_temporal(temporal_binary: Path, tmp_path: Path) -> Iterator[str]:
    """A Temporal server of the test's own, so that no saga of another test is in it."""
    server = asyncio.run(dev_server.start(temporal_binary, tmp_path / "temporal", 0, 0))
    yield server.address
    server.stop()
