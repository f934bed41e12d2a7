"""What is selected: apart from what is evaluated, each note once, a patient on one side; whatever the order of files."""

import random
from dataclasses import replace

import pytest

from pretrain.corpus import Corpus, CorpusError, Document, NotDeidentified, Source, parts, prepare, select
from tests.unit.pretrain.corpus.notes import STAMP, note, part, reading, text

SAVED_AGAIN = "the same note saved again (same patient)"


def chosen(folder, documents: list[Document], **asked) -> Corpus:
    return select(folder, [part(folder, documents)], STAMP, **asked)


def ids(documents) -> list[str]:
    return sorted(document.document_id for document in documents)


def test_every_document_is_trained_on_watched_or_dropped_under_a_reason(tmp_path):
    notes = [note(seed) for seed in range(40)]
    copies = [replace(original, document_id=f"copy of {original.document_id}") for original in notes[:9]]
    corpus = chosen(tmp_path, notes + copies + [replace(notes[0], text="")])
    assert len(corpus.train) + len(corpus.dev) == 40
    assert corpus.drops == {"empty": 1, SAVED_AGAIN: 9}
    assert ids([*corpus.train, *corpus.dev]).count("d12") == 1


def test_of_a_note_saved_again_the_latest_is_kept(tmp_path):
    early = note(1, "a", written_at="2024-05-01T23:30:00-05:00")
    late = replace(early, document_id="late", text=early.text + " addendum", written_at="2024-05-02T05:00:00+00:00")
    unknown = replace(early, document_id="unknown", text=early.text + " one more word", written_at="")
    corpus = chosen(tmp_path, [late, early, unknown, note(2), note(3)])
    assert "late" in ids(corpus.train) + ids(corpus.dev)
    assert corpus.drops == {SAVED_AGAIN: 2}


def test_of_notes_saved_at_the_same_time_the_longest_is_kept(tmp_path):
    short, long = note(1, "a"), replace(note(1, "a"), document_id="long", text=text(1) + " " + text(9, 300))
    corpus = chosen(tmp_path, [short, long, note(2), note(3)])
    assert "long" in ids(corpus.train) + ids(corpus.dev)
    assert corpus.drops == {SAVED_AGAIN: 1}


def test_the_same_text_of_two_patients_is_an_exact_duplicate(tmp_path):
    corpus = chosen(tmp_path, [note(1), replace(note(1, "other"), document_id="again", text=text(1).upper()), note(2)])
    assert corpus.drops == {"exact duplicate": 1}


def test_a_template_with_one_word_changed_is_a_near_duplicate_and_half_a_template_is_not(tmp_path):
    words = text(1).split()
    one_word = note(2, text=" ".join([*words[:60], "another", *words[61:]]))
    half = note(3, text=" ".join(words[:60]) + " " + text(4, 60))
    corpus = chosen(tmp_path, [note(1), one_word, half])
    assert corpus.drops == {"near duplicate of another patient's note": 1}
    assert "d3" in ids([*corpus.train, *corpus.dev])


def test_in_a_chain_of_daily_notes_only_what_a_kept_one_says_is_dropped(tmp_path):
    words = text(1, 400).split()
    days = [
        note(day, "a", text=" ".join(words[day * 30 : day * 30 + 150]), written_at=f"2024-05-{day + 1:02}") for day in range(8)
    ]
    corpus = chosen(tmp_path, days)
    # Neighbours share two thirds of their runs, the next but one less than half.
    assert ids([*corpus.train, *corpus.dev]) == ["d1", "d3", "d5", "d7"]


