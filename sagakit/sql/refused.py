"""What came over the wire and is no event: one bounded row each."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from itertools import islice

from sqlmodel.ext.asyncio.session import AsyncSession

from sagakit.ports import Refused
from sagakit.sql.bookkeeping import insert_if_new
from sagakit.sql.tables import RefusedRow

_LONGEST_TEXT, _LONGEST_NAME, _MAX_HEADERS, _LONGEST_HEADER = 64 * 1024, 255, 64, 1024


async def keep_refused(session: AsyncSession, consumer: str, refused: Refused) -> bool:
    """Keep a message, cut to what every database can hold; False when the very same one is kept already.

    Its key is made from what it says, not from its id alone, which its sender could have given to others before.
    """
    text = _clean(refused.body_excerpt, _LONGEST_TEXT)
    reason, message_id = _clean(refused.reason, _LONGEST_TEXT), refused.message_id
    headers = {
        _clean(name, _LONGEST_NAME): _clean(value, _LONGEST_HEADER)
        for name, value in islice(refused.headers.items(), _MAX_HEADERS)
    }
    identity = "\0".join((consumer, message_id or "", reason, str(refused.size), text))
    return await insert_if_new(
        session,
        RefusedRow,
        id=hashlib.sha256(identity.encode(errors="replace")).hexdigest()[:32],
        consumer=consumer,
        message_id=_clean(message_id, _LONGEST_NAME) if message_id else None,
        reason=reason,
        headers=headers,
        body_excerpt=text,
        size=refused.size,
        refused_at=datetime.now(UTC),
    )


def _clean(text: str, longest: int) -> str:
    return text[:longest].encode(errors="backslashreplace").decode().replace("\0", "\\0")
