"""Bad input and missing parts: one clear sentence with place and remedy, exit code not 0, no stack trace, nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest

from sagakit.temporal.free_port import free_port
from tests.acceptance.worker import System

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path / "data")


def _refused(system: System, *args: str) -> str:
    done = system.run(*args, code=None)
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"a\0b", "is a binary file"),
        (HEADER.replace("UnitPrice,", "").encode(), "no column UnitPrice"),
    ],
)
def test_a_file_that_cannot_be_used(system: System, tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(content)
    message = _refused(system, "demo", "--input", str(path))
    assert str(path) in message
    assert says in message
    assert not (system.folder / "orders.db").exists()


def test_a_document_too_large_for_its_log(system: System, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    row = "{},A,thing,2,01/12/2010 08:26,2.50,7,France\n"
    path.write_text(HEADER + row.format(1) + row.format(2) * 7000)
    message = _refused(system, "demo", "--input", str(path))
    assert "document 2 has 7000 rows, and its event order.placed would be" in message
    assert not (system.folder / "orders.db").exists()


@pytest.mark.parametrize("command", [("demo",), ("import", "worker/sample.csv")])
def test_a_summary_that_could_not_be_written(system: System, command: tuple[str, ...]) -> None:
    assert "--summary-file /no/such/out.json cannot be written" in _refused(
        system, *command, "--summary-file", "/no/such/out.json"
    )
    assert not (system.folder / "orders.db").exists()


def test_a_file_that_is_not_there(system: System) -> None:
    assert "/no/such.csv cannot be read: No such file" in _refused(system, "demo", "--input", "/no/such.csv")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("send", "fly_away", "x"), "no command called 'fly_away'; known: accept_return, answer_payment, authorise_payment"),
        (("send", "place_order", "x", "--data", "{"), "--data is not JSON"),
        (("send", "place_order", "x", "--data", "[1]"), "--data is not a JSON object"),
        (("send", "place_order", "x", "--data", "[" * 100_000), "--data is not JSON"),
        (
            ("send", "place_order", "x", "--data", '{"country": 1}'),
            "place_order does not fit: country: Input should be a valid string",
        ),
        (("send", "seed_stock", "x", "--data", '{"quantity": NaN}'), "seed_stock does not fit: quantity"),
        (("send", "seed_stock", "x" * 300, "--data", '{"quantity": 1}'), "at most 200 characters"),
        (("query", "nothing"), "no read model called 'nothing'; known: order_summary"),
        (("query", "order_summary", "--where", "total", "gt", "x"), "--where total gt x"),
        (("query", "order_summary", "--where", "total", "over", "1"), "'over' is no operator"),
        (("query", "order_summary", "--where", "size", "gt", "1"), "no column 'size'"),
        (("query", "order_summary", "--where", "total"), "--where needs COLUMN OP VALUE"),
        (("query", "order_summary", "--where=total"), "COLUMN OP VALUE"),
        (("query", "order_summary", "--where", "lines", "gt", "99999999999999999999"), "--where lines gt 99999999999999999999"),
        (("query", "order_summary", "--where", "total", "like", "1%"), "--where total like 1%"),
        (
            ("--data", "/etc/passwd", "send", "seed_stock", "x", "--data", '{"quantity": 1}'),
            "the data folder /etc/passwd cannot be used",
        ),
        (("--data", "/etc/passwd", "start"), "the data folder /etc/passwd cannot be used"),
        (("--app", "..", "doctor"), "names no module"),
        (("--app", "", "doctor"), "names no module"),
        (("show", "order", "nobody"), "there is no order 'nobody'"),
        (("show", "elephant", "1"), "no aggregate called 'elephant'"),
        (("start", "--service", "sales"), "there is no service 'sales'"),
        (("start", "--service", "orders"), "the in-process bus needs all services in one process"),
        (("start", "--role", "dance"), "there is no role dance"),
        (("sagas", "list", "--status", "sad"), "no saga status 'sad'"),
        (("sagas", "skip", "order-fulfilment/1"), "a decision needs a reason: say --reason TEXT"),
        (("sagas", "supply", "order-fulfilment/1", "--reason", "r", "--result", "{"), "--result is no result of a step"),
        (("demo", "--decline-over", "much"), "--decline-over much: expected an amount"),
        (("--app", "no.such", "doctor"), "there is no module 'no'"),
    ],
)
def test_a_command_line_that_does_not_fit(system: System, temporal_binary: Path, args: tuple[str, ...], says: str) -> None:
    system.settings["SAGAKIT_TEMPORAL_BINARY"] = str(temporal_binary)
    assert says in _refused(system, *args)


def test_a_saga_that_is_not_there(system: System, temporal_address: str) -> None:
    system.settings["TEMPORAL_ADDRESS"] = temporal_address
    message = _refused(system, "sagas", "retry", "order-fulfilment/nobody", "--reason", "r")
    assert message == "error: there is no saga 'order-fulfilment/nobody'; `sagas list` names them"


def test_all_wrong_settings_at_once(system: System) -> None:
    system.settings |= {"SAGAKIT_BUS": "http://secret@x", "SAGAKIT_RELAY_BATCH": "0", "TEMPORAL_ADDRESS": "here"}
    message = _refused(system, "doctor")
    assert all(name in message for name in ("SAGAKIT_BUS", "SAGAKIT_RELAY_BATCH", "TEMPORAL_ADDRESS"))
    assert "secret" not in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TEMPORAL_ADDRESS", "127.0.0.1:99999"),
        ("SAGAKIT_BUS", "amqp://hidden:x@h:abc/"),
        ("SAGAKIT_BUS", "amqp://hidden:x@h:99999/"),
        ("SAGAKIT_DATABASE", "postgresql://hidden@h:abc/{service}"),
    ],
)
def test_a_port_that_is_none(system: System, name: str, value: str) -> None:
    system.settings[name] = value
    message = _refused(system, "doctor")
    assert f"{name}: the port is no number" in message
    assert "hidden" not in message


def test_an_app_that_does_not_load(system: System, tmp_path: Path) -> None:
    (tmp_path / "broken_app.py").write_text("SERVICES = [Nobody]\n")
    system.settings["PYTHONPATH"] = f"{system.env['PYTHONPATH']}:{tmp_path}"
    message = _refused(system, "--app", "broken_app", "doctor")
    assert "broken_app cannot be loaded, NameError: name 'Nobody' is not defined" in message


def test_no_such_namespace(system: System, temporal_address: str) -> None:
    system.settings |= {"TEMPORAL_ADDRESS": temporal_address, "TEMPORAL_NAMESPACE": "nope"}
    message = _refused(system, "start")
    assert "no namespace 'nope'" in message
    assert "TEMPORAL_NAMESPACE" in message


def test_no_temporal(system: System) -> None:
    system.settings["TEMPORAL_ADDRESS"] = f"127.0.0.1:{free_port()}"
    assert "no Temporal server answers at 127.0.0.1:" in _refused(system, "start")


def test_no_temporal_binary(system: System) -> None:
    system.settings["SAGAKIT_TEMPORAL_BINARY"] = "/no/temporal"
    assert "SAGAKIT_TEMPORAL_BINARY=/no/temporal is no program" in _refused(system, "start")


def test_no_rabbitmq(system: System, temporal_address: str) -> None:
    system.settings |= {"SAGAKIT_BUS": f"amqp://guest:hidden@127.0.0.1:{free_port()}/", "TEMPORAL_ADDRESS": temporal_address}
    message = _refused(system, "start")
    assert "RabbitMQ does not answer" in message
    assert "SAGAKIT_BUS" in message
    assert "hidden" not in message


def test_no_postgres(system: System, temporal_address: str) -> None:
    system.settings |= {
        "SAGAKIT_DATABASE": f"postgresql://saga:hidden@127.0.0.1:{free_port()}/{{service}}",
        "TEMPORAL_ADDRESS": temporal_address,
    }
    message = _refused(system, "start")
    assert "the PostgreSQL database of service orders cannot be reached" in message
    assert "SAGAKIT_DATABASE" in message
    assert "hidden" not in message


def test_no_postgres_beside_rabbitmq(system: System, rabbitmq_url: str, temporal_address: str) -> None:
    database = f"postgresql://saga@127.0.0.1:{free_port()}/{{service}}"
    system.settings |= {"SAGAKIT_DATABASE": database, "SAGAKIT_BUS": rabbitmq_url, "TEMPORAL_ADDRESS": temporal_address}
    assert "cannot be reached" in _refused(system, "start")


def test_two_processes_on_one_embedded_folder(system: System, temporal_binary: Path) -> None:
    from tests.support.processes import end

    system.settings["SAGAKIT_TEMPORAL_BINARY"] = str(temporal_binary)
    first = system.start()
    try:
        assert "another process runs on the data folder" in _refused(system, "start")
    finally:
        assert end(first) == 0


def test_a_refusal_is_an_answer(system: System) -> None:
    line = '{"country": "France", "placed_at": "2010-12-01T08:00:00", "lines": [{"product": "a", "quantity": 1, "unit_price": "2.50"}]}'
    assert "order.placed (version 1)" in system.run("send", "place_order", "1", "--data", line).stdout
    again = system.run("send", "place_order", "1", "--data", line, code=3)
    assert "refused, order_already_placed" in again.stdout
    assert system.json("events", "--stream", "order-1")[0]["metadata"]["command"] == "place_order"
    assert system.json("show", "order", "1")["state"]["total"] == "2.50"


def test_a_number_that_postgres_cannot_hold(system: System, postgres_url: str) -> None:
    system.settings["SAGAKIT_DATABASE"] = f"{postgres_url}/bad_input_{{service}}"
    message = _refused(system, "query", "order_summary", "--where", "lines", "gt", "99999999999")
    assert "--where lines gt 99999999999: the database cannot compare" in message


@pytest.mark.parametrize(
    ("command", "data", "says"),
    [
        ("seed_stock", '{"quantity": 1, "colour": "red"}', "colour: Extra inputs are not permitted"),
        ("seed_stock", '{"quantity": NaN}', "seed_stock does not fit: quantity"),
        ("seed_stock", '{"quantity": 99999999999999999999999}', "quantity is an integer of more than 64 bits"),
        ("seed_stock", '{"quantity": 1e400}', "seed_stock does not fit: quantity"),
        ("seed_stock", '{"quantity": ' + "9" * 5000 + "}", "--data is not JSON"),
        ("cancel_order", '{"reason": "\\ud800"}', "cancel_order does not fit"),
        ("refund_payment", '{"amount": "Infinity"}', "refund_payment does not fit: amount"),
    ],
)
def test_a_command_that_cannot_be_stored_leaves_nothing(system: System, command: str, data: str, says: str) -> None:
    assert says in _refused(system, "send", command, "x", "--data", data)
    assert system.json("events") == []
