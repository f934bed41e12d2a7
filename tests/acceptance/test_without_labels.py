"""The first day: an export and nobody's labels still become a tagger, which says that rules have taught it."""

import json
from pathlib import Path

from appliance.demo.note_writer import write_export
from appliance.home import Home
from tests.trained_home import clinappliance


def test_rules_teach_a_tagger_where_there_are_no_labels(tmp_path: Path) -> None:
    home, export = Home(tmp_path / "home"), write_export(tmp_path / "export", 150, 11, labelled=30)
    assert clinappliance(home, "init").returncode == 0
    done = clinappliance(
        home, "--json", "train", "--notes", str(export.notes), "--name", "first", "--size", "mini", "--budget", "60s"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["registered"] == ["first@1 (base)", "first@1 (clip)"]
    # What rules have labelled is no measure of how right a tagger is.
    assert report["clip"] == {}
    assert "follow-up rules labelled, no person" in report["taught_by"]
    card = clinappliance(home, "models", "card", "first").stdout
    assert "follow-up rules labelled, no person" in card
    assert "On nothing: no notes were left to measure on." in card
    measured = clinappliance(home, "--json", "evaluate", "clip", "--model", "first", "--data", str(export.clip))
    assert measured.returncode == 0, measured.stderr
    scores = json.loads(measured.stdout)
    assert scores["n_notes"] > 0
    # Chance is about 0.05.
    assert scores["micro_f1"] > 0.1


def test_notes_that_ask_for_nothing_give_a_base_alone(tmp_path: Path) -> None:
    home, notes = Home(tmp_path / "home"), tmp_path / "notes.jsonl"
    story = (
        "HISTORY: The patient was born in this town, went to school here and has been well in every one of the years since {}."
    )
    lines = [
        json.dumps({"note_id": str(n), "patient_id": str(n), "text": story.format(1900 + n) + f" He is {n} years old." * 9})
        for n in range(40)
    ]
    notes.write_text("\n".join(lines) + "\n")
    assert clinappliance(home, "init").returncode == 0
    done = clinappliance(home, "--json", "train", "--notes", str(notes), "--name", "quiet", "--size", "mini", "--steps", "2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["registered"] == ["quiet@1 (base)"]
