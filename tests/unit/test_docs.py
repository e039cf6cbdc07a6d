"""The README's code runs, and what the documents list is what there is."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from sagakit.repository import Context
from sagakit.service import ServiceMap
from sagakit.settings import Settings, load_settings, variable_of
from sagakit.system import System
from sagakit.testing import given, given_event, upcast

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def _run(number: int) -> ModuleType:
    module = ModuleType(f"readme_block_{number}")
    exec(compile(BLOCKS[number], f"README.md block {number}", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 our own README
    return module


def test_the_aggregate_of_the_readme_keeps_its_rule() -> None:
    readme = _run(0)
    train = readme.Train(id="t")
    for passenger in ("ann", "bob"):
        train.evolve(train.decide(readme.ReserveSeat(train="t", passenger=passenger)))
    with pytest.raises(readme.TrainFull, match="train t is full"):
        train.decide(readme.ReserveSeat(train="t", passenger="kim"))
    train.evolve(train.decide(readme.ReleaseSeat(train="t", passenger="ann")))
    assert train.passengers == {"bob"}


def test_every_block_of_the_readme_is_run() -> None:
    """The first one above; the saga and the read model need servers: `tests/integration/test_readme.py`."""
    assert len(BLOCKS) == 3


def _whole(name: str) -> ModuleType:
    """Run a document's blocks one after the other, as its reader would."""
    module = ModuleType(name.replace("-", "_").removesuffix(".md"))
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL):
        exec(compile(block, name, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 our own document
    return module


def test_the_six_kinds_of_change_do_what_the_document_says() -> None:
    doc = _whole("event-versions.md")
    registry = ServiceMap([doc.PARCELS]).registry
    old = {"to": "ann", "street": "High St 1", "town": "Ely"}
    upcast(registry, "parcel.sent", 1, old).becomes(doc.ParcelSent(recipient="ann", express=False, address="High St 1, Ely"))
    parts = doc.ParcelDelivered(signed_by="bob"), doc.ParcelRated(stars=4)
    upcast(registry, "parcel.delivered", 1, {"signed_by": "bob", "stars": 4}).becomes(*parts)
    upcast(registry, "package.rated", 1, {"stars": 4}).becomes(parts[1])
    upcast(registry, "parcel.looked_at", 1, {"who": "kim"}).becomes()


def test_the_tests_of_the_testing_document_pass() -> None:
    doc = _whole("testing.md")
    tests = [member for name, member in vars(doc).items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()


async def test_time_travel_tells_what_the_document_says(tmp_path: Path) -> None:
    doc = _whole("time-travel.md")
    async with System(load_settings(data=tmp_path, database="sqlite"), ServiceMap([doc.LETTERS])) as system:
        for grams in (20, 30):
            await system.send(doc.WeighLetter(letter="a", sender="ann", grams=grams), Context(actor="kim"))
        assert await doc.tell(system) == [
            "20 g, then 30 g",
            "letter.weighed by kim",
            "letter.weighed by kim",
            "version: 1 to 2",
            "grams: 20 to 30",
        ]


def test_the_reactions_of_their_document_do_what_it_says() -> None:
    doc = _whole("reactions.md")
    doc.test_readers_get_a_point_and_staff_none()
    services = ServiceMap(doc.SERVICES)
    assert [(s.consumer, s.producer) for s in services.subscriptions()] == [
        ("loyalty.reaction.award_a_point", "library"),
        ("loyalty.reaction.award_for_a_parcel", "warehouse"),
    ]
    given_event(doc.ParcelPacked(parcel="p", reader="ann"), service="warehouse").when(doc.award_for_a_parcel).then(
        doc.AwardPoint(reader="ann")
    )


def test_the_gauge_of_the_event_log_document_has_snapshots() -> None:
    doc = _whole("event-log.md")
    given(doc.Gauge, doc.Measured(value=3)).when(doc.Measure(gauge="g", value=2)).then(doc.Measured(value=2))
    assert doc.Gauge.snapshot_every == 100


def test_the_saga_of_the_money_transfer_document_is_the_one_that_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/money-transfer.md").read_text(), re.DOTALL)
    assert block in (ROOT / "workflows/money_transfer.py").read_text()


def test_the_code_of_the_isolation_document_is_that_of_its_tested_examples() -> None:
    """But for white space: the formatter has moved what is inside a class to the left."""
    examples = [_dense(path.read_text()) for path in sorted((ROOT / "tests/support/isolation").glob("*.py"))]
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/isolation.md").read_text(), re.DOTALL)
    assert len(blocks) == 8
    for block in blocks:
        assert any(_dense(block) in example for example in examples), block


def _dense(text: str) -> str:
    return "".join(text.split())


def test_the_settings_table_is_the_settings() -> None:
    text = (ROOT / "docs/running.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"| `{variable_of(name)}` | `{field.default}` | {field.description} |" in text


@pytest.mark.parametrize(
    "path", [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name
)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), link
