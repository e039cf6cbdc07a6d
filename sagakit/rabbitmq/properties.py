"""The properties of a message off the wire: read the quick way where that goes, and handed over where they cannot be read.

What the driver cannot decode comes without them, so that it can be refused like any other. Else the driver closes the
connection, the broker gives the same message again, and the queue stands still for ever. RabbitMQ takes such messages from any
publisher: a header's name that is no UTF-8, a timestamp in nanoseconds, tables nested a thousand deep.
The driver offers no place for this, so a method of `pamqp` is replaced; it does what it did wherever it succeeds.
"""

from __future__ import annotations

from functools import wraps

from pamqp.commands import Basic
from pamqp.header import ContentHeader

from sagakit.rabbitmq.quick_properties import fill

UNDECODABLE = "x-undecodable"
"""The one header of such a message: what went wrong."""


def replace_decoding() -> None:
    """Replace the method, once in this process."""
    decode = ContentHeader.unmarshal
    if hasattr(decode, "__wrapped__"):
        return

    @wraps(decode)
    def unmarshal(self: ContentHeader, data: bytes) -> None:
        if fill(self, data):
            return
        try:
            decode(self, data)
        except Exception as error:
            # The size of the body is read first; without it nothing on this connection can be understood any more.
            if self.class_id is None:
                raise
            self.properties = Basic.Properties(headers={UNDECODABLE: type(error).__name__})

    ContentHeader.unmarshal = unmarshal  # type: ignore[method-assign]
