"""A slice that is malformed is refused with the number of the line, before anything is written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from sagakit.errors import InvalidInput
from sagakit.messages import Metadata
from sagakit.replay import check
from sagakit.service import ServiceMap
from sagakit.slices import Header, Slice, SliceEvent, read_slice
from tests.support.letters import SERVICES

NOW = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


def _event(number: int) -> SliceEvent:
    return SliceEvent(
        number=number, earlier=False, service="stamps", stream="stamp-s", version=number, position=number * 7, id=UUID(int=number),
        type="letter.stamped", schema_version=1, data={"pence": number}, metadata=Metadata(correlation_id="c"), recorded_at=NOW,
    )  # fmt: skip


HEADER = Header(made_by="test", made_at=NOW, asked={"stream": "stamp-s"}, masked=[], events=2, earlier=0, failed_commands=0)
PART = Slice(HEADER, (_event(1), _event(2)), ())
ONE, TWO, THREE = PART.lines()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text("\n".join(PART.lines()) + "\n")
    assert read_slice(path) == PART
    recorded = PART.events[0].recorded()
    assert (recorded.stream, recorded.version, recorded.id, recorded.recorded_at) == ("stamp-s", 1, UUID(int=1), NOW)
    assert json.loads(recorded.data) == {"pence": 1}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "is empty"),
        (["{", TWO, THREE], "line 1 is not JSON"),
        ([TWO, THREE], "line 1: expected a JSON object of the kind slice"),
        ([ONE.replace('"format": 1', '"format": 9'), TWO], "line 1: format 9 is not known"),
        ([ONE, "[" * 100_000], "line 2 is not JSON"),
        ([ONE, "9" * 10_000], "line 2 is not JSON"),
        ([ONE, "7"], "line 2: expected a JSON object"),
        ([ONE, TWO.replace('"version": 1', '"version": "x"')], "line 2: version: Input should be a valid integer"),
        (
            [ONE, TWO.replace("2010-12-01T08:26:00Z", "2010-12-01T08:26:00")],
            "line 2: recorded_at: Input should have timezone info",
        ),
        ([ONE, TWO], "is not whole: line 1 announces 2 events"),
        ([ONE, THREE, TWO], "line 2: event number 2 stands where 1 should"),
        ([ONE, TWO, THREE.replace('"version": 2', '"version": 5')], "line 3: stamp-s goes on with version 5, not 2"),
        ([ONE, TWO, THREE.replace("0002", "0001")], "line 3: the event id 00000000-0000-0000-0000-000000000001 is there twice"),
    ],
)
def test_what_is_malformed_is_refused_with_its_line(tmp_path: Path, lines: list[str], says: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(InvalidInput, match=says):
        read_slice(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        read_slice(tmp_path / "none.jsonl")


def test_what_the_code_cannot_fold_is_refused_with_its_line() -> None:
    other = PART.events[1].model_copy(update={"data": {"pence": "many"}})
    with pytest.raises(InvalidInput, match=r"s\.jsonl, line 3: letter\.stamped 1"):
        check(Slice(HEADER, (PART.events[0], other), ()), ServiceMap(SERVICES), "s.jsonl")
    foreign = PART.events[0].model_copy(update={"stream": "parcel-1"})
    with pytest.raises(InvalidInput, match=r"line 2: there is no aggregate called 'parcel'"):
        check(Slice(HEADER, (foreign,), ()), ServiceMap(SERVICES), "s.jsonl")
