"""Encrypts what Temporal keeps: arguments, results, signals, updates, memos, headers, failures and summaries.

AES-256-GCM (NIST SP 800-38D) with a nonce of 96 random bits each: a key may write some 2^32 payloads. Key id, namespace and
workflow id are authenticated with each payload, so that none can be passed off as another saga's. Search attributes are not
encrypted by Temporal's design: ours are a status and a correlation id. The runs of one schedule count as one workflow, since
Temporal hands the result of each to the next.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Self

from cryptography.exceptions import InvalidTag
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from sagakit.errors import UnreadablePayload
from sagakit.schedules import without_time
from sagakit.temporal.keyring import Keyring

ENCODING = b"binary/encrypted"
_CIPHER = b"AES-256-GCM"
_NONCE_BYTES = 12
_KEY_ID, _NAMESPACE, _WORKFLOW_ID = "sagakit-key", "sagakit-namespace", "sagakit-workflow"


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """Encrypts every payload; decrypts those that are encrypted, and lets others pass: histories from before it was set.

    Raises `UnreadablePayload` for a key that is not here, a wrong one, a changed payload, and one of another workflow or
    namespace. What is encoded without a workflow, by the codec server, is bound to its namespace alone.
    """

    def __init__(self, keys: Keyring, namespace: str, workflow_id: str = "") -> None:
        """Take the keys, and what payloads are bound to."""
        self._keys, self._namespace, self._workflow_id = keys, namespace, workflow_id

    def with_context(self, context: SerializationContext) -> Self:
        """Bind to the workflow that a payload belongs to."""
        workflow_id = None
        if isinstance(context, WorkflowSerializationContext | ActivitySerializationContext):
            workflow_id = context.workflow_id
        return type(self)(self._keys, self._namespace, without_time(workflow_id or ""))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt."""
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt."""
        return [self._decrypted(payload) if payload.metadata.get("encoding") == ENCODING else payload for payload in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        key_id, nonce = self._keys.writing_id, os.urandom(_NONCE_BYTES)
        metadata = {
            "encoding": ENCODING,
            "encryption-cipher": _CIPHER,
            _KEY_ID: key_id.encode(),
            _NAMESPACE: self._namespace.encode(),
            _WORKFLOW_ID: self._workflow_id.encode(),
        }
        sealed = self._keys.cipher(key_id).encrypt(nonce, payload.SerializeToString(), _authenticated(metadata))
        return Payload(metadata=metadata, data=nonce + sealed)

    def _decrypted(self, payload: Payload) -> Payload:
        metadata = dict(payload.metadata)
        key_id = metadata.get(_KEY_ID, b"").decode(errors="replace")
        for what, name, expected in (
            ("namespace", _NAMESPACE, self._namespace),
            ("workflow", _WORKFLOW_ID, self._workflow_id),
        ):
            bound = metadata.get(name, b"").decode(errors="replace")
            if bound and expected and bound != expected:
                raise UnreadablePayload(f"a payload of the {what} {bound!r} was found in {expected!r}: it is not decrypted")
        nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(self._keys.cipher(key_id).decrypt(nonce, sealed, _authenticated(metadata)))
        except (InvalidTag, ValueError, DecodeError):
            raise UnreadablePayload(
                f"a payload cannot be decrypted: the key {key_id!r} here is not the one it was encrypted with, or it was changed"
            ) from None


def _authenticated(metadata: dict[str, bytes]) -> bytes:
    """Join what is authenticated; with lengths, so that no two joins of different parts are alike."""
    parts = [metadata.get(name, b"") for name in ("encryption-cipher", _KEY_ID, _NAMESPACE, _WORKFLOW_ID)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def encrypted(plain: DataConverter, codec_keys: str, namespace: str) -> DataConverter:
    """Make a converter that encrypts what another one writes. Raises `WrongSettings`."""
    return dataclasses.replace(
        plain,
        payload_codec=EncryptionCodec(Keyring.parse(codec_keys), namespace),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
