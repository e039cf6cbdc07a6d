"""The README's code runs, and what the documents list is what there is."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from sagakit.settings import Settings, variable_of

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


def test_the_saga_and_the_read_model_of_the_readme_are_definitions() -> None:
    assert len(BLOCKS) == 3
    assert _run(1).TakeMoney.saga_name == "take-money"
    assert _run(2).OrdersPerCountry.name == "orders_per_country"


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
