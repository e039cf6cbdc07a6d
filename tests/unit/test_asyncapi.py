"""What `contracts export` writes: valid, complete, the same again, and true of what the stores hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from sagakit.asyncapi import HEADERS, export
from sagakit.contracts import load_lock
from sagakit.rabbitmq.messages import to_message
from sagakit.service import ServiceMap
from tests.support.command_line import run_command
from tests.support.demo_log import demo_log
from tests.support.shop import COUNTING
from worker.services import SERVICES

ROOT = Path(__file__).resolve().parents[2]
MAP = ServiceMap(SERVICES)
RECORDED = {key: event for key, event in MAP.registry.events.items() if MAP.is_recorded_by_a_service(event)}


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


async def test_every_stored_event_of_the_demo_fits_its_schema_and_its_headers(tmp_path: Path) -> None:
    events = await demo_log(tmp_path / "data")
    export(MAP, None, tmp_path)
    assert {(event.type, event.schema_version) for event in events} == RECORDED.keys(), "one of each is wanted"
    for event in events:
        schema = _read(tmp_path / "schemas" / f"{event.type}.{event.schema_version}.json")
        Draft202012Validator.check_schema(schema)
        checker = Draft202012Validator.FORMAT_CHECKER
        Draft202012Validator(schema, format_checker=checker).validate(json.loads(event.data))
        Draft202012Validator(HEADERS, format_checker=checker).validate(to_message(event).headers)


@pytest.mark.parametrize("changed", [{"lines": "none"}, {"lines": [{}]}, {"order_id": 7}, {"total": None}])
def test_a_schema_refuses_what_is_no_such_event(tmp_path: Path, changed: dict[str, Any]) -> None:
    export(MAP, None, tmp_path)
    validator = Draft202012Validator(_read(tmp_path / "schemas/order.placed.1.json"))
    placed = {"order_id": "1", "customer": "", "country": "France", "placed_at": "2010-12-01T08:26:00", "lines": [], "total": "1"}
    validator.validate(placed)
    with pytest.raises(ValidationError):
        validator.validate(placed | changed)


def test_the_document_names_every_event_once_under_its_service(tmp_path: Path) -> None:
    export(MAP, None, tmp_path)
    document = _read(tmp_path / "asyncapi.json")
    for (name, version), event in RECORDED.items():
        key, channel = f"{name}.{version}", f"{MAP.producer_of(event).name}.events"
        assert document["channels"][channel]["messages"][key] == {"$ref": f"#/components/messages/{key}"}
        message = document["components"]["messages"][key]
        assert (tmp_path / message["payload"]["$ref"]).is_file()
        assert message["headers"]["allOf"][1]["properties"]["schema_version"] == {"const": version}
    assert len(document["components"]["messages"]) == len(RECORDED)
    assert document["channels"]["shipping.events"]["parameters"]["subscription"]["examples"] == [
        "orders.saga.order-fulfilment",
        "reporting.projection.product_sales",
    ]
    assert {operation["action"] for operation in document["operations"].values()} == {"send"}
    assert _dangling(document, document) == []


def _dangling(part: Any, document: Any) -> list[str]:
    """Every reference within the document leads somewhere."""
    if isinstance(part, list):
        return [name for item in part for name in _dangling(item, document)]
    if not isinstance(part, dict):
        return []
    found = [name for item in part.values() for name in _dangling(item, document)]
    reference = part.get("$ref", "")
    if isinstance(reference, str) and reference.startswith("#/"):
        at = document
        for name in reference[2:].split("/"):
            at = at.get(name, {})
        found += [] if at else [reference]
    return found


def test_versions_that_no_class_reads_any_more_come_from_the_lock(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"format": {"type": "string"}, "at": {"type": "string", "format": "date-time"}}}
    locked = {"events": {"order.sketched": {"1": {"service": "orders", "schema": schema}, "2": {"upcast_into": []}}}}
    export(MAP, locked, tmp_path)
    written = _read(tmp_path / "schemas/order.sketched.1.json")
    assert written["properties"] == {"format": {"type": "string"}, "at": {"type": "string"}}
    assert "order.sketched.1" in _read(tmp_path / "asyncapi.json")["channels"]["orders.events"]["messages"]


def test_a_service_that_is_gone_sends_nothing(tmp_path: Path) -> None:
    locked = {"events": {"post.sent": {"1": {"service": "post", "schema": {"type": "object"}}}}}
    export(MAP, locked, tmp_path)
    assert "post.events" not in _read(tmp_path / "asyncapi.json")["channels"]


def test_events_of_a_service_of_another_code_base_are_received(tmp_path: Path) -> None:
    """Such a service is none of ours, but its events are in the registry and have a producer."""

    class WithWarehouse(ServiceMap):
        def __init__(self) -> None:
            super().__init__([*SERVICES, COUNTING])
            self.services = tuple(SERVICES)

    export(WithWarehouse(), None, tmp_path)
    document = _read(tmp_path / "asyncapi.json")
    channel = document["channels"]["counting.events"]
    assert (channel["address"], channel["bindings"]["amqp"]["exchange"]["type"]) == ("counting.events", "topic")
    assert document["operations"]["counting.receive"]["action"] == "receive"
    assert "counting" not in document["info"]["title"]
    assert _dangling(document, document) == []


def test_the_command_line_writes_the_same_bytes_again(tmp_path: Path) -> None:
    lock = str(ROOT / "contracts.lock.json")
    code, text = run_command(MAP, "contracts", "export", str(tmp_path / "one"), "--lock-file", lock)
    assert (code, "documents written" in text) == (0, True), text
    written = export(ServiceMap(tuple(reversed(SERVICES))), load_lock(Path(lock)), tmp_path / "two")
    for path in written:
        assert path.read_bytes() == (tmp_path / "one" / path.relative_to(tmp_path / "two")).read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, text = run_command(MAP, "contracts", "export", str(tmp_path / "file"))
    assert code == 2
    assert "cannot be written" in " ".join(text.split())
