"""A secret in a command, with encryption on: nowhere in what Temporal keeps, in logs or spans; read again by who has the key."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from sagakit.temporal.keyring import new_key
from tests.acceptance.worker import ROOT, System
from tests.support.processes import end, end_with_parent, wait_until

CANARY = "canary-4711-secret"
ORDER = {
    "customer": CANARY, "country": CANARY, "placed_at": "2010-12-01T08:26:00Z",
    "lines": [{"product": "a", "quantity": 1, "unit_price": "2.50"}],
}  # fmt: skip
TOKEN = "a-token"  # noqa: S105 of this test alone
ORIGIN = "http://127.0.0.1:8233"


def _run_a_saga(system: System) -> None:
    """Place an order that is refused for want of stock: its saga has arguments, a failure, an undo and a conclusion."""
    worker = system.start()
    try:
        system.run("send", "place_order", "1", "--data", json.dumps(ORDER))
        wait_until(lambda: system.json("show", "order", "1")["state"]["status"] == "cancelled", 60, "the saga to compensate")
    finally:
        end(worker)


def _holding(folder: Path, names: tuple[str, ...]) -> list[str]:
    files = [path for name in names for path in sorted(folder.rglob(name)) if path.is_file()]
    assert files
    return [path.name for path in files if CANARY.encode() in path.read_bytes()]


@pytest.fixture
def system(embedded: System) -> System:
    return embedded


def test_without_keys_temporal_keeps_the_secret_in_the_clear(system: System) -> None:
    """The same search as below: it finds what is there."""
    _run_a_saga(system)
    assert _holding(system.folder, ("temporal.db*",))


async def test_with_keys_it_is_nowhere_and_the_codec_server_reads_it(system: System) -> None:
    system.settings["SAGAKIT_CODEC_KEYS"] = key = new_key("2026-11")
    system.settings["SAGAKIT_CODEC_TOKEN"] = TOKEN
    _run_a_saga(system)
    assert _holding(system.folder, ("temporal.db*",)) == []
    assert _holding(system.folder, ("*.log", "*.jsonl")) == []
    with_key = key.partition(":")[2].encode()
    assert not [path for path in system.folder.rglob("*") if path.is_file() and with_key in path.read_bytes()]

    worker = system.start()  # the dev server again, with what it kept
    try:
        address = json.loads((system.folder / "temporal/address.json").read_text())["address"]
        payloads = await _payloads(address)
        assert CANARY not in json.dumps(payloads)
        _reads_by_the_codec_server(system, payloads)
        system.settings["SAGAKIT_CODEC_KEYS"] = new_key("2026-11")
        refused = system.run("sagas", "gate", code=1)
        assert "cannot be decrypted" in refused.stderr + refused.stdout
        assert CANARY not in refused.stderr + refused.stdout
    finally:
        end(worker)


async def _payloads(address: str) -> list[dict[str, Any]]:
    client = await Client.connect(address)
    history = await client.get_workflow_handle("order-fulfilment/1").fetch_history()
    found: list[dict[str, Any]] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if {"metadata", "data"} <= node.keys():
                found.append(node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(history.to_json_dict())
    assert CANARY not in history.to_json()
    return found


def _reads_by_the_codec_server(system: System, payloads: list[dict[str, Any]]) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "worker", "codec", "serve", "--port", "0", "--origin", ORIGIN],
        env=system.env, cwd=ROOT, stderr=subprocess.PIPE, preexec_fn=end_with_parent,
    )  # fmt: skip
    try:
        assert server.stderr is not None
        said = server.stderr.readline().decode()
        (base,) = re.findall(r"http://127\.0\.0\.1:\d+", said)
        status, answer, allowed = _ask(base, payloads, TOKEN)
        assert (status, allowed) == (200, ORIGIN)
        texts = [_text(payload) for payload in json.loads(answer)["payloads"]]
        assert any(CANARY in text for text in texts)
        assert _ask(base, payloads, "another")[0] == 401
        assert _ask(base, payloads, TOKEN, origin="http://elsewhere.example")[2] is None
        assert _ask(base, payloads, TOKEN, namespace="other")[0] == 400
        assert _ask(base, [{"metadata": 7}], TOKEN)[0] == 400
        again = _ask(base, json.loads(answer)["payloads"], TOKEN, way="encode")
        assert again[0] == 200
        assert CANARY not in again[1]
    finally:
        end(server)
        if server.stderr is not None:
            server.stderr.close()


def _text(payload: dict[str, Any]) -> str:
    return base64.b64decode(payload.get("data", "")).decode(errors="replace")


def _ask(
    base: str, payloads: list[Any], token: str, *, way: str = "decode", origin: str = ORIGIN, namespace: str = "default"
) -> tuple[int, str, str | None]:
    headers = {"Origin": origin, "X-Namespace": namespace, "Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{base}/{way}", json={"payloads": payloads}, headers=headers, timeout=10)
    return answer.status_code, answer.text, answer.headers.get("Access-Control-Allow-Origin")


@pytest.mark.parametrize(
    ("args", "settings", "complaint"),
    [
        (("serve",), {}, "nothing is encrypted: SAGAKIT_CODEC_KEYS holds no key"),
        (("serve", "--host", "0.0.0.0"), {"SAGAKIT_CODEC_KEYS": new_key("k")}, "whoever reaches 0.0.0.0 could read everything"),  # noqa: S104 refused
        (("serve",), {"SAGAKIT_CODEC_KEYS": "k:short"}, "SAGAKIT_CODEC_KEYS: key k"),
        (("new-key", "a key"), {}, "a key's id is 1 to 64 of"),
    ],
)
def test_bad_input_of_the_codec_commands(tmp_path: Path, args: tuple[str, ...], settings: dict[str, str], complaint: str) -> None:
    done = System(tmp_path / "data", settings).run("codec", *args, code=2)
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