@pytest.mark.parametrize("seed", range(3))
def test_the_selection_does_not_depend_on_the_order_of_documents_or_files(tmp_path, seed):
    notes = [note(n, f"patient {n // 3}", written_at=f"2024-01-{n % 28 + 1:02}") for n in range(90)]
    notes += [
        replace(n, document_id=f"{n.document_id} again", text=n.text + " " + text(n.text.count("e"), 20)) for n in notes[:30]
    ]
    notes += [replace(n, document_id=f"{n.document_id} elsewhere", group="x") for n in notes[40:60]]
    expected = chosen(tmp_path / "one file", notes)
    random.Random(seed).shuffle(notes)
    files = [part(tmp_path, notes[start::4], name=f"file {(start + seed) % 4}") for start in range(4)]
    random.Random(seed).shuffle(files)
    corpus = select(tmp_path, files, STAMP)
    assert ids(corpus.train) == ids(expected.train)
    assert ids(corpus.dev) == ids(expected.dev)
    assert (corpus.drops, corpus.fingerprint) == (expected.drops, expected.fingerprint)


def test_two_hundred_copies_leave_one(tmp_path):
    copies = [note(n, "a", text=text(1) + f" {n}") for n in range(100)] + [
        note(n, text=text(1) + f" {n}") for n in range(100, 200)
    ]
    corpus = chosen(tmp_path, copies)
    assert len(corpus.train) + len(corpus.dev) == 1


def test_a_patient_is_on_one_side_and_stays_there_when_the_corpus_grows(tmp_path):
    few = chosen(tmp_path / "few", [note(n, f"patient {n // 2}") for n in range(200)])
    more = chosen(tmp_path / "more", [note(n, f"patient {n // 2}") for n in range(400)])
    sides = [{d.group for d in side} for side in (few.train, few.dev, more.train, more.dev)]
    assert not sides[0] & sides[1]
    assert sides[1] <= sides[3]
    assert 0.01 < len(sides[3]) / 200 < 0.1


def test_two_patients_are_one_to_learn_from_and_one_to_watch(tmp_path):
    corpus = chosen(tmp_path, [note(1), note(2)])
    assert (len(corpus.train), len(corpus.dev)) == (1, 1)


def test_patients_on_the_list_and_texts_that_are_evaluated_are_kept_out(tmp_path):
    notes = [note(n) for n in range(10)]
    nearly = notes[3].text.replace("a", "A") + " addendum dictated but not read"
    corpus = chosen(tmp_path, notes, groups=["patient 0", "patient 1"], evaluated=[nearly, text(77)])
    assert corpus.drops == {"of a patient with labels or on the list to exclude": 2, "evaluated on": 1}
    assert not {"d0", "d1", "d3"} & set(ids(corpus.train) + ids(corpus.dev))


def test_a_note_kept_out_drops_no_other(tmp_path):
    kept_out = note(1, "measured", written_at="2024-01-02")
    corpus = chosen(tmp_path, [kept_out, replace(kept_out, document_id="of another", group="b"), note(2)], groups=["measured"])
    assert "of another" in ids([*corpus.train, *corpus.dev])


def test_the_same_question_is_answered_once(tmp_path, monkeypatch):
    first = chosen(tmp_path, [note(n) for n in range(5)])
    decided = (tmp_path / "decisions.u8").stat().st_mtime_ns
    assert ids(chosen(tmp_path, [note(n) for n in range(5)]).train) == ids(first.train)
    assert (tmp_path / "decisions.u8").stat().st_mtime_ns == decided
    assert len(chosen(tmp_path, [note(n) for n in range(5)], groups=["patient 1"]).drops) == 1


def test_a_part_without_the_stamp_is_refused(tmp_path):
    other = prepare(tmp_path, "other", Source(1, 1, ""), "masker 0", reading([note(2, deidentified_by="masker 0")]))
    with pytest.raises(NotDeidentified, match="masker 0 and not masker 1"):
        select(tmp_path, [part(tmp_path, [note(1)]), other], STAMP)


def test_nothing_at_all_is_a_corpus_of_nothing(tmp_path):
    corpus = select(tmp_path, [], STAMP)
    assert (list(corpus.train), list(corpus.dev), corpus.drops, corpus.sample(100)) == ([], [], {}, [])
    assert len(chosen(tmp_path, []).train) == 0


