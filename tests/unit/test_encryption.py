"""What Temporal keeps, encrypted: bound to its workflow, readable with an older key, and never as plain text by a wrong one."""

from __future__ import annotations

import base64

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from sagakit.errors import UnreadablePayload, WrongSettings
from sagakit.settings import load_settings
from sagakit.temporal.encryption import ENCODING, EncryptionCodec
from sagakit.temporal.keyring import Keyring, new_key
from sagakit.temporal.payloads import data_converter

SECRET = b'{"card": "4111"}'
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=SECRET)
OLD, NEW = new_key("2026-05"), new_key("2026-11")


def codec(*keys: str, namespace: str = "default", workflow: str = "order/1") -> EncryptionCodec:
    bound = EncryptionCodec(Keyring.parse(",".join(keys or (NEW,))), namespace)
    return bound.with_context(WorkflowSerializationContext(namespace=namespace, workflow_id=workflow)) if workflow else bound


async def test_it_comes_back_and_nothing_of_it_shows() -> None:
    one, other = await codec().encode([PLAIN, PLAIN])
    assert one.metadata["encoding"] == ENCODING
    assert SECRET not in one.SerializeToString()
    assert one.data != other.data, "each has its own nonce"
    assert await codec().decode([one, other]) == [PLAIN, PLAIN]


async def test_what_was_written_before_the_codec_was_set_is_read_as_it_is() -> None:
    assert await codec().decode([PLAIN]) == [PLAIN]


async def test_keys_are_replaced_while_sagas_run() -> None:
    (before,) = await codec(OLD).encode([PLAIN])
    (after,) = await codec(NEW, OLD).encode([PLAIN])
    assert await codec(NEW, OLD).decode([before, after]) == [PLAIN, PLAIN]
    with pytest.raises(UnreadablePayload, match="the key '2026-05', which SAGAKIT_CODEC_KEYS does not hold; it holds: 2026-11"):
        await codec(NEW).decode([before])


async def test_a_wrong_key_of_the_same_id_is_an_error_and_no_text() -> None:
    (sealed,) = await codec(NEW).encode([PLAIN])
    with pytest.raises(UnreadablePayload, match="not the one it was encrypted with") as caught:
        await codec(new_key("2026-11")).decode([sealed])
    assert "4111" not in str(caught.value)


@pytest.mark.parametrize("part", ["data", "sagakit-workflow", "sagakit-namespace", "sagakit-key"])
async def test_a_changed_payload_is_refused(part: str) -> None:
    (sealed,) = await codec(OLD, NEW).encode([PLAIN])
    if part == "data":
        sealed.data = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
    else:
        sealed.metadata[part] = b"2026-11" if part == "sagakit-key" else b""
    with pytest.raises(UnreadablePayload):
        await codec(OLD, NEW).decode([sealed])


async def test_the_runs_of_one_schedule_are_one_workflow_and_no_other_is() -> None:
    """Temporal hands the result of a run to the next (it would stop every schedule)."""
    daily, at = "gates.schedule.daily", "2026-03-25T06:30:00Z"
    (payload,) = await codec(workflow=f"{daily}-{at}").encode([PLAIN])
    for same in (daily, f"{daily}-2026-03-26T06:30:00Z", f"{daily}-2026-03-26T06:30:00.25Z"):
        assert await codec(workflow=same).decode([payload]) == [PLAIN]
    for other in (f"gates.schedule.weekly-{at}", f"{daily}-x", f"{daily}/{at}", f"day-saga/{daily}-{at}"):
        with pytest.raises(UnreadablePayload, match="it is not decrypted"):
            await codec(workflow=other).decode([payload])


async def test_one_sagas_payload_is_not_read_in_another_saga_or_namespace() -> None:
    (sealed,) = await codec().encode([PLAIN])
    with pytest.raises(UnreadablePayload, match="of the workflow 'order/1' was found in 'order/2'"):
        await codec(workflow="order/2").decode([sealed])
    with pytest.raises(UnreadablePayload, match="of the namespace 'default' was found in 'other'"):
        await codec(namespace="other").decode([sealed])
    assert await codec(workflow="").decode([sealed]) == [PLAIN], "who has no workflow in hand reads it by what it says itself"
    (unbound,) = await codec(workflow="").encode([PLAIN])
    assert await codec().decode([unbound]) == [PLAIN]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no key"),
        ("k1", "expected id:base64"),
        ("k1:***", "key k1 is no base64"),
        (f"k1:{base64.b64encode(b'short').decode()}", "key k1 has 5 bytes instead of 32"),
        (f"a b:{base64.b64encode(bytes(32)).decode()}", "a key's id is 1 to 64 of"),
        (f"{NEW}\n{NEW}", "two keys have the id 2026-11"),
        ("@/no/such/file", "/no/such/file cannot be read"),
    ],
)
def test_wrong_keys_are_one_clear_error_without_the_key(text: str, complaint: str) -> None:
    with pytest.raises(WrongSettings) as caught:
        Keyring.parse(text)
    assert complaint in str(caught.value)
    assert NEW.partition(":")[2] not in str(caught.value)


def test_keys_are_in_no_text_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGAKIT_CODEC_KEYS", NEW)
    settings = load_settings()
    key = NEW.partition(":")[2]
    assert settings.codec_keys is not None
    assert key not in repr(settings)
    assert key not in str(settings.model_dump())
    assert repr(Keyring.parse(settings.codec_keys.get_secret_value())) == "Keyring(2026-11)"
    assert data_converter(None, "default").payload_codec is None
