"""What is learnt from, chosen with and measured on stays apart; a folder that mixes it is refused with file and line."""

import json

import pytest

from appliance.demo.published_layouts import write_all
from pretrain import splits
from pretrain.splits import Split
from pretrain.tasks.base import Question
from pretrain.tasks.clip import DataError


@pytest.fixture
def published(tmp_path):
    return write_all(tmp_path, notes=20, pairs=15)


def groups(examples):
    return {example.group for example in examples}


@pytest.mark.parametrize("task", splits.TASKS)
def test_a_published_folder_keeps_its_splits(task, published):
    labelled = splits.divided(task, published[task])
    [split] = labelled.splits
    assert labelled.source == "the published splits"
    assert split.train
    assert split.dev
    assert split.test == labelled.test
    assert not groups(split.train) & groups(split.test)
    assert not groups(split.train) & groups(split.dev)


@pytest.mark.parametrize(
    ("task", "file"), [("mednli", "mli_train_v1.jsonl"), ("radqa", "train.json"), ("clip", "sentence_level.csv")]
)
def test_other_labels_are_cut_into_folds_that_measure_each_example_once(task, file, published):
    labelled = splits.divided(task, published[task] / file)
    everything = labelled.splits[0].train + labelled.splits[0].dev + labelled.splits[0].test
    assert len(labelled.splits) == min(splits.FOLDS, len(groups(everything)))
    assert len(labelled.test) == len(everything)
    for split in labelled.splits:
        assert not groups(split.train + split.dev) & groups(split.test)
        assert not groups(split.train) & groups(split.dev)


def test_the_same_labels_have_the_same_fingerprint_and_other_splits_another(published):
    whole, again = (splits.divided("radqa", published["radqa"]) for _ in range(2))
    assert whole.fingerprint == again.fingerprint
    assert whole.fingerprint != splits.divided("radqa", published["radqa"] / "train.json").fingerprint


def test_a_smaller_share_lies_within_a_larger_one_and_is_of_whole_groups():
    asked = [Question(f"q{n}", "why?", "text", (), f"report {n // 2}") for n in range(80)]
    split = Split(asked, [], asked[:1])
    quarter, half = split.thinned(0.25, seed=3), split.thinned(0.5, seed=3)
    assert (len(quarter.train), len(half.train)) == (20, 40)
    assert groups(quarter.train) < groups(half.train)
    assert groups(split.thinned(0.25, seed=4).train) != groups(quarter.train)
    assert len(groups(split.thinned(0.0001, seed=0).train)) == 1
    assert split.thinned(1.0, seed=9).train == asked


def test_a_report_that_is_learnt_from_and_measured_is_named_with_file_and_line(published):
    train, test = published["radqa"] / "train.json", published["radqa"] / "test.json"
    told, measured = (json.loads(path.read_text()) for path in (train, test))
    measured["data"][0]["title"] = told["data"][1]["title"]
    test.write_text(json.dumps(measured, indent=1))
    first = measured["data"][0]["paragraphs"][0]["qas"][0]["id"]
    line = next(n for n, text in enumerate(test.read_text().splitlines(), 1) if f'"id": "{first}"' in text)
    with pytest.raises(DataError, match=rf"test\.json:{line}: the report of train\.json:\d+ again; what is measured on"):
        splits.divided("radqa", published["radqa"])


def test_a_question_that_stands_in_two_splits_is_named(published):
    train, test = published["radqa"] / "train.json", published["radqa"] / "dev.json"
    told, measured = (json.loads(path.read_text()) for path in (train, test))
    measured["data"][0]["paragraphs"][0]["qas"][0]["id"] = told["data"][0]["paragraphs"][0]["qas"][0]["id"]
    test.write_text(json.dumps(measured, indent=1))
    with pytest.raises(DataError, match=r"dev\.json:\d+: the id of train\.json:\d+ again"):
        splits.divided("radqa", published["radqa"])


def test_a_pair_of_a_note_that_is_measured_is_named_and_one_of_an_equal_premise_is_left_out(published):
    train, test = (published["mednli"] / f"mli_{split}_v1.jsonl" for split in ("train", "test"))
    first, last = json.loads(train.read_text().splitlines()[0]), json.loads(test.read_text().splitlines()[-1])
    lines = train.read_text()
    train.write_text(lines + json.dumps(first | {"pairID": "same", "sentence1": last["sentence1"].upper()}) + "\n")
    labelled = splits.divided("mednli", published["mednli"])
    assert labelled.left_out == 1
    train.write_text(lines + json.dumps(first | {"pairID": "one", "note_id": "77"}) + "\n")
    test.write_text(test.read_text() + "\n" + json.dumps(last | {"pairID": "two", "note_id": "77"}) + "\n")
    wrong = len(test.read_text().splitlines())
    with pytest.raises(DataError, match=rf"mli_test_v1\.jsonl:{wrong}: the note of mli_train_v1\.jsonl:\d+ again"):
        splits.divided("mednli", published["mednli"])


def test_a_summary_of_two_splits_is_named(published):
    train, test = (published["clip"] / f"{split}_ids.csv" for split in ("train", "test"))
    test.write_text(test.read_text() + train.read_text().splitlines()[1] + "\n")
    with pytest.raises(DataError, match=r"test_ids\.csv:\d+: the id of train_ids\.csv:2 again"):
        splits.divided("clip", published["clip"])


def test_one_patients_labels_cannot_be_measured(tmp_path):
    lines = [{"pairID": f"{n}", "gold_label": "neutral", "sentence1": f"a {n}", "sentence2": "b", "note_id": "1"} for n in (1, 2)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match="of one patient or report"):
        splits.divided("mednli", tmp_path / "pairs.jsonl")
