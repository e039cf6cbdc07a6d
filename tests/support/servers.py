"""Throwaway PostgreSQL and RabbitMQ on free ports of the loopback interface, with data folders of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import end, find_program, free_port, spawn, wait_until


class ServiceMissing(Exception):
    """A server's program is not here; the text says how to get it."""


def _unprivileged() -> str | None:
    """Name a user to run PostgreSQL as, which refuses root; None when this process is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise ServiceMissing("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL server; yields a URL without a database. fsync is on: the tests kill it."""
    if given := os.environ.get("SAGAKIT_TEST_POSTGRES"):
        yield given
        return
    initdb = find_program("initdb", "/usr/lib/postgresql/*/bin/initdb")
    if initdb is None or not (initdb.parent / "postgres").exists():
        raise ServiceMissing("no PostgreSQL: run scripts/test.sh")
    user, folder, port = _unprivileged(), Path(tempfile.mkdtemp(prefix="sagakit-pg-")), free_port()
    try:
        if user is not None:
            shutil.chown(folder, user)
        data = str(folder / "data")
        subprocess.run(
            [str(initdb), "-D", data, "--no-sync", "-A", "trust", "-U", "saga", "-E", "UTF8"],
            check=True, capture_output=True, user=user, cwd="/",
        )  # fmt: skip
        command = [str(initdb.parent / "postgres"), "-D", data, "-p", str(port), "-k", str(folder)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"]
        process = spawn(command, _log(folder), user=user)
        try:
            # A port that answers may still say that the system is starting up.
            ready = [str(initdb.parent / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, 30, "PostgreSQL")
            yield f"postgresql://saga@127.0.0.1:{port}"
        finally:
            end(process, signal.SIGINT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def rabbitmq() -> Iterator[str]:
    """Run a RabbitMQ node with its own epmd; yields an AMQP URL."""
    if given := os.environ.get("SAGAKIT_TEST_RABBITMQ"):
        yield given
        return
    server = find_program("none", "/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server")
    server = server or find_program("rabbitmq-server")
    if server is None:
        raise ServiceMissing("no RabbitMQ: run scripts/test.sh")
    folder = Path(tempfile.mkdtemp(prefix="sagakit-mq-"))
    port, dist, epmd = free_port(), free_port(), free_port()
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\nloopback_users = none\n")
    (folder / "enabled_plugins").write_text("[].\n")
    env = {
        "PATH": os.environ["PATH"] + ":/usr/sbin:/usr/bin",
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"t{port}@localhost",
        "RABBITMQ_DIST_PORT": str(dist),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
    }
    daemon = find_program("epmd", "/usr/lib/erlang/erts-*/bin/epmd")
    if daemon is None:
        raise ServiceMissing("no epmd beside RabbitMQ: run scripts/test.sh")
    names = spawn([str(daemon), "-port", str(epmd), "-address", "127.0.0.1"], _log(folder), env)
    process = spawn([str(server)], _log(folder), env)
    try:
        wait_until(lambda: _amqp_answers(port), 60, "RabbitMQ")
        yield f"amqp://guest:guest@127.0.0.1:{port}/"
    finally:
        end(process)
        end(names)
        shutil.rmtree(folder, ignore_errors=True)


def _amqp_answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(connection.recv(1))
    except OSError:
        return False


def _log(folder: Path) -> Path:
    path = folder / "server.log"
    path.touch()
    return path
