"""Labels that came after the training: `finetune` makes a model of each task, and `evaluate` measures what it has not seen."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.demo.note_writer import write_export
from appliance.demo.published_layouts import write_all
from appliance.home import Home
from pretrain import splits
from tests.trained_home import TrainedHome, clinappliance

PARTS = ("liver", "spleen", "left kidney", "right kidney", "pancreas", "gallbladder", "aorta", "bladder", "uterus", "stomach")


def squad(folder: Path) -> Path:
    """Reports in RadQA's own layout: one question with an answer each, one without."""
    data = []
    for n in range(20):
        part, other = PARTS[n % 10], PARTS[(n + 3) % 10]
        answer = f"{n + 2} cm"
        context = f"FINDINGS:  The {part} measures {answer}.\n No free fluid is seen in the abdomen on this study."
        asked = [
            {
                "id": f"r{n}_1",
                "question": f"What is the size of the {part}?",
                "answers": [{"text": answer, "answer_start": context.index(answer)}],
                "is_impossible": False,
            },
            {"id": f"r{n}_2", "question": f"Is there a stone in the {other}?", "answers": [], "is_impossible": True},
        ]
        data.append({"title": f"{900_000 + n}", "paragraphs": [{"context": context, "qas": asked}]})
    path = folder / "train.json"
    path.write_text(json.dumps({"version": "synthetic", "data": data}))
    return path


def pairs(folder: Path) -> Path:
    """Pairs in MedNLI's own layout."""
    rows = []
    for n in range(24):
        part = PARTS[n % 10]
        premise = f"The {part} was normal on day {n}."
        for label, hypothesis in (
            ("entailment", f"The patient has a normal {part}."),
            ("contradiction", f"The patient has an abnormal {part}."),
            ("neutral", "The patient smokes."),
        ):
            rows.append({"pairID": f"{n}{label[0]}", "gold_label": label, "sentence1": premise, "sentence2": hypothesis})
    path = folder / "mli_train_v1.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_thirty_labelled_notes_that_came_later_become_a_calibrated_tagger(trained_home: TrainedHome, tmp_path: Path) -> None:
    labelled = write_export(tmp_path / "later", 60, 77, labelled=30).clip
    home = trained_home.home
    done = clinappliance(home, "--json", "finetune", "clip", "--model", "q", "--data", str(labelled), "--budget", "40s")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["registered"] == ["q@2 (clip)"]
    # The first one reads on until somebody promotes this one.
    assert "promoted" not in report
    assert report["clip"]["n_notes"] == 30
    assert report["clip"]["folds"] == 5
    assert report["notes_not_kept_out_of_pretraining"] == 30
    assert report["clip"]["calibration"]["ece"] < 0.02
    assert report["clip"]["micro_f1"] > 0.5
    card = clinappliance(home, "models", "card", "q").stdout
    assert "30 labelled notes; cut-offs and figures by 5 taggers like it, each about notes it had not seen" in card
    assert "The follow-up rules' evidence is added to what it says" in card
    assert "Scores are calibrated" in card
    again = clinappliance(home, "evaluate", "clip", "--model", "q@2", "--data", str(labelled))
    assert again.returncode == 1
    assert "taught with notes of every patient" in again.stderr


@dataclass(frozen=True)
class Reading:
    """A home with a reader of reports, what its finetuning said and the questions that taught it."""

    home: Home
    report: dict[str, Any]
    data: Path


@pytest.fixture(scope="module")
def reading(trained_home: TrainedHome, tmp_path_factory: pytest.TempPathFactory) -> Reading:
    data = squad(tmp_path_factory.mktemp("questions"))
    arguments = ("--model", "q", "--data", str(data), "--budget", "30s")
    done = clinappliance(trained_home.home, "--json", "finetune", "radqa", *arguments)
    assert done.returncode == 0, done.stderr
    return Reading(trained_home.home, json.loads(done.stdout), data)


