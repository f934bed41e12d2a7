"""An archive is tagged once, whatever interrupts it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from appliance import backfill as module
from appliance.backfill import BATCH, BackfillError, backfill
from appliance.home import Home
from appliance.publishing import tagger_of
from appliance.reading import as_json
from appliance.registry import Entry, Registry
from integrations.ehr_export import Export, open_export
from integrations.mailbox import InboxMessage
from tests import tiny_bundle
from tests.appliance_process import make_home

N = 2 * BATCH + 5


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


@pytest.fixture
def entry(home: Home) -> Entry:
    entry = Registry(home.models).promoted("clip")
    assert entry is not None
    return entry


@pytest.fixture(autouse=True)
def _at_its_own_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_be_idle", lambda: None)  # it would slow down every test after this one


def text(n: int) -> str:
    return f"Note {n}. Follow up with cardiology in {n} weeks. Recheck the potassium."


def archive(folder: Path, name: str = "one.jsonl", n: int = N, kind: str = "Discharge summary") -> Path:
    folder.mkdir(exist_ok=True)
    rows = [{"note_id": f"{name}-{i}", "text": text(i), "category": kind} for i in range(n)]
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def exported(path: Path) -> Export:
    return open_export(path, Counter())


def results(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in sorted(out.glob("*/*.jsonl")) for line in path.read_text().splitlines()]


def test_every_discharge_summary_is_tagged_as_tag_does_and_what_is_left_out_has_its_reason(home, entry, tmp_path):
    archive(tmp_path / "archive")
    archive(tmp_path / "archive", "two.jsonl", 3, "Radiology")
    counts = backfill(home, exported(tmp_path / "archive"), entry, tmp_path / "out")
    tagger = tagger_of(home, entry)
    (tagged,) = tagger.tag([text(7)])
    rows = results(tmp_path / "out")
    assert rows[7] == as_json("one.jsonl-7", text(7), "tiny@1", tagged, tagger.is_sure)
    assert [row["note"] for row in rows] == [f"one.jsonl-{i}" for i in range(N)]
    assert counts == Counter(
        {"notes": N, "findings": sum(len(r["findings"]) for r in rows), "left out: clip does not read a radiology_report": 3}
    )


@pytest.mark.parametrize("at", [0, BATCH - 1, BATCH, 2 * BATCH + 1, N - 1])
def test_what_was_interrupted_goes_on_from_the_last_whole_batch(at, home, entry, tmp_path, monkeypatch):
    archive(tmp_path / "archive")
    read = []

    class Interrupting:
        def __init__(self, at: int) -> None:
            self.tagger, self.at = tagger_of(home, entry), at
            self.is_sure = self.tagger.is_sure

        def tag(self, texts: list[str]) -> object:
            if len(read) == self.at:
                raise KeyboardInterrupt
            read.extend(texts)
            return self.tagger.tag(texts)

    monkeypatch.setattr(module, "_tagger", lambda *_: Interrupting(at))
    with pytest.raises(KeyboardInterrupt):
        backfill(home, exported(tmp_path / "archive"), entry, tmp_path / "out")
    assert len(results(tmp_path / "out")) == at // BATCH * BATCH
    monkeypatch.setattr(module, "_tagger", lambda *_: Interrupting(-1))
    counts = backfill(home, exported(tmp_path / "archive"), entry, tmp_path / "out")
    assert counts["notes"] == N
    assert [row["note"] for row in results(tmp_path / "out")] == [f"one.jsonl-{i}" for i in range(N)]
    assert len(read) == N + at % BATCH, "what was begun of one batch is read again, and no more"


def test_done_work_is_not_done_again_and_a_file_that_changed_is(home, entry, tmp_path, monkeypatch):
    folder = archive(tmp_path / "archive")
    first = backfill(home, exported(folder), entry, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_tagger", lambda *_: pytest.fail("it was read already"))
        assert backfill(home, exported(folder), entry, tmp_path / "out") == first
    archive(folder, n=3)
    assert backfill(home, exported(folder), entry, tmp_path / "out")["notes"] == 3
    assert len(results(tmp_path / "out")) == 3


def test_results_of_two_models_never_lie_in_one_folder(home, entry, tmp_path):
    folder = archive(tmp_path / "archive", n=1)
    backfill(home, exported(folder), entry, tmp_path / "out")
    other = Registry(home.models).add("tiny", "clip", lambda at, version: tiny_bundle.write(at, "tiny", version, seed=1))
    with pytest.raises(BackfillError, match="holds results of tiny@1, not of tiny@2"):
        backfill(home, exported(folder), other, tmp_path / "out")


def test_a_folder_with_other_files_is_refused_and_left_alone(home, entry, tmp_path):
    folder = archive(tmp_path / "archive", n=1)
    with pytest.raises(BackfillError, match="is not empty and holds no results"):
        backfill(home, exported(folder), entry, folder)
    assert [path.name for path in folder.iterdir()] == ["one.jsonl"]


def test_it_waits_while_the_appliance_has_a_message_to_read(home, entry, tmp_path, monkeypatch):
    from appliance.storage import Storage

    storage = Storage(home.database)
    storage.inbox.put("ward", "1", b"a message")
    waited: list[InboxMessage] = []

    def read_it(seconds: float) -> None:
        message = storage.inbox.claim(60)
        assert message is not None
        assert storage.inbox.has_work(), "it is being read"
        storage.inbox.done(message.message_id, "")
        waited.append(message)

    monkeypatch.setattr(module.time, "sleep", read_it)
    backfill(home, exported(archive(tmp_path / "archive", n=2)), entry, tmp_path / "out")
    assert len(waited) == 1
    assert not storage.inbox.has_work()
    storage.close()
