"""The keys that payloads are encrypted with: one writes, all read, so that a key can be replaced while sagas run."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sagakit.errors import UnreadablePayload, WrongSettings

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY_BYTES = 32
_VARIABLE = "SAGAKIT_CODEC_KEYS"


class Keyring:
    """Keys by their ids. Neither its text nor its errors hold a key."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        """Take AES-256 keys; the first one writes. Raises `WrongSettings` for none, or one of another length."""
        if not keys:
            raise WrongSettings(f"{_VARIABLE} holds no key; `codec new-key ID` makes one")
        for key_id, key in keys.items():
            if not _ID.fullmatch(key_id):
                raise WrongSettings(f"{_VARIABLE}: a key's id is 1 to 64 of: letters, digits, dot, dash, underscore")
            if len(key) != _KEY_BYTES:
                raise WrongSettings(f"{_VARIABLE}: key {key_id} has {len(key)} bytes instead of {_KEY_BYTES}")
        self.writing_id = next(iter(keys))
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Read ``id:base64`` pairs, one a line or separated by commas; ``@path`` reads a file. Raises `WrongSettings`."""
        if text.startswith("@"):
            try:
                text = Path(text[1:]).read_text()
            except OSError as error:
                raise WrongSettings(f"{_VARIABLE}: {text[1:]} cannot be read: {error.strerror}") from None
        keys: dict[str, bytes] = {}
        for pair in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
            key_id, colon, encoded = pair.partition(":")
            if not colon:
                raise WrongSettings(f"{_VARIABLE}: expected id:base64, one a line or separated by commas")
            if key_id in keys:
                raise WrongSettings(f"{_VARIABLE}: two keys have the id {key_id}")
            try:
                keys[key_id] = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                raise WrongSettings(f"{_VARIABLE}: key {key_id} is no base64") from None
        return cls(keys)

    def cipher(self, key_id: str) -> AESGCM:
        """Return the cipher of a key. Raises `UnreadablePayload`, naming the id that is not here."""
        found = self._ciphers.get(key_id)
        if found is None:
            known = ", ".join(sorted(self._ciphers))
            raise UnreadablePayload(
                f"a payload was encrypted with the key {key_id!r}, which {_VARIABLE} does not hold; it holds: {known}"
            )
        return found

    def __repr__(self) -> str:
        """Name the ids alone."""
        return f"Keyring({', '.join(self._ciphers)})"


def new_key(key_id: str) -> str:
    """Make a line for the setting."""
    key = AESGCM.generate_key(8 * _KEY_BYTES)
    Keyring({key_id: key})
    return f"{key_id}:{base64.b64encode(key).decode()}"
