"""The rules of the house that no other tool checks."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sagakit
from sagakit import Aggregate, Projection, Saga
from sagakit.reactions import Reaction
from worker.services import BANK, RENEWALS, SERVICES, TRIPS

ROOT = Path(__file__).resolve().parents[2]
CODE = [
    p
    for folder in ("sagakit", "aggregates", "workflows", "projections", "worker", "benchmarks")
    for p in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 400
    if lines > 300:
        assert "300 lines" in (ast.get_docstring(ast.parse(path.read_text())) or ""), (
            "over 300 lines: split it, or say why on top"
        )


@pytest.mark.parametrize(
    ("folder", "base", "attribute"),
    [("aggregates", Aggregate, "aggregates"), ("workflows", Saga, "sagas"), ("projections", Projection, "projections")],
)
def test_the_list_of_services_is_complete(folder: str, base: type, attribute: str) -> None:
    written = {
        member
        for path in (ROOT / folder).glob("*.py")
        if path.stem != "__init__"
        for _, member in inspect.getmembers(importlib.import_module(f"{folder}.{path.stem}"), inspect.isclass)
        if issubclass(member, base) and member is not base
    }
    listed = {member for service in (*SERVICES, *BANK, *RENEWALS, *TRIPS) for member in getattr(service, attribute)}
    assert written == listed, "one line in worker/services.py is missing, or one too many"


def test_the_list_of_services_has_every_reaction() -> None:
    """A reaction knows an event and a command, mostly of two aggregates, so it lives where sagas do: in workflows/."""
    written = {
        member
        for folder in ("aggregates", "workflows", "projections")
        for path in (ROOT / folder).glob("*.py")
        if path.stem != "__init__"
        for _, member in inspect.getmembers(importlib.import_module(f"{folder}.{path.stem}"))
        if isinstance(member, Reaction)
    }
    listed = {reaction for service in (*SERVICES, *BANK, *RENEWALS, *TRIPS) for reaction in service.reactions}
    assert written == listed, "one line in worker/services.py is missing, or one too many"


def test_import_sagakit_loads_no_driver() -> None:
    code = "import sagakit, sys; print(*[n for n in ('asyncpg','aiosqlite','sqlite3','aio_pika','aiormq','sqlalchemy','sqlmodel','httpx') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert found.strip() == ""


def test_only_the_settings_read_the_environment() -> None:
    readers = [path.name for path in CODE if any(word in path.read_text() for word in ("os.environ", "getenv", "environb"))]
    assert readers == []
    assert "BaseSettings" in (ROOT / "sagakit/settings.py").read_text()


def test_public_names_are_pinned() -> None:
    assert sagakit.__all__ == [
        "Aggregate", "Command", "DomainError", "Event", "ForeignService", "Identifier", "Personal", "Projection", "RecordedEvent", "Saga", "Service",
        "applies", "handles", "projects", "projects_batch", "reaction", "schedule", "upcasts",
    ]  # fmt: skip
    assert all(hasattr(sagakit, name) for name in sagakit.__all__)


@pytest.mark.parametrize("folder", ["aggregates", "workflows", "projections", "worker"])
def test_folders_cost_nothing_to_load(folder: str) -> None:
    assert (ROOT / folder / "__init__.py").read_text() == ""


def test_the_machine_knows_no_business_noun() -> None:
    nouns = ("order_fulfilment", "OrderPlaced", "ReserveStock", "product_sales", "shipment", "payment")
    guilty = [
        f"{path.name}: {noun}"
        for path in CODE
        if path.is_relative_to(ROOT / "sagakit")
        for noun in nouns
        if noun in _code_of(path)
    ]
    assert guilty == []


def _code_of(path: Path) -> str:
    """The file without its docstrings, help texts and comments, which may give examples."""
    tree = ast.parse(path.read_text())
    return " ".join(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )


def test_workflows_load_in_the_sandbox_without_pass_through() -> None:
    """What is passed through must be free of effects at import, or sagas would share them."""
    code = (
        "import asyncio; from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions\n"
        "from temporalio import workflow\n"
        "from worker.services import BANK, RENEWALS, SERVICES, TRIPS\n"
        "runner = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules('pydantic', 'pydantic_core',"
        " 'opentelemetry', 'uuid_utils', 'annotated_types', 'typing_inspection'))\n"
        "async def prepare():\n"
        "    for service in (*SERVICES, *BANK, *RENEWALS, *TRIPS):\n"
        "        for saga in service.sagas:\n"
        "            runner.prepare_workflow(workflow._Definition.must_from_class(saga)); print(saga.__name__)\n"
        "asyncio.run(prepare())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.split() == [
        saga.__name__ for service in (*SERVICES, *BANK, *RENEWALS, *TRIPS) for saga in service.sagas
    ], done.stderr[-2000:]


def test_the_wheel_holds_sagakit_alone_and_its_console_script(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        scripts = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert {name.split("/")[0] for name in names} == {"sagakit", f"sagakit-{sagakit.__version__}.dist-info"}
    assert {"sagakit/py.typed", "sagakit/temporal/go/go.mod", "sagakit/temporal/go/go.sum"} <= set(names)
    assert "sagakit/sql/migrations/versions/0001_create_event_log.py" in names
    assert "sagakit = sagakit.cli.main:main" in scripts
