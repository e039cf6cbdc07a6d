"""What is handed to Temporal, as JSON by pydantic; what it would refuse for its size is refused here, once and in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter, PydanticPayloadConverter, pydantic_data_converter
from temporalio.converter import CompositePayloadConverter, DataConverter, DefaultPayloadConverter, JSONPlainPayloadConverter

from sagakit.sending import require_size

# One for all: the SDK makes a converter for each workflow, and each would learn every type anew.
_json = PydanticJSONPlainPayloadConverter(max_cached_type_adapters=256)


class SizedPayloads(PydanticPayloadConverter):
    """Raises `PayloadTooLarge` wherever a payload is made: an event for a saga, a step, a decision, what a run takes along.

    The SDK warns of payloads from 512 KiB on; Temporal itself would refuse the command, and be asked for ever.
    """

    def __init__(self) -> None:
        """Convert as pydantic does."""
        ordinary = DefaultPayloadConverter.default_encoding_payload_converters
        CompositePayloadConverter.__init__(
            self, *(_json if isinstance(each, JSONPlainPayloadConverter) else each for each in ordinary)
        )

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """Convert values, and weigh them: the limit is on all that one command carries."""
        payloads = super().to_payloads(values)
        if payloads:
            require_size(" and ".join(_named(value) for value in values), sum(len(payload.data) for payload in payloads))
        return payloads


def _named(value: Any) -> str:
    return str(getattr(value, "command_name", getattr(value, "event_name", type(value).__name__)))


converter = dataclasses.replace(pydantic_data_converter, payload_converter_class=SizedPayloads)


def data_converter(codec_keys: str | None, namespace: str) -> DataConverter:
    """Make the converter of every client: JSON by pydantic; encrypted when there are keys. Raises `WrongSettings`."""
    if codec_keys is None:
        return converter
    from sagakit.temporal.encryption import encrypted  # noqa: PLC0415 a heavy import, and few set keys

    return encrypted(converter, codec_keys, namespace)
