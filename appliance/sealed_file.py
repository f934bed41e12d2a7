"""A file that only the holder of a key can read or alter: a stream in pieces of 64 KiB, each under AES-256-GCM.

It begins with a line that says what it is and under which key, for a person to read. Each file has a key of its own, derived from
the holder's and that line; each piece is bound to its place and to whether it is the last, so that pieces cannot be altered, left
out, swapped or taken off the end unseen (the STREAM construction of Hoang et al. 2015, as age uses it).
"""

import hashlib
import hmac
import io
import json
import secrets
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_PIECE_BYTES = 1 << 16
_TAG_BYTES = 16
_SALT_BYTES = 16
_LONGEST_HEADER = 4096


class SealError(RuntimeError):
    """The file is not as it was written, is of another kind, or this is not its key."""


def fingerprint(key: bytes) -> str:
    """What tells one key from another and gives nothing of it away."""
    return hmac.new(key, b"clinappliance key", hashlib.sha256).hexdigest()[:16]


class SealedWriter(io.RawIOBase):
    """Takes plain bytes. Without `finish` the file counts as cut off."""

    def __init__(self, file: BinaryIO, key: bytes, kind: str, about: dict[str, Any]) -> None:
        """Write the first line.

        Args:
            file: open for writing, empty.
            key: of the holder, `KEY_BYTES`.
            kind: what the file is.
            about: more for the first line, which anybody can read.
        """
        header = {"kind": kind, "key": fingerprint(key), "salt": secrets.token_hex(_SALT_BYTES), **about}
        line = json.dumps(header).encode() + b"\n"
        file.write(line)
        self._file, self._cipher = file, _cipher(key, header, line)
        self._waiting, self._pieces = bytearray(), 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Take some bytes."""
        self._waiting += data
        # A full piece waits until there is more, for it may be the last.
        while len(self._waiting) > _PIECE_BYTES:
            self._seal(bytes(self._waiting[:_PIECE_BYTES]), is_last=False)
            del self._waiting[:_PIECE_BYTES]
        return len(data)

    def finish(self) -> None:
        """Write the end. The file is still open, and not yet on the disk for certain."""
        self._seal(bytes(self._waiting), is_last=True)

    def _seal(self, piece: bytes, is_last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._pieces, is_last), piece, None))
        self._pieces += 1


class SealedReader(io.RawIOBase):
    """Gives back the plain bytes, of which each was checked."""

    def __init__(self, file: BinaryIO, key: bytes, kind: str) -> None:
        """Read the first line.

        Raises:
            SealError: the file is of another kind, or sealed with another key.
        """
        line = file.readline(_LONGEST_HEADER)
        try:
            self.about: dict[str, Any] = json.loads(line)
            is_right = self.about["kind"] == kind and len(bytes.fromhex(self.about["salt"])) == _SALT_BYTES
        except (ValueError, KeyError, TypeError):
            is_right = False
        if not is_right:
            raise SealError(f"this is no {kind}, or its first line is damaged")
        if self.about.get("key") != fingerprint(key):
            raise SealError(f"it is sealed with the key {self.about.get('key')}, and the one given is {fingerprint(key)}")
        self._file, self._cipher = file, _cipher(key, self.about, line)
        self._plain, self._pieces, self._is_over = bytearray(), 0, False
        self._next = file.read(_PIECE_BYTES + _TAG_BYTES)

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """As many bytes as asked for, fewer at the end.

        Raises:
            SealError: what was read is not as it was written, or the end is missing.
        """
        while not self._is_over and (size < 0 or len(self._plain) < size):
            piece, self._next = self._next, self._file.read(_PIECE_BYTES + _TAG_BYTES)
            self._is_over = not self._next
            try:
                self._plain += self._cipher.decrypt(_nonce(self._pieces, self._is_over), piece, None)
            except (InvalidTag, ValueError):
                raise SealError(f"it is damaged or cut off, in or after its piece {self._pieces + 1}") from None
            self._pieces += 1
        taken = bytes(self._plain if size < 0 else self._plain[:size])
        del self._plain[: len(taken)]
        return taken


def _cipher(key: bytes, header: dict[str, Any], line: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise SealError(f"a key has {KEY_BYTES} bytes, this one {len(key)}")
    return AESGCM(HKDF(SHA256(), KEY_BYTES, bytes.fromhex(header["salt"]), line).derive(key))


def _nonce(piece: int, is_last: bool) -> bytes:
    return piece.to_bytes(11, "big") + bytes([is_last])
