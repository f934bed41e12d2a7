from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from integrations.ehr_export import ExportConfig, read_notes
from integrations.records import Note

Read = tuple[list[Note], dict[str, int], dict[str, int]]


@pytest.fixture
def read_one(tmp_path: Path) -> Callable[..., Read]:
    """Notes, drops and remarks of one file with this content."""

    def read(name: str, content: str | bytes, config: ExportConfig | None = None) -> Read:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        drops: Counter[str] = Counter()
        remarks: Counter[str] = Counter()
        return list(read_notes(path, drops, remarks, config)), dict(drops), dict(remarks)

    return read
