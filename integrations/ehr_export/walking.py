"""What lies in an export: its files in the order of their names, small ones of a kind put together to be read as one."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from integrations.ehr_export.ledger import Ledger
from integrations.ehr_export.opening import COMPRESSED

FORMATS = {
    ".txt": "text", ".rtf": "text", ".csv": "delimited", ".tsv": "delimited", ".jsonl": "json_lines", ".ndjson": "json_lines",
    ".parquet": "parquet", ".hl7": "hl7_archive",
}  # fmt: skip
"""What a file is, by its ending; each but Parquet, which is compressed inside, may be packed as .gz or .zst."""

MOST_FILES, MOST_BYTES = 4096, 16 * 1024 * 1024
"""Of small files that are read as one: ten million notes in a file each would be as many pieces of work."""


@dataclass(frozen=True)
class ExportFile:
    """A file of an export, or neighbours of the same format that are read as one."""

    name: str
    """Path in the export, `/` between folders; of several files, the first one's."""
    size: int
    """Bytes on disk, of all of them."""
    format: str
    others: str = field(default="", repr=False)
    """Names of the files after the first, NUL between them: small in memory where there are millions."""

    @property
    def names(self) -> list[str]:
        """Every file."""
        return [self.name, *(self.others.split("\0") if self.others else ())]


def format_of(name: str) -> str:
    """The format that a file's ending names; empty where it is none that is read."""
    stem, suffix = os.path.splitext(name.lower())
    if suffix in COMPRESSED:
        inner = FORMATS.get(os.path.splitext(stem)[1], "")
        return "" if inner == "parquet" else inner
    return FORMATS.get(suffix, "")


def together(found: Iterable[tuple[str, int]]) -> Iterator[ExportFile]:
    """Put neighbours of a format together, as far as the limits allow."""
    names: list[str] = []
    format_, size = "", 0
    for name, n_bytes in found:
        if names and (format_of(name) != format_ or size + n_bytes > MOST_BYTES or len(names) == MOST_FILES):
            yield ExportFile(names[0], size, format_, "\0".join(names[1:]))
            names, size = [], 0
        names.append(name)
        format_, size = format_of(name), size + n_bytes
    if names:
        yield ExportFile(names[0], size, format_, "\0".join(names[1:]))


def walk(root: Path, ledger: Ledger) -> Iterator[tuple[str, int]]:
    """Name and size of every regular file below; links are followed, each file and folder is taken once.

    Raises:
        OSError: `root` itself cannot be read.
    """
    seen = _Seen(root)
    folders = [(root, False)]
    while folders:
        here, is_linked = folders.pop()
        try:
            names = sorted(os.listdir(here))
        except OSError:
            if here == root:
                raise
            ledger.drop("a folder that cannot be read")
            continue
        below = []
        for name in names:
            path = here / name
            try:
                is_link = stat.S_ISLNK(os.lstat(path).st_mode)
                status = path.stat()
            except (OSError, ValueError):
                ledger.drop("a file that cannot be read")
                continue
            if not seen.is_new(path, status, is_link, is_linked):
                continue
            if stat.S_ISDIR(status.st_mode):
                below.append((path, is_linked or is_link))
            elif stat.S_ISREG(status.st_mode):
                yield path.relative_to(root).as_posix(), status.st_size
            else:
                # Opening a pipe would wait for ever.
                ledger.drop("not a regular file")
        folders += reversed(below)


class _Seen:
    """Folders, and of the files only those that can be met twice: millions of others would fill the memory."""

    def __init__(self, root: Path) -> None:
        top = os.stat(root)
        self._root = root.resolve()
        self._met = {(top.st_dev, top.st_ino)}

    def is_new(self, path: Path, status: os.stat_result, is_link: bool, is_in_linked_folder: bool) -> bool:
        key = (status.st_dev, status.st_ino)
        if key in self._met:
            return False
        is_folder = stat.S_ISDIR(status.st_mode)
        if is_link and not is_folder:
            target = path.resolve()
            if target.is_relative_to(self._root) and format_of(target.name):
                # It is met, and read, under its own name too.
                return False
        if is_folder or is_link or is_in_linked_folder or status.st_nlink > 1:
            self._met.add(key)
        return True
