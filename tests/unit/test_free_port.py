"""A port that was found for a server is there for it: nobody else is handed it in between."""

from __future__ import annotations

import errno
import socket
import sys

import pytest

from sagakit.temporal.free_port import free_port


@pytest.mark.skipif(sys.platform != "linux", reason="what other kernels do was not seen")
def test_a_server_can_listen_on_it_and_nobody_is_handed_it_by_chance() -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use") as refused:
        other.bind(("127.0.0.1", port))
    assert refused.value.errno == errno.EADDRINUSE
    with socket.create_server(("127.0.0.1", port), reuse_port=False) as server:
        assert server.getsockname()[1] == port
    with socket.socket() as client:
        client.settimeout(1)
        assert client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
