"""Files that a crash leaves whole: written aside, then renamed; moved, and known to be moved."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` in the place of `path`, durably, or leave what was there. Only its owner may read it.

    Raises:
        OSError: it was not written.
    """
    partial = path.with_name(f".{path.name}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def move(path: Path, target: Path) -> None:
    """Rename within one file system, durably.

    Raises:
        OSError: it was not moved.
    """
    path.replace(target)
    sync_folder(target.parent)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
