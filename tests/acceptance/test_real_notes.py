"""Real discharge summaries: whatever a model says, it says it of the file's own characters."""

import json
from pathlib import Path

import pytest

from tests.trained_home import TrainedHome, clinappliance

CORPUS = Path(__file__).parents[3] / "shared/data/corpus/mtsamples.jsonl"


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared notes are not beside this checkout")
def test_every_finding_in_the_real_summaries_is_the_files_characters(trained_home: TrainedHome, tmp_path: Path) -> None:
    notes = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    texts = {note["note_id"]: note["text"] for note in notes if "Discharge Summary" in note["specialties"]}
    assert len(texts) > 50
    file = tmp_path / "summaries.jsonl"
    file.write_text("".join(json.dumps({"note_id": i, "text": text}) + "\n" for i, text in texts.items()), encoding="utf-8")
    done = clinappliance(trained_home.home, "--json", "tag", str(file))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["note"] for row in rows] == list(texts)
    findings = [(texts[row["note"]], finding) for row in rows for finding in row["findings"]]
    assert findings
    assert [finding for text, finding in findings if text[finding["start"] : finding["end"]] != finding["text"]] == []
