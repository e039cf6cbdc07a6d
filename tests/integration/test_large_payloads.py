"""More than Temporal takes in one piece is one clear error that the saga compensates for; nothing is tried for ever (D13)."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.service import RPCError

import sagakit.sending
from sagakit.errors import PayloadTooLarge
from sagakit.messages import Metadata, RecordedEvent
from sagakit.service import ServiceMap
from sagakit.steps import Verdict
from sagakit.temporal.bridge import SagaStarter
from sagakit.temporal.stage import Stage, rehearsing
from tests.support.long_voyage import LONG_VOYAGES, LongVoyage, PatientVoyage
from tests.support.sailing import sailing
from tests.support.voyage import LEGS, Embarked, Told

SERVICES = [LONG_VOYAGES, LEGS]


@pytest.fixture
async def stage(temporal_binary: Path) -> AsyncIterator[Stage]:
    async with rehearsing(SERVICES, temporal_binary, is_prompt=True) as stage:
        yield stage


@pytest.mark.parametrize(("size", "is_taken"), [(262_144, True), (1_900_000, True), (2_100_000, False), (5_000_000, False)])
async def test_a_step_that_is_too_large_makes_the_saga_compensate_d13(stage: Stage, size: int, *, is_taken: bool) -> None:
    async with sailing(stage, SERVICES, PatientVoyage, f"leg:a heavy:{size}") as voyage:
        result = await voyage.handle.result()
        if is_taken:
            assert result.status == "completed"
        else:
            assert result.status == "compensated"
            assert f"has {size}"[:6] in result.reason
            assert "Temporal takes 2000000: keep the large part elsewhere" in result.reason
            assert voyage.undone() == ["a"]


async def test_steps_side_by_side_that_are_too_large_together_go_one_after_the_other_d13(stage: Stage) -> None:
    async with sailing(stage, SERVICES, PatientVoyage, "wide:1800000") as voyage:
        assert (await voyage.handle.result()).status == "completed"


async def test_an_undo_that_is_too_large_is_parked_d13(stage: Stage) -> None:
    async with sailing(stage, SERVICES, PatientVoyage, "leg:a heavyundo:3000000 leg:b", {3: "refused"}) as voyage:
        await voyage.comes_to("parked")
        await voyage.executions.decide(voyage.handle.id, Verdict(action="skip", actor="kim", reason="by hand"))
        assert (await voyage.handle.result()).status == "compensated"
        assert voyage.undone() == ["a"]


async def test_a_chapter_that_takes_too_much_along_is_refused_d13(stage: Stage) -> None:
    async with sailing(stage, SERVICES, PatientVoyage, "leg:a heavychapter:3000000") as voyage:
        result = await voyage.handle.result()
        assert result.status == "compensated"
        assert result.reason.startswith("the state of a new chapter has 3000002 bytes")


async def test_a_saga_that_has_too_much_to_take_along_compensates_d13(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sagakit.sending, "_LIMIT_BYTES", 5_000)
    async with sailing(stage, SERVICES, PatientVoyage, "leg:a ask") as voyage:
        await voyage.comes_to("asking")
        with suppress(RPCError):  # it may have ended before all were told
            for _ in range(30):
                await voyage.tell(secrets.token_hex(400))
        result = await voyage.handle.result()
        assert result.status == "compensated"
        assert "let it begin a new chapter now and then" in result.reason
        assert voyage.undone() == ["a"]


@pytest.mark.parametrize("event", [Embarked(voyage="v", plan="x" * 2_100_000), Told(voyage="v", news="x" * 2_100_000)])
async def test_an_event_that_is_too_large_for_a_saga_is_parked_at_once_d13(stage: Stage, event: Embarked | Told) -> None:
    starter = SagaStarter(stage.client, LongVoyage, ServiceMap(SERVICES).registry, "q")
    recorded = RecordedEvent(
        service="voyages",
        position=1,
        stream="voyage-v",
        version=1,
        id=uuid.uuid4(),
        type=event.event_name,
        schema_version=1,
        data=event.model_dump_json(),
        metadata_text=Metadata(correlation_id="c").model_dump_json(),
        recorded_at=datetime.now(UTC),
    )
    with pytest.raises(PayloadTooLarge, match="Temporal takes 2000000") as found:
        await starter(recorded)
    assert found.value.parks_at_once
