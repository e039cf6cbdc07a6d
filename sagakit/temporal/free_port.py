"""Finds free ports of this machine for servers that we start."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a port of loopback that is free, and on Linux stays so for about a minute: nobody is handed it by chance.

    A connection that was closed on this side first stays in TIME_WAIT; the kernel then gives the port only to a server that names
    it and reuses addresses, as PostgreSQL, RabbitMQ and Temporal do.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: tuple[str, int] = listener.getsockname()
        with socket.create_connection(address):
            taken, _ = listener.accept()
            taken.close()
        return address[1]
