"""`study`: the paper's comparison from one command, on synthetic labels in the layouts that the data sets have."""

import csv
import json
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from pretrain.models.systems import SYSTEMS

WRITTEN = {
    "report.html",
    "figure_3.png",
    "figure_3.svg",
    "figure_4.png",
    "figure_4.svg",
    "results.csv",
    "ablation.csv",
    "break_even.csv",
    "differences.csv",
    "study.json",
    "trials.jsonl",
    "tiny",
}


def study(home: Path, *arguments: str | Path, wrong: bool = False) -> subprocess.CompletedProcess[str]:
    command = ["clinappliance", "--home", str(home), "--json", "study", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert (done.returncode != 0) == wrong, done.stderr
    return done


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    subprocess.run(["clinappliance", "--home", str(folder / "home"), "init"], check=True, capture_output=True)
    told = json.loads(study(folder / "home", "compare", "--families", "all", "--tiny", "--out", folder / "study").stdout)
    return folder, told


def test_every_system_and_task_runs_end_to_end_and_the_figures_and_tables_are_written(compared):
    folder, told = compared
    assert {path.name for path in (folder / "study").iterdir()} == WRITTEN
    assert told["measured"] == sorted(SYSTEMS)
    assert not told["means_something"]
    with (folder / "study/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == list(SYSTEMS)
    for row in rows:
        assert all(row[figure] for figure in ("mednli_accuracy", "radqa_em", "radqa_f1", "clip_micro_f1", "clip_macro_f1"))
    assert rows[4]["clip_macro_f1_printed"] == "0.707"
    with (folder / "study/ablation.csv").open() as file:
        measured = [row for row in csv.DictReader(file) if row["source"] == "measured"]
    assert {row["share"] for row in measured} == {"0.25", "1.0"}
    for name in ("figure_3", "figure_4"):
        assert ElementTree.parse(folder / f"study/{name}.svg").getroot().tag.endswith("svg")


def test_the_page_says_that_tiny_figures_mean_nothing_and_holds_no_text_of_a_note(compared):
    folder, told = compared
    page = (folder / "study/report.html").read_text()
    assert "means nothing" in page
    assert page.count("<svg") == 2
    assert "[0.883 printed]" in page
    for line in (folder / "study/tiny/data/mednli/mli_test_v1.jsonl").read_text().splitlines():
        assert json.loads(line)["sentence1"] not in page + json.dumps(told)


def test_a_study_goes_on_where_it_was_and_what_another_command_adds_is_in_the_same_report(compared):
    folder, told = compared
    before = (folder / "study/trials.jsonl").read_text()
    again = json.loads(study(folder / "home", "compare", "--tiny", "--out", folder / "study").stdout)
    assert again == told
    assert (folder / "study/trials.jsonl").read_text() == before
    arguments = ("--tiny", "--out", folder / "study", "--families", "GatorTron", "--shares", "50,100")
    more = json.loads(study(folder / "home", "ablate", *arguments).stdout)
    assert more["trials"] == told["trials"] + 3  # a share of three tasks is new


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "--tiny", "--families", "T6"), "no system 'T6'; choose all, or of T5-Base"),
        (("compare",), "nothing to measure on; give --clip, --radqa or --mednli, or --tiny"),
        (("ablate", "--tiny", "--shares", "0,100"), "'0' is no share in per cent"),
        (("compare", "--tiny", "--seeds", "one"), "'one' are no seeds"),
        (("compare", "--mednli", "{data}", "--models", "{data}"), "no model to measure; give --models FOLDER"),
        (("compare", "--mednli", "{data}", "--families", "T5-XL", "--models", "{data}"), "no folder of T5-XL"),
        (("compare", "--mednli", "{data}", "--own", "q"), "no base model q"),
        (("compare", "--radqa", "{data}", "--tiny"), "train.json: No such file"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(arguments, said, compared, tmp_path):
    folder, _ = compared
    data = str(folder / "study/tiny/data/mednli")
    asked = [argument.format(data=data) for argument in arguments]
    done = study(folder / "home", *asked, "--out", tmp_path / "out", wrong=True)
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out" / "trials.jsonl").exists()


def test_a_patient_who_is_learnt_from_and_measured_is_named_before_anything_is_learnt(compared, tmp_path):
    folder, _ = compared
    data = tmp_path / "clip"
    data.mkdir()
    for path in (folder / "study/tiny/data/clip").iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    first = (data / "test_ids.csv").read_text().splitlines()[0]
    with (data / "train_ids.csv").open("a") as file:
        file.write(f"{first}\n")
    done = study(tmp_path / "home", "compare", "--tiny", "--clip", data, "--out", tmp_path / "out", wrong=True)
    assert "test_ids.csv:1: the id of train_ids.csv:" in done.stderr
    assert not (tmp_path / "out").exists()
