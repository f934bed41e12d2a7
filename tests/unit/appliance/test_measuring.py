"""What a registered tagger is measured on."""

import json
from pathlib import Path

import pytest

from appliance import measuring
from appliance.home import Home
from appliance.registry import Registry
from appliance.training.labels import KEPT_OUT, SEEN, digest
from appliance.training.request import TrainingError
from pretrain import bundle
from pretrain.bundle import ModelBundle
from tests import tiny_bundle
from tests.quiet_watch import Quiet

TAUGHT, OF_THE_SAME, OF_ANOTHER = "Take the aspirin daily.", "Recheck the potassium.", "Call the clinic."


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.init()

    def write(folder: Path, number: int) -> ModelBundle:
        tiny = tiny_bundle.write(tmp_path / "tiny" / str(number), "q", number)
        files: dict[str, bytes | Path] = {name: tiny.folder / name for name in tiny.manifest.files}
        return bundle.write(folder, tiny.manifest, files | {SEEN: json.dumps([digest(TAUGHT)]).encode(), KEPT_OUT: b"[]"})

    Registry(home.models).add("q", "clip", write)
    return home


def labels(folder: Path, *notes: tuple[str, str]) -> Path:
    """Notes of one sentence each: patient and text."""
    path = folder / "labels.jsonl"
    rows = [
        {"note_id": str(n), "patient_id": p, "text": t, "sentences": [{"start": 0, "end": len(t), "labels": ["Lab"]}]}
        for n, (p, t) in enumerate(notes)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_no_note_of_a_patient_whose_note_taught_the_tagger_is_measured(home: Home, tmp_path: Path) -> None:
    data = labels(tmp_path, ("p1", f" {TAUGHT}\n"), ("p1", OF_THE_SAME), ("p2", OF_ANOTHER))
    scores = measuring.evaluate(home, "clip", "q", data, Quiet())
    assert (scores["n_notes"], scores["left_out_as_seen"], scores["notes_not_kept_out_of_pretraining"]) == (1, 2, 1)


def test_a_tagger_taught_with_every_patient_is_not_measured(home: Home, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="every patient"):
        measuring.evaluate(home, "clip", "q", labels(tmp_path, ("p1", TAUGHT), ("p1", OF_THE_SAME)), Quiet())


def test_a_note_is_known_again_in_another_layout_of_labels() -> None:
    assert digest("1. Recheck potassium on 3/5.\n") == digest("1 . Recheck potassium\non 3 / 5 .")
    assert digest("Recheck potassium on 3/5.") != digest("Recheck potassium on 3/6.")
