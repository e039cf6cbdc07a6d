"""Throwaway PostgreSQL and RabbitMQ on free ports of the loopback interface, with data folders of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from sagakit.temporal.free_port import free_port
from tests.support.processes import end, find_program, spawn, wait_until


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


def remove(folder: Path) -> None:
    """Delete the data folder of a server that has ended."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres(leave: Callable[[Path], None] = remove) -> Iterator[str]:
    """Run a PostgreSQL server; yields a URL without a database. fsync is on: the tests kill it.

    ``leave`` takes its folder at the end: hundreds of databases take minutes to delete on a busy machine.
    """
    if given := os.environ.get("SAGAKIT_TEST_POSTGRES"):
        yield given
        return
    with killable_postgres(leave) as server:
        yield server.url


@contextmanager
def killable_postgres(leave: Callable[[Path], None] = remove) -> Iterator[PostgresServer]:
    """Run a PostgreSQL server of the test's own, which it may kill and start again."""
    folder = Path(tempfile.mkdtemp(prefix="sagakit-pg-"))
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        leave(folder)


class PostgresServer:
    """A server on a free port with its data in a folder. fsync is on."""

    def __init__(self, folder: Path) -> None:
        initdb = find_program("initdb", "/usr/lib/postgresql/*/bin/initdb")
        if initdb is None or not (initdb.parent / "postgres").exists():
            raise ServiceMissing("no PostgreSQL: run scripts/test.sh")
        self._folder, self._user, self._port = folder, _unprivileged(), free_port()
        self.url = f"postgresql://saga@127.0.0.1:{self._port}"
        if self._user is not None:
            shutil.chown(folder, self._user)
        data = str(folder / "data")
        subprocess.run(
            [str(initdb), "-D", data, "--no-sync", "-A", "trust", "-U", "saga", "-E", "UTF8"],
            check=True, capture_output=True, user=self._user, cwd="/",
        )  # fmt: skip
        self._command = [str(initdb.parent / "postgres"), "-D", data, "-p", str(self._port), "-k", str(folder)]
        self._command += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-c", "max_prepared_transactions=5"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, after a crash with the recovery, and wait until sessions are let in."""
        self._process = spawn(self._command, _log(self._folder), user=self._user)
        wait_until(lambda: _postgres_answers(self._port), 60, "PostgreSQL")

    def kill(self) -> None:
        """Kill -9 the server with all its processes, as the loss of the machine would."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._process.wait(10)
        psutil.wait_procs(children, 10)

    def stop(self) -> None:
        if self._process is not None:
            end(self._process, signal.SIGINT)


@contextmanager
def rabbitmq() -> Iterator[str]:
    """Run a RabbitMQ node with its own epmd; yields an AMQP URL."""
    if given := os.environ.get("SAGAKIT_TEST_RABBITMQ"):
        yield given
        return
    with killable_rabbitmq() as server:
        yield server.url


@contextmanager
def killable_rabbitmq() -> Iterator[RabbitServer]:
    """Run a RabbitMQ node of the test's own, which it may kill and start again."""
    folder = Path(tempfile.mkdtemp(prefix="sagakit-mq-"))
    server = RabbitServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        remove(folder)


class RabbitServer:
    """A node on a free port with its data in a folder, and an epmd of its own."""

    def __init__(self, folder: Path) -> None:
        program = find_program("none", "/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server")
        program = program or find_program("rabbitmq-server")
        daemon = find_program("epmd", "/usr/lib/erlang/erts-*/bin/epmd")
        if program is None:
            raise ServiceMissing("no RabbitMQ: run scripts/test.sh")
        if daemon is None:
            raise ServiceMissing("no epmd beside RabbitMQ: run scripts/test.sh")
        self._folder, self._program, self.port, epmd = folder, program, free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\nloopback_users = none\n")
        (folder / "enabled_plugins").write_text("[].\n")
        self._env = {
            "PATH": os.environ["PATH"] + ":/usr/sbin:/usr/bin",
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"t{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
        }
        self._names = spawn([str(daemon), "-port", str(epmd), "-address", "127.0.0.1"], _log(folder), self._env)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, after a crash with what was on the disk, and wait until connections are let in."""
        self.launch()
        self.wait_until_up()

    def launch(self) -> None:
        """Start without waiting. From the main thread only: the system ends a child with the *thread* that made it."""
        self._process = spawn([str(self._program)], _log(self._folder), self._env)

    def wait_until_up(self) -> None:
        wait_until(lambda: _amqp_answers(self.port), 60, "RabbitMQ")

    def kill(self) -> None:
        """Kill -9 the node with its children, as the loss of the machine would."""
        assert self._process is not None
        family = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self._process.wait(10)
        psutil.wait_procs(family[1:], 10)
        assert not _amqp_answers(self.port), "it was not killed"

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against this node; return what it says."""
        control = find_program("none", str(self._program.parent / "rabbitmqctl")) or find_program("rabbitmqctl")
        assert control is not None
        done = subprocess.run(
            [str(control), "-q", *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self._folder,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)
        end(self._names)


def _postgres_answers(port: int) -> bool:
    """True once a session is let in: the port answers earlier, while the server is still starting up."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.settimeout(2)
            startup = b"\0\x03\0\0user\0saga\0database\0postgres\0\0"
            connection.sendall((len(startup) + 4).to_bytes(4) + startup)
            return connection.recv(1) == b"R"
    except OSError:
        return False


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
