"""Labels that are wrong are named by file and line, whichever task and command reads them, and nothing is trained."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.demo.published_layouts import write_all
from tests.trained_home import TrainedHome, clinappliance

Spoil = Callable[[Path], tuple[Path, int]]
"""Makes a published folder wrong: the file that is, and its line."""


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def rewritten(path: Path, number: int, line: str) -> tuple[Path, int]:
    """With another line in that place."""
    content = lines(path)
    content[number - 1] = line
    path.write_text("\n".join(content) + "\n")
    return path, number


def row(path: Path, number: int, **changes: str) -> tuple[Path, int]:
    """With other cells in a line of a CSV file without quoted line breaks."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[number - 2] |= changes
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path, number


def pair(folder: Path, number: int, **changes: Any) -> tuple[Path, int]:
    path = folder / "mli_train_v1.jsonl"
    return rewritten(path, number, json.dumps(json.loads(lines(path)[number - 1]) | changes))


def question(
    folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], file: str = "train.json"
) -> tuple[Path, int]:
    """With the file's last answered question changed; given that and its paragraph."""
    path = folder / file
    content = json.loads(path.read_text())
    paragraph, asked = next(
        (p, q) for report in reversed(content["data"]) for p in report["paragraphs"] for q in p["qas"] if q["answers"]
    )
    change(asked, paragraph)
    path.write_text(json.dumps(content, indent=1))
    needle = f'"id": "{asked["id"]}"'
    return path, max(number for number, line in enumerate(lines(path), 1) if needle in line)


def misplaced(asked: dict[str, Any], paragraph: dict[str, Any]) -> None:
    asked["answers"][0]["answer_start"] += 1


def crossing(asked: dict[str, Any], paragraph: dict[str, Any]) -> None:
    start = min(asked["answers"][0]["answer_start"], len(paragraph["context"]) - 12)
    texts = [paragraph["context"][at : at + 8] for at in (start, start + 3)]
    asked["answers"] = [{"text": text, "answer_start": start + 3 * n} for n, text in enumerate(texts)]


def of_another_report(asked: dict[str, Any], paragraph: dict[str, Any]) -> None:
    asked["id"] = "syn-again"
    paragraph["qas"].append(dict(asked))


def in_train_and_test(folder: Path) -> tuple[Path, int]:
    """A summary that is measured is learnt from."""
    train, test = folder / "train_ids.csv", folder / "test_ids.csv"
    test.write_text(test.read_text() + lines(train)[0] + "\n")
    return test, len(lines(test))


def report_in_train_and_test(folder: Path) -> tuple[Path, int]:
    """The first report that is measured is one that is learnt from."""
    train, test = folder / "train.json", folder / "test.json"
    content = json.loads(test.read_text())
    content["data"][0]["title"] = json.loads(train.read_text())["data"][0]["title"]
    test.write_text(json.dumps(content, indent=1))
    return test, next(number for number, line in enumerate(lines(test), 1) if '"id": ' in line)


def note_in_train_and_test(folder: Path) -> tuple[Path, int]:
    """Two pairs of one note, one on each side."""
    train, test = folder / "mli_train_v1.jsonl", folder / "mli_test_v1.jsonl"
    for path in (train, test):
        rewritten(path, 1, json.dumps(json.loads(lines(path)[0]) | {"note_id": "77"}))
    return test, 1


CASES: list[tuple[str, str, Spoil, str]] = [
    ("clip", "a label that does not exist", lambda f: row(f / "sentence_level.csv", 5, labels="['I-Zebra']"), "label"),
    ("clip", "a sentence twice", lambda f: row(f / "sentence_level.csv", 5, sent_index="2"), "again"),
    ("clip", "a list that is code", lambda f: row(f / "sentence_level.csv", 4, labels="[str(1)]"), "no list of strings"),
    ("clip", "a test patient in train", in_train_and_test, "again; a note belongs to one split, once"),
    ("radqa", "a wrong offset", lambda f: question(f, misplaced), "its text does not stand at answer_start"),
    ("radqa", "answers that overlap", lambda f: question(f, crossing), "crosses another"),
    ("radqa", "an id twice", lambda f: question(f, of_another_report), "again; give every question its own"),
    ("radqa", "a test report in train", report_in_train_and_test, "what is measured on may not be learnt from"),
    ("mednli", "a label that does not exist", lambda f: pair(f, 3, gold_label="zebra"), "gold_label is unknown"),
    ("mednli", "an id twice", lambda f: pair(f, 4, pairID=json.loads(lines(f / "mli_train_v1.jsonl")[0])["pairID"]), "again"),
    ("mednli", "a test note in train", note_in_train_and_test, "what is measured on may not be learnt from"),
]


@pytest.mark.parametrize(("task", "fault", "spoil", "told"), CASES, ids=[f"{task}: {fault}" for task, fault, _, _ in CASES])
def test_a_fault_is_named_by_file_and_line_and_nothing_is_trained(
    trained_home: TrainedHome, tmp_path: Path, task: str, fault: str, spoil: Spoil, told: str
) -> None:
    folder = write_all(tmp_path, notes=20, pairs=15)[task]
    path, line = spoil(folder)
    home = trained_home.home
    before = sorted(home.models.rglob("*"))
    commands = [("finetune", task, "--model", "q", "--data", str(folder))]
    if "in train" in fault:
        commands.append(("study", "compare", "--tiny", f"--{task}", str(folder), "--out", str(tmp_path / "study")))
    for words in commands:
        done = clinappliance(home, *words)
        assert done.returncode == 1, words
        assert f"{path}:{line}: " in done.stderr
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
        assert "Zebra" not in done.stderr
    assert sorted(home.models.rglob("*")) == before
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("task", ["clip", "radqa", "mednli"])
def test_train_reads_labels_before_it_reads_the_export(trained_home: TrainedHome, tmp_path: Path, task: str) -> None:
    folder = write_all(tmp_path, notes=20, pairs=15)[task]
    spoil = next(spoil for its_task, _, spoil, _ in CASES if its_task == task)
    path, line = spoil(folder)
    words = ("train", "--notes", str(trained_home.export.notes), f"--{task}", str(folder), "--name", "bad", "--size", "mini")
    done = clinappliance(trained_home.home, *words)
    assert done.returncode == 1
    assert f"{path}:{line}: " in done.stderr
    assert "Reading and de-identifying" not in done.stderr
    assert not (trained_home.home.models / "bad").exists()
