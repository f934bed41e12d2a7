"""A file of an export as a stream of bytes or lines: unpacked, in one encoding, and in small memory whatever it holds.

path -> unpacked bytes -> blocks (UTF-16 becomes UTF-8) -> blocks of whole lines -> text.
"""

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from integrations.ehr_export.ledger import Ledger

MAX_BYTES = 64 * 1024 * 1024
"""A longer .txt file, line or message is not a note; it is left out without being loaded. A block's length more may pass."""
BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 64
COMPRESSED = (".gz", ".zst")

TOO_LARGE = "larger than 64 MB without a line end"
WINDOWS_1252 = "not UTF-8, read as Windows-1252"
MIXED = "UTF-8 and Windows-1252 mixed, each line read as what it is"
UTF_16 = "a file in UTF-16"

OnBytes = Callable[[int], None]
"""Told how many more bytes of the file on disk have been read."""


class Source:
    """One open file. Only one of `blocks`, `lines` and `whole` is read, and once.

    `ends_early` becomes true where a compressed file breaks off; the unfinished line or text at its end is left out then.
    """

    def __init__(self, file: BinaryIO, ledger: Ledger, compression: str = "", on_bytes: OnBytes | None = None) -> None:
        self.file, self._ledger, self._compression, self._on_bytes = file, ledger, compression, on_bytes
        self.ends_early = False
        self._told_bytes = self._n_utf8 = self._n_other = 0
        self._closing = ExitStack()
        self._closing.enter_context(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.close()
        if self._n_other:
            self._ledger.remark(MIXED if self._n_utf8 else WINDOWS_1252)

    def advance(self, position: int) -> None:
        """The file has been read up to here, in bytes on disk."""
        if self._on_bytes and position > self._told_bytes:
            self._on_bytes(position - self._told_bytes)
            self._told_bytes = position

    def blocks(self) -> Iterator[bytes]:
        """The content without its byte order mark; a file in UTF-16 comes as UTF-8."""
        pieces = self._unpacked()
        head = b""
        for piece in pieces:
            head += piece
            if len(head) >= _HEAD_BYTES:
                break
        utf_16 = _utf_16(head)
        if not utf_16:
            yield head.removeprefix(codecs.BOM_UTF8)
            yield from pieces
            return
        self._ledger.remark(UTF_16)
        decoder = codecs.getincrementaldecoder(utf_16)(errors="replace")
        yield decoder.decode(head).encode()
        for piece in pieces:
            yield decoder.decode(piece).encode()
        yield decoder.decode(b"", final=True).encode()

    def lines(self) -> Iterator[str]:
        """Whole lines, decoded, many in one string; an empty one stands for one that is too long."""
        for block in self._whole_lines():
            try:
                text = block.decode()
                self._n_utf8 += not text.isascii()
            except UnicodeDecodeError:
                text = "\n".join(self.decode(line) for line in block.split(b"\n"))
            yield text

    def whole(self) -> str | None:
        """The content as one text; None, and counted, where it is too long or breaks off."""
        pieces, length = [], 0
        for piece in self.blocks():
            length += len(piece)
            if length > MAX_BYTES:
                self._ledger.drop("a .txt file larger than 64 MB")
                return None
            pieces.append(piece)
        return None if self.ends_early else self.decode(b"".join(pieces))

    def decode(self, content: bytes) -> str:
        """Bytes of this file as text: UTF-8, else Windows-1252."""
        try:
            text = content.decode()
            self._n_utf8 += not text.isascii()
            return text
        except UnicodeDecodeError:
            self._n_other += 1
        return windows_1252(content)

    def _unpacked(self) -> Iterator[bytes]:
        read = self._reader()
        while True:
            try:
                piece = read(BLOCK_BYTES)
            except EOFError:
                self._break_off("a compressed file that ends too early")
                return
            except (OSError, zlib.error) as error:
                if not self._compression:
                    raise
                # Arrow has one exception for both.
                early = "truncated" in str(error).lower()
                self._break_off("a compressed file that ends too early" if early else "a compressed file that is damaged")
                return
            self.advance(self.file.tell())
            if not piece:
                return
            yield piece

    def _break_off(self, reason: str) -> None:
        self.ends_early = True
        self._ledger.drop(reason)

    def _reader(self) -> Callable[[int], bytes]:
        if self._compression == ".gz":
            # read1, because read would lose what it has when it meets the end that is too early.
            return self._closing.enter_context(gzip.GzipFile(fileobj=self.file, mode="rb")).read1
        if self._compression == ".zst":
            import pyarrow as pa  # 0.1 s, and much address space

            read: Callable[[int], bytes] = self._closing.enter_context(
                pa.CompressedInputStream(pa.PythonFile(self.file, mode="r"), "zstd")
            ).read
            return read
        return self.file.read

    def _whole_lines(self) -> Iterator[bytes]:
        begun: list[bytes] = []
        length = 0
        for block in self.blocks():
            cut = block.rfind(b"\n") + 1
            if cut:
                # Of a line that is too long the line feed stays, so that those after it keep their numbers.
                begun.append(block[:cut] if length <= MAX_BYTES else block[block.index(b"\n") : cut])
                yield b"".join(begun)
                begun, length, block = [], 0, block[cut:]
            if length <= MAX_BYTES < length + len(block):
                self._ledger.drop(TOO_LARGE)
                begun = []
            length += len(block)
            if block and length <= MAX_BYTES:
                begun.append(block)
        if begun and not self.ends_early:
            yield b"".join(begun)


def _utf_16(head: bytes) -> str:
    """The codec for a file that begins so; empty where it is not UTF-16. Databases write it without a byte order mark."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    first, second = head[:_HEAD_BYTES:2], head[1:_HEAD_BYTES:2]
    if len(second) > 1 and all(first) and not any(second):
        return "utf-16-le"
    return "utf-16-be" if len(second) > 1 and all(second) and not any(first) else ""


def windows_1252(content: bytes) -> str:
    """As Windows-1252, or as Latin-1 where that has no character for a byte."""
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def open_source(path: Path, ledger: Ledger, on_bytes: OnBytes | None = None) -> Source:
    """Open a file, compressed or not as its ending says.

    Raises:
        OSError: it cannot be opened.
    """
    suffix = path.suffix.lower()
    return Source(path.open("rb"), ledger, suffix if suffix in COMPRESSED else "", on_bytes)


def in_memory(content: bytes, ledger: Ledger) -> Source:
    """Bytes that are here already, as a source."""
    return Source(io.BytesIO(content), ledger)
