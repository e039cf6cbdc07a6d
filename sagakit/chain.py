"""A hash chain per stream: each event's hash covers what was written and the hash of the event before it.

Whoever changes, removes or moves an event that has a successor breaks the chain, and `verify` names the event. It does
not stop someone who may rewrite a whole stream: note the last hash of what matters elsewhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from sagakit.ports import EventStore, StoredLink

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PAGE = 1000


def digest(stream: str, version: int, event_id: UUID, event_type: str, schema_version: int, data: str, metadata: str) -> bytes:
    """Hash what is written of an event; data and metadata are its JSON texts. Lengths in front keep the fields apart."""
    sha = hashlib.sha256()
    for part in (stream, str(version), str(event_id), event_type, str(schema_version), data, metadata):
        written = part.encode()
        sha.update(len(written).to_bytes(4, "big"))
        sha.update(written)
    return sha.digest()


def link(previous: bytes, event_digest: bytes, recorded_at: datetime) -> bytes:
    """Chain an event to the one before it (nothing for the first); PostgreSQL does the same sum in the append itself."""
    microseconds = (recorded_at - _EPOCH) // timedelta(microseconds=1)
    return hashlib.sha256(previous + event_digest + str(microseconds).encode()).digest()


@dataclass(frozen=True)
class Checked:
    """How many events of a log were checked; ``unchained`` ones were written without a hash; ``failure`` is the first fault."""

    service: str
    chained: int
    unchained: int
    failure: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


async def check_chains(store: EventStore) -> Checked:
    """Walk every stream of a log; stop at the first event whose bytes, place or predecessor were changed."""
    chained = unchained = 0
    place, previous = ("", 0), b""
    while page := await store.links(place, _PAGE):
        for found in page:
            is_next = found.stream == place[0]
            if found.version != (place[1] + 1 if is_next else 1):
                return Checked(store.service, chained, unchained, _fault(found, "an event before it was removed"))
            if not is_next:
                previous = b""
            if found.hash is None:
                unchained += 1
            elif found.hash != link(previous, found.digest, found.recorded_at):
                why = "its bytes are not those that were written, or those before it are not"
                return Checked(store.service, chained, unchained, _fault(found, why))
            else:
                chained += 1
            place, previous = (found.stream, found.version), found.hash or b""
    return Checked(store.service, chained, unchained)


def _fault(found: StoredLink, why: str) -> dict[str, Any]:
    return {
        "stream": found.stream,
        "version": found.version,
        "position": found.position,
        "id": str(found.event_id),
        "type": found.type,
        "why": why,
    }
