"""What `train` says at its end, and what it reckons beforehand."""

from pathlib import Path

import pytest

from appliance.cli.train import _reckoned, _summary
from appliance.demo.note_writer import write_export
from appliance.home import Home
from appliance.training.planning import plan
from appliance.training.request import Request, TrainingError
from tests.quiet_watch import Quiet

DONE = {"name": "q", "registered": ["q@1 (base)"], "page": "models/q/base/1/report.html"}


def test_a_tagger_that_nothing_was_left_to_measure_is_said_to_be_unmeasured() -> None:
    said = _summary(DONE | {"clip": {}, "taught_by": "4 labelled notes", "promoted": "q@1"})
    assert "taught by 4 labelled notes" in said
    assert "not measured: no labelled patient was left to measure on" in said
    assert "q@1 is promoted" in said


def test_the_spread_between_seeds_is_told_beside_the_figures_of_the_one_that_is_kept() -> None:
    spread = {"seeds": [1, 2, 3], "accuracy": {"mean": 0.7, "lowest": 0.65, "highest": 0.74}}
    assert "3 seeds: accuracy 0.700 (0.650 to 0.740)" in _summary(DONE | {"mednli": {}, "between_seeds": spread})


def test_a_base_alone_says_nothing_of_measuring_and_where_its_page_is() -> None:
    assert _summary(DONE) == "q: registered q@1 (base)\n  all about its pretraining: models/q/base/1/report.html"


def test_a_tagger_that_leaks_is_said_not_to_be_promoted() -> None:
    assert "Not promoted: q@1 failed its leak gate" in _summary(DONE | {"not_promoted": "q@1 failed its leak gate"})


def asking(notes: Path, budget_s: float | None = 600.0, clip: Path | None = None) -> Request:
    return Request(notes, clip, "q", "mini", budget_s, None if budget_s else 10)


@pytest.fixture(scope="module")
def reckoned(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], Home, Path]:
    folder = tmp_path_factory.mktemp("reckoned")
    home = Home(folder / "home")
    home.init()
    export = write_export(folder / "export", 40, 5, labelled=4)
    notes = folder / "notes"
    notes.mkdir()
    lines = export.notes.read_text().splitlines(keepends=True)
    (notes / "notes.jsonl").write_text("".join([*lines, lines[0], '{"text": "short"}\n']))
    return plan(home, asking(notes, clip=export.clip), Quiet()), home, notes


def test_a_dry_run_counts_what_would_be_learnt_from_and_why_the_rest_would_not(reckoned: tuple) -> None:
    found, _, _ = reckoned
    assert found["notes"] == 42
    assert found["documents"] + sum(found["dropped"].values()) == 42
    assert found["dropped"]["too short"] == 1
    assert found["dropped"]["of a patient with labels or on the list to exclude"] >= 4
    assert sum(found["kinds"].values()) >= found["documents"]


def test_a_dry_run_reckons_tokens_operations_time_and_disk(reckoned: tuple) -> None:
    found, _, _ = reckoned
    assert 0.1 * found["characters"] < found["tokens"] < found["characters"]
    assert 0 < found["pass_flops"] < found["pass_flops_6pt"]
    assert found["passes"] == pytest.approx(0.6 * 600 / found["pass_s"])
    assert found["disk_bytes"]["shards"] == 2 * found["tokens"]
    said = _reckoned(found)
    assert "1 left out: too short" in said
    assert "what you asked for is" in said
    assert "That does not fit" in _reckoned(found | {"fits": False})


def test_a_dry_run_writes_nothing(reckoned: tuple) -> None:
    _, home, _ = reckoned
    assert not list(home.corpora.iterdir())
    assert not list(home.models.iterdir())


def test_a_dry_run_without_a_usable_note_says_why(reckoned: tuple, tmp_path: Path) -> None:
    _, home, _ = reckoned
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(TrainingError, match="'too short': 1"):
        plan(home, asking(tmp_path), Quiet())
