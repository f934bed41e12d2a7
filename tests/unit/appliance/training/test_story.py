"""What training reads, and what it keeps apart, before any model is involved."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from appliance import corpus_building
from appliance.config import AppConfig
from appliance.home import Home
from appliance.lock import LockError, only_one
from appliance.registry import Registry
from appliance.training import labels as training_labels
from appliance.training import registering, request, story
from appliance.training.labels import keyed, labelled_by_rules
from appliance.training.request import REQUEST, Request, TrainingError
from appliance.training.settings import TrainingConfig
from pretrain import bundle
from pretrain.bundle import ModelBundle
from pretrain.corpus import Corpus
from pretrain.deid import Deidentifier, DeidError
from pretrain.tasks import clip
from pretrain.tasks.base import LabelledNote
from tests import tiny_bundle
from tests.quiet_watch import Quiet

WORDS = "the patient was seen on the ward and did well with breathing exercises every morning while the nurse watched closely"

SETTINGS = TrainingConfig()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.init()
    return home


def export(folder: Path, notes: list[dict[str, str]]) -> Path:
    path = folder / "notes.jsonl"
    path.write_text("".join(json.dumps(note) + "\n" for note in notes))
    return path


def read(
    home: Home, path: Path, labelled: Sequence[LabelledNote] = (), watch: Quiet | None = None, exclude: Path | None = None
) -> Corpus:
    asked = replace(asking(path), exclude=exclude)
    return story.read_corpus(
        home, AppConfig(), asked, labelled, [note.text for note in labelled], home.root / "read", watch or Quiet()
    )


def labels(folder: Path, **more: str) -> Path:
    text = f"Day one {WORDS}. Recheck the potassium on Friday."
    sentences = [{"start": text.index("Recheck"), "end": len(text), "labels": ["Lab"]}]
    path = folder / "clip.jsonl"
    path.write_text(json.dumps({"note_id": "l1", "text": text, "sentences": sentences} | more) + "\n")
    return path


def test_no_note_of_a_labelled_patient_and_no_copy_of_a_labelled_note_is_pretrained_on(home: Home, tmp_path: Path) -> None:
    labelled = keyed(home, clip.read(labels(tmp_path, patient_id=" p1")))
    copied = labelled[0].text.replace("Friday", "Monday")
    notes = [
        {"note_id": "n1", "patient_id": "p1", "text": f"{WORDS} and was sent home with a very different text than before"},
        {"note_id": "n2", "patient_id": "p2", "text": copied},
        {"note_id": "n3", "patient_id": "p3", "text": " ".join(reversed(WORDS.split())) + " home and well"},
        {"note_id": "n4", "patient_id": "p4", "text": "short"},
    ]
    watch = Quiet()
    corpus = read(home, export(tmp_path, notes), labelled, watch)
    assert [d.document_id for d in (*corpus.train, *corpus.dev)] == ["n3"]
    assert corpus.drops == {"of a patient with labels or on the list to exclude": 1, "evaluated on": 1, "too short": 1}
    assert "1 left out: too short" in watch.lines


def test_rules_label_what_they_find_something_in_at_most_so_many(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = "{}.\n\nDISCHARGE INSTRUCTIONS: Follow up with the cardiology clinic in two weeks, as the {} has said."
    notes = [
        {
            "note_id": f"n{n}",
            "patient_id": f"p{n}",
            "text": asks.format(" ".join([word] * 30), word) if n % 2 else f"{word} {WORDS}",
        }
        for n, word in enumerate(WORDS.split())
    ]
    corpus = read(home, export(tmp_path, notes))
    found = labelled_by_rules(corpus, seed=0)
    documents = {document.document_id: document for document in corpus.train}
    assert {note.note_id for note in found} == {name for name in documents if int(name[1:]) % 2}
    for note in found:
        assert (note.text, note.group) == (documents[note.note_id].text, documents[note.note_id].group)
        assert [labels for labels in note.labels if labels] == [{"Appointment"}]
    monkeypatch.setattr(training_labels, "TAUGHT_BY_RULES", 2)
    assert len(labelled_by_rules(corpus, seed=0)) == 2


def test_a_document_carries_no_record_number_and_another_home_gives_another_group(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.init()
    path = export(tmp_path, [{"note_id": "n1", "patient_id": "MRN-WXYZ", "text": WORDS + " and more"}])
    groups = {next(iter(read(h, path).train)).group for h in (home, other, home)}
    assert len(groups) == 2
    assert not any("wxyz" in group.lower() for group in groups)


def test_an_export_without_a_usable_note_is_refused(home: Home, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no note to learn from"):
        read(home, export(tmp_path, [{"note_id": "n1", "text": "short"}]))


def test_what_is_learnt_from_is_de_identified_and_bears_its_stamp(home: Home, tmp_path: Path) -> None:
    text = f"Patient: Zebulon Wintersmith, MRN 88123456, seen 03/04/2021. {WORDS}"
    corpus = read(home, export(tmp_path, [{"note_id": "n1", "patient_id": "p1", "text": text}]))
    (document,) = corpus.train
    assert document.deidentified_by == corpus.stamp != ""
    assert not any(known in document.text for known in ("Wintersmith", "88123456", "03/04/2021"))
    assert "breathing exercises" in document.text


def test_where_texts_cannot_be_de_identified_training_does_not_begin(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Deidentifier:
        raise DeidError("de-identification needs the package philter-ucsf, which is not installed; install it")

    monkeypatch.setattr(corpus_building, "_deidentifier", fail)
    notes = export(tmp_path, [{"note_id": "n1", "text": WORDS + " and more"}])
    with pytest.raises(DeidError, match="install it"):
        story.train(home, asking(notes), Quiet())
    assert not list((home.corpora / "q").rglob("*.parquet"))
    assert not list((home.corpora / "q").rglob("tokenizer.json"))


def test_patients_on_a_list_are_not_learnt_from_however_their_number_is_spelt(home: Home, tmp_path: Path) -> None:
    listed = tmp_path / "study.txt"
    listed.write_text("\ufeff00123\n\n77\n", encoding="utf-8")
    notes = [{"note_id": f"n{n}", "patient_id": p, "text": f"{p} {WORDS} {n}"} for n, p in enumerate(["123", "123.0", "78"])]
    corpus = read(home, export(tmp_path, notes), exclude=listed)
    assert corpus.drops == {"of a patient with labels or on the list to exclude": 2}
    with pytest.raises(TrainingError, match="give a text file with a patient a line"):
        story.excluded(tmp_path / "absent.txt")


def asking(path: Path, resume: bool = False, seed: int = 0, clip: Path | None = None) -> Request:
    return Request(path, clip, "q", "mini", None, 1, resume, seed)


def test_an_unfinished_run_is_not_begun_anew_without_a_word(home: Home, tmp_path: Path) -> None:
    work = request.work_folder(home, asking(tmp_path), SETTINGS)
    (work / REQUEST).write_text(request.asked(asking(tmp_path), SETTINGS))
    with pytest.raises(TrainingError, match="--resume"):
        request.work_folder(home, asking(tmp_path), SETTINGS)
    assert request.work_folder(home, asking(tmp_path, resume=True), SETTINGS) == work
    with pytest.raises(TrainingError, match="--seed"):
        request.work_folder(home, asking(tmp_path, resume=True, seed=1), SETTINGS)
    with pytest.raises(TrainingError, match="--clip"):
        request.work_folder(home, asking(tmp_path, resume=True, clip=tmp_path / "others.jsonl"), SETTINGS)
    for other in (TrainingConfig(schedule="inverse_square_root"), TrainingConfig(vocabulary=2048), TrainingConfig(cased=False)):
        with pytest.raises(TrainingError, match=r"another \[training\] vocabulary, cased or schedule"):
            request.work_folder(home, asking(tmp_path, resume=True), other)
    assert request.work_folder(home, asking(tmp_path, resume=True), TrainingConfig(workers=7)) == work


def test_there_is_nothing_to_go_on_with_before_a_run(home: Home, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="leave --resume out"):
        request.work_folder(home, asking(tmp_path, resume=True), SETTINGS)


@pytest.fixture
def asked(home: Home, tmp_path: Path) -> Request:
    """A run that was interrupted once it had something to go on with."""
    other = " ".join(reversed(WORDS.split()))
    notes = [{"note_id": f"n{n}", "patient_id": f"p{n}", "text": f"{other} on day {n}"} for n in range(4)]
    begun = asking(export(tmp_path, notes), resume=True, clip=labels(tmp_path, patient_id="p9"))
    work = home.corpora / "q"
    work.mkdir()
    (work / REQUEST).write_text(request.asked(begun, SETTINGS))
    return begun


def register(home: Home, task: str, corpus_fingerprint: str = "") -> None:
    """What the run registers, by the way that it does."""

    def write(folder: Path, number: int) -> ModelBundle:
        tiny = tiny_bundle.write(home.root / "scratch" / f"{task}-{number}", "q", number, task=task)
        manifest = tiny.manifest.model_copy(update={"corpus_fingerprint": corpus_fingerprint})
        return bundle.write(folder, manifest, {name: tiny.folder / name for name in tiny.manifest.files})

    registering.register(Registry(home.models), home.corpora / "q", task, write)


def fingerprint(home: Home, asked: Request) -> str:
    assert asked.clip is not None
    labelled = keyed(home, clip.read(asked.clip))
    return read(home, asked.notes, labelled).fingerprint


def test_a_run_that_had_registered_both_models_goes_on_without_making_them_again(home: Home, asked: Request) -> None:
    register(home, "base", fingerprint(home, asked))
    register(home, "clip")
    report = story.train(home, asked, Quiet())
    assert report["registered"] == ["q@1 (base)", "q@1 (clip)"]
    assert report["promoted"] == "q@1"
    assert [(e.task, e.version) for e in Registry(home.models).entries()] == [("base", 1), ("clip", 1)]
    assert list(home.corpora.iterdir()) == []


def test_a_bundle_that_a_crash_kept_from_being_written_gets_its_number_at_the_next_try(home: Home, asked: Request) -> None:
    registry, work = Registry(home.models), home.corpora / "q"

    def crash(folder: Path, number: int) -> ModelBundle:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registering.register(registry, work, "clip", crash)
    assert registering.registered(registry, work, "clip") is None
    register(home, "clip")
    found = registering.registered(registry, work, "clip")
    assert found is not None
    assert found.reference == "q@1"
    (work / "clip.json").write_text("")
    assert registering.registered(registry, work, "clip") is None


def test_a_base_of_other_notes_is_not_gone_on_with(home: Home, asked: Request) -> None:
    register(home, "base", fingerprint(home, asked))
    asked.notes.write_text(asked.notes.read_text().replace("on day", "in night"))
    with pytest.raises(TrainingError, match="not those that q@1 was trained with"):
        story.train(home, asked, Quiet())


def test_two_processes_never_train_one_name(home: Home, asked: Request) -> None:
    with only_one(home.run / "train-q.pid"), pytest.raises(LockError, match=r"process \d+ trains q already; stop it first"):
        story.train(home, asked, Quiet())
    with only_one(home.run / "train-r.pid"), pytest.raises(TrainingError, match="leave --resume out"):
        story.train(home, replace(asked, name="other"), Quiet())