def test_a_corpus_is_read_as_it_was_selected(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 5000)
    kinds = ["discharge_summary", "radiology_report"]
    notes = [note(n, text=text(n, 40 + n * 10), kind=kinds[n % 2], written_at=f"2024-02-{n + 1:02}") for n in range(20)]
    selected = chosen(tmp_path, notes)
    corpus = Corpus.open(tmp_path, STAMP)
    assert list(corpus.train) == list(corpus.train) == list(selected.train)
    assert corpus.train.fingerprint == selected.train.fingerprint != corpus.dev.fingerprint
    assert sorted([*corpus.train, *corpus.dev], key=lambda d: int(d.document_id[1:])) == notes
    assert corpus.kinds == {"discharge_summary": 10, "radiology_report": 10}
    assert corpus.characters == sum(len(d.text) for d in corpus.train)
    assert corpus.length_histogram == [(64, 3), (128, 6), (256, 11)]
    assert corpus.stamp == STAMP


def test_a_sample_is_drawn_from_all_of_the_corpus_and_bounded(tmp_path):
    corpus = chosen(tmp_path, [note(n) for n in range(300)])
    everything = [d.text for d in corpus.train]
    assert corpus.sample(10**9) == everything
    some = corpus.sample(corpus.characters // 3, seed=1)
    assert set(some) < set(everything)
    assert sum(map(len, some)) == pytest.approx(corpus.characters / 3, rel=0.35)  # four standard deviations
    assert everything.index(some[-1]) > 200
    assert some == corpus.sample(corpus.characters // 3, seed=1) != corpus.sample(corpus.characters // 3, seed=2)


def test_documents_are_drawn_from_all_that_are_learnt_from(tmp_path):
    corpus = chosen(tmp_path, [note(n) for n in range(300)])
    assert list(corpus.drawn(10**9)) == list(corpus.train)
    names = [d.document_id for d in corpus.train]
    some = [d.document_id for d in corpus.drawn(100, seed=1)]
    assert set(some) < set(names)
    assert len(some) == pytest.approx(100, abs=35)  # four standard deviations
    assert names.index(some[-1]) > 200
    assert some == [d.document_id for d in corpus.drawn(100, seed=1)] != [d.document_id for d in corpus.drawn(100, seed=2)]


def test_a_sample_of_what_is_held_out_is_of_that_alone_and_bounded_too(tmp_path):
    corpus = chosen(tmp_path, [note(n) for n in range(600)])
    held_out = [d.text for d in corpus.dev]
    assert corpus.sample(10**9, held_out=True) == held_out
    some = corpus.sample(sum(map(len, held_out)) // 2, held_out=True)
    assert set(some) < set(held_out)
    assert 0.1 < len(some) / len(held_out) < 0.9


@pytest.mark.parametrize("file", ["corpus.json", "decisions.u8", "parts/may.parquet", "parts/may.json"])
def test_a_corpus_with_a_file_altered_cut_short_or_gone_is_not_opened(tmp_path, file):
    chosen(tmp_path, [note(n) for n in range(5)])
    path = tmp_path / file
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"\x7f" + content[1:]):
        path.write_bytes(damaged)
        with pytest.raises(CorpusError, match="read the export again"):
            Corpus.open(tmp_path, STAMP)
    path.unlink()
    with pytest.raises(CorpusError, match="read the export again"):
        Corpus.open(tmp_path, STAMP)


def test_a_corpus_of_another_de_identifier_is_not_opened(tmp_path):
    chosen(tmp_path, [note(1)])
    for stamp in ("masker 2", ""):
        with pytest.raises(NotDeidentified):
            Corpus.open(tmp_path, stamp)


@pytest.mark.parametrize("share", [0, 0.5, 1.5])
def test_a_share_of_half_or_nothing_is_refused(tmp_path, share):
    with pytest.raises(ValueError, match=r"between 0 and 0\.5"):
        chosen(tmp_path, [note(1)], held_out=share)
