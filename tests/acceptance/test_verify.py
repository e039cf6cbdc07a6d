"""`verify` names the event whose bytes were changed (S14)."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from tests.acceptance.worker import System


def test_a_changed_byte_is_named_and_an_untouched_log_is_not(tmp_path: Path) -> None:
    system = System(tmp_path / "data", {"SAGAKIT_HASH_CHAIN": "true"})
    for product in ("a", "b"):
        system.run("send", "seed_stock", product, "--data", '{"quantity": 7}')
        system.run("send", "restock_product", product, "--data", '{"quantity": 2, "return_id": "r", "line": 1}')
    assert "stock: 4 events as they were written" in system.run("verify").stdout
    with sqlite3.connect(system.folder / "stock.db") as connection:
        connection.execute("update events set data = replace(data, '7', '8') where stream = 'stock-b' and version = 1")
    connection.close()
    done = system.run("verify", "--service", "stock", "--json", code=1)
    (found,) = json.loads(done.stdout)
    assert (found["failure"]["stream"], found["failure"]["version"]) == ("stock-b", 1)
    assert "its bytes are not those that were written" in system.run("verify", code=1).stdout