def test_a_reader_of_reports_is_taught_and_measured_on_reports_it_has_not_seen(reading: Reading) -> None:
    assert reading.report["registered"] == ["q@1 (radqa)"]
    # The first of its task.
    assert reading.report["promoted"] == "q@1"
    assert reading.report["radqa"]["n_notes"] == 4
    done = clinappliance(reading.home, "--json", "evaluate", "radqa", "--model", "q@1", "--data", str(reading.data))
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    # The exported graph says of the very same reports what torch has said.
    assert scores["left_out_as_seen"] == 32
    assert (scores["n_questions"], scores["f1"]) == (8, pytest.approx(reading.report["radqa"]["f1"], abs=0.13))
    card = clinappliance(reading.home, "models", "card", "q@1", "--task", "radqa").stdout
    assert "no score here is a RadQA score" in card


def test_a_report_answers_in_its_own_words_or_not_at_all(reading: Reading, tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    report.write_text("FINDINGS:  The liver measures 14 cm.\n No free fluid is seen in the abdomen on this study.\n" * 30)
    text, asked = report.read_text(), "What is the size of the liver?"
    done = clinappliance(reading.home, "--json", "ask", str(report), asked)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [key for key in said if key != "unsure"] == ["note", "model", "question", "answer", "start", "end", "score"]
    assert (said["note"], said["model"], said["question"]) == ("report.txt", "q@1", asked)
    if said["answer"] is None:
        assert (said["start"], said["end"], "unsure" in said) == (None, None, False)
    else:
        assert text[said["start"] : said["end"]] == said["answer"]
    # For people, from standard input, of a model by name.
    done = clinappliance(reading.home, "ask", "-", asked, "--model", "q@1", input=text)
    assert done.returncode == 0, done.stderr
    assert "(model q@1" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("{report}", "Why?", "--model", "other"), "no radqa model other; there are: q@1"),
        (("{nowhere}", "Why?"), "nowhere.txt"),
        (("{report}", "  "), "the question is empty"),
        (("{empty}", "Why?"), "holds no note to ask about"),
    ],
)
def test_what_cannot_be_asked_says_why(reading: Reading, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    (tmp_path / "report.txt").write_text("FINDINGS: The liver is normal in size.\n")
    (tmp_path / "empty.txt").write_text("")
    places = {name: str(tmp_path / f"{name}.txt") for name in ("report", "nowhere", "empty")}
    done = clinappliance(reading.home, "ask", *(word.format(**places) for word in words))
    assert done.returncode in (1, 2)
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_judge_of_pairs_is_taught_and_measured_on_notes_it_has_not_seen(trained_home: TrainedHome, tmp_path: Path) -> None:
    data, home = pairs(tmp_path), trained_home.home
    done = clinappliance(home, "--json", "finetune", "mednli", "--model", "q", "--data", str(data), "--budget", "30s")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["registered"] == ["q@1 (mednli)"]
    assert report["mednli"]["n_pairs"] == 72
    # Chance is a third.
    assert report["mednli"]["accuracy"] > 0.4
    other = tmp_path / "other.jsonl"
    row = {"pairID": "x", "gold_label": "neutral", "sentence1": "He was seen in March.", "sentence2": "The patient smokes."}
    other.write_text(json.dumps(row) + "\n")
    done = clinappliance(home, "--json", "evaluate", "mednli", "--model", "q", "--data", str(other))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_pairs"] == 1


def test_seeds_tell_how_much_is_chance_and_a_fraction_learns_from_fewer(trained_home: TrainedHome, tmp_path: Path) -> None:
    before = len(list((trained_home.home.models / "q" / "mednli").iterdir()))
    arguments = ("--model", "q", "--data", str(pairs(tmp_path)), "--budget", "20s", "--seeds", "1,2", "--fraction", "0.5")
    done = clinappliance(trained_home.home, "--json", "finetune", "mednli", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["mednli"]["n_pairs"] == 36  # half of the premises
    spread = report["between_seeds"]
    assert spread["seeds"] == [1, 2]
    assert spread["accuracy"]["lowest"] <= report["mednli"]["accuracy"] <= spread["accuracy"]["highest"]
    # The first one's model is kept, the other was only measured.
    assert len(list((trained_home.home.models / "q" / "mednli").iterdir())) == before + 1
    assert not list(trained_home.home.run.glob("tmp*"))
    for wrong in (("--seeds", "one"), ("--fraction", "0")):
        assert clinappliance(trained_home.home, "finetune", "mednli", *arguments[:4], *wrong).returncode == 2


def test_published_splits_are_kept_and_the_test_part_measures(trained_home: TrainedHome, tmp_path: Path) -> None:
    folders = write_all(tmp_path, notes=40, pairs=30)
    for task, folder, count in (("mednli", folders["mednli"], "n_pairs"), ("radqa", folders["radqa"], "n_questions")):
        [split] = splits.divided(task, folder).splits
        arguments = ("--model", "q", "--data", str(folder))
        done = clinappliance(trained_home.home, "--json", "finetune", task, *arguments, "--budget", "15s")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report[task][count] == len(split.test)
        done = clinappliance(trained_home.home, "--json", "evaluate", task, *arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[count] == len(split.test)


def test_a_model_trained_here_stands_in_a_study_beside_what_the_paper_printed(trained_home: TrainedHome, tmp_path: Path) -> None:
    data, out = write_all(tmp_path, notes=2, pairs=12)["mednli"], tmp_path / "study"
    arguments = ("--own", "q", "--mednli", str(data), "--seeds", "0", "--out", str(out))
    done = clinappliance(trained_home.home, "--json", "study", "compare", *arguments)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["means_something"], told["measured"]) == (True, ["q@1"])
    [row] = told["results"]
    assert row["mednli_n"] == len(splits.divided("mednli", data).test)
    assert row["mednli_accuracy_printed"] is None
    # What its pretraining cost is its own figure, on the axis that the paper's systems are on.
    assert row["flops_6pt_clinical"] > 0
    assert (row["flops_6pt_general"], row["flops_6pt_biomedical"]) == (0, 0)
    assert "GatorTron" in told["not_measured"]


def test_labels_of_another_task_are_refused_by_file_and_line(trained_home: TrainedHome, tmp_path: Path) -> None:
    data = pairs(tmp_path)
    for task in ("clip", "radqa"):
        done = clinappliance(trained_home.home, "finetune", task, "--model", "q", "--data", str(data))
        assert done.returncode == 1
        assert str(data) in done.stderr
        assert done.stderr.count("\n") <= 2


def test_one_night_makes_a_model_of_every_task(tmp_path: Path) -> None:
    home, export = Home(tmp_path / "home"), write_export(tmp_path / "export", 150, 11, labelled=20)
    assert clinappliance(home, "init").returncode == 0
    arguments = ["--notes", str(export.notes), "--clip", str(export.clip), "--radqa", str(squad(tmp_path))]
    arguments += ["--mednli", str(pairs(tmp_path)), "--name", "all", "--size", "mini", "--budget", "100s"]
    done = clinappliance(home, "--json", "train", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["registered"] == ["all@1 (base)", "all@1 (clip)", "all@1 (radqa)", "all@1 (mednli)"]
    # Of so few questions all are measured, for only the cut-off was chosen with them.
    assert (report["radqa"]["n_questions"], report["mednli"]["n_pairs"]) == (40, 72)
    # How often 150 notes are read in that time depends on the host; on a fast one planted secrets may be learnt by heart.
    assert report.get("promoted") == ("all@1" if report["leak_gate"]["passed"] else None)
    card = clinappliance(home, "models", "card", "all", "--task", "radqa").stdout
    assert "questions made by rule about" in card
