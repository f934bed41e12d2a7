"""A drop folder: what is put there is kept once, then moved; what cannot be read is kept, too, and says why."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.intake import Keeper, why_unreadable
from appliance.storage import Storage, StorageError
from integrations.codecs.hl7v2 import ROUTES
from integrations.mailbox import Format, InboxMessage
from integrations.transports import TransportError
from integrations.transports.arriving import Arrival
from integrations.transports.folder import DONE, FAILED, Folder, FolderConfig, hl7_messages

DOCUMENT = {
    "resourceType": "DocumentReference", "id": "d1", "status": "current", "subject": {"reference": "Patient/1"},
    "content": [{"attachment": {"contentType": "text/plain", "data": "UmVzdC4="}}],
}  # fmt: skip


def mdm(control_id: str, text: str = "Rest.") -> bytes:
    segments = [
        rf"MSH|^~\&|EHR|WARD|||20260101120000+0000||MDM^T02|{control_id}|P|2.5.1",
        "PID|1||123",
        "TXA|1|DS|TX||||||||||D1",
        f"OBX|1|TX|18842-5||{text}",
        "",
    ]
    return "\r".join(segments).encode()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Drop:
    """A drop folder and an inbox."""

    def __init__(self, root: Path) -> None:
        self.path, self.clock = root / "drop", Clock()
        self.path.mkdir()
        self.storage = Storage(root / "appliance.db")
        self.keep = Keeper(self.storage)
        self.folder = self.opened()

    def opened(self, settle_s: float = 5) -> Folder:
        config = FolderConfig(path=self.path, sender="ris", settle_s=settle_s)
        return Folder(self.path, config, lambda a: self.keep(a), lambda a: why_unreadable(a, ROUTES), self.clock)

    def rest(self) -> None:
        """See what is there, and again once it has been there for long."""
        self.folder.step()
        self.clock.now += 5
        self.folder.step()

    def kept(self) -> list[InboxMessage]:
        found = []
        while message := self.storage.inbox.claim(60):
            found.append(message)
            self.storage.inbox.park(message.message_id, "seen")
        return found

    def names(self, folder: str = "") -> set[str]:
        return {p.name for p in (self.path / folder).iterdir() if p.is_file()}


@pytest.fixture
def drop(tmp_path: Path) -> Iterator[Drop]:
    opened = Drop(tmp_path)
    yield opened
    opened.storage.close()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.hl7", mdm("M1") + mdm("M2"), [(Format.HL7V2, "EHR|WARD", "M1"), (Format.HL7V2, "EHR|WARD", "M2")]),
        ("a.json", json.dumps(DOCUMENT).encode(), [(Format.FHIR, "ris", "DocumentReference/d1")]),
        ("a.ndjson", b"\n".join(json.dumps(DOCUMENT | {"id": f"d{n}"}).encode() for n in (1, 2)) + b"\n",
         [(Format.FHIR, "ris", "DocumentReference/d1"), (Format.FHIR, "ris", "DocumentReference/d2")]),
        ("DS_MRN88_DOC1.txt", b"Rest.", [(Format.TEXT, "ris", "DS_MRN88_DOC1.txt")]),
        ("b.json", json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [
            {"resource": DOCUMENT}, {"resource": DOCUMENT | {"id": "d2"}}]}).encode(),
         [(Format.FHIR, "ris", "DocumentReference/d1"), (Format.FHIR, "ris", "DocumentReference/d2")]),
    ],
)  # fmt: skip
def test_a_file_becomes_its_messages_and_moves_to_done(
    drop: Drop, name: str, content: bytes, expected: list[tuple[Format, str, str]]
) -> None:
    (drop.path / name).write_bytes(content)
    drop.rest()
    assert [(m.format, m.source, m.control_id) for m in drop.kept()] == expected
    assert (drop.names(), drop.names(DONE), drop.names(FAILED)) == (set(), {name}, set())


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.hl7", b"GET / HTTP/1.1\r\n", "message 1 of 1: "),
        ("a.hl7", mdm("M1") + b"MSH|^~\\&|EHR", "message 2 of 2: "),
        ("a.json", b'{"resourceType": "Document', "message 1 of 1: it is no JSON"),
        ("a.json", json.dumps(DOCUMENT | {"status": "x"}).encode(), "DocumentReference.status holds a code"),
        ("a.ndjson", json.dumps(DOCUMENT).encode() + b"\n{}\n", "message 2 of 2: it is JSON, but no FHIR resource"),
        ("Jane Doe.txt", b"Rest.", "a file must be called TYPE_PATIENT_DOCUMENT"),
        ("a.docx", b"PK", "files ending in .hl7, .json, .ndjson, .txt"),
    ],
)
def test_a_bad_file_is_kept_and_moves_to_failed_beside_its_reason(drop: Drop, name: str, content: bytes, reason: str) -> None:
    (drop.path / name).write_bytes(content)
    drop.rest()
    assert drop.names(FAILED) == {name, f"{name}.reason"}
    told = (drop.path / FAILED / f"{name}.reason").read_text()
    assert reason in told
    assert "Jane" not in told
    with drop.storage.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM inbox WHERE state = 'parked'").scalar() == 1


def test_a_file_that_still_grows_or_has_a_dot_before_its_name_is_left_alone(drop: Drop) -> None:
    path = drop.path / "a.hl7"
    (drop.path / ".b.hl7").write_bytes(mdm("M2"))
    for part in range(3):
        with path.open("ab") as file:
            file.write(mdm("M1")[part * 40 : part * 40 + 40])
        drop.folder.step()
        drop.clock.now += 4.9
        drop.folder.step()
        assert drop.kept() == []
    with path.open("ab") as file:
        file.write(mdm("M1")[120:])
    (drop.path / ".b.hl7").rename(drop.path / "b.hl7")
    drop.rest()
    assert {m.body for m in drop.kept()} == {mdm("M1"), mdm("M2")}


def test_the_same_file_twice_is_one_message_and_another_of_its_name_a_second(drop: Drop) -> None:
    for text in ("Rest.", "Rest.", "Walk."):
        (drop.path / "DS_1_D1.txt").write_text(text)
        drop.rest()
    assert [m.body for m in drop.kept()] == [b"Rest.", b"Walk."]
    assert drop.names(DONE) == {"DS_1_D1.txt", "DS_1_D1.txt.2", "DS_1_D1.txt.3"}


def test_a_file_stays_where_it_is_until_its_messages_are_kept(drop: Drop) -> None:
    keeper, calls = drop.keep, 0

    def full_disk(arrival: Arrival) -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StorageError("the disk is full")
        return keeper(arrival)

    drop.keep = full_disk  # type: ignore[assignment]
    (drop.path / "a.hl7").write_bytes(mdm("M1") + mdm("M2") + mdm("M3"))
    with pytest.raises(StorageError):
        drop.rest()
    assert drop.names() == {"a.hl7"}
    drop.folder = drop.opened()
    drop.rest()
    assert [m.control_id for m in drop.kept()] == ["M1", "M2", "M3"]
    assert drop.names(DONE) == {"a.hl7"}


def test_a_file_that_may_not_be_read_does_not_hold_up_the_others(drop: Drop) -> None:
    (drop.path / "a.hl7").write_bytes(mdm("M1"))
    os.symlink(drop.path / "a.hl7", drop.path / "link.hl7")
    (drop.path / DONE).chmod(0o500)
    if os.geteuid() != 0:
        with pytest.raises(TransportError, match="moved"):
            drop.rest()
        (drop.path / DONE).chmod(0o700)
    drop.rest()
    assert [m.control_id for m in drop.kept()] == ["M1"]
    assert (drop.path / "link.hl7").is_symlink()


def test_a_folder_that_is_not_there_is_named_in_the_words_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"\[folder\] path cannot be used \(No such file or directory\)"):
        Folder(tmp_path / "none", FolderConfig(), lambda a: True, lambda a: "")


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        (b"\x0b" + mdm("1") + b"\x1c\r\x0b" + mdm("2") + b"\x1c\r", [mdm("1"), mdm("2")]),
        (b"FHS|^~\\&|x\rBHS|^~\\&|y\r" + mdm("1") + mdm("2") + b"BTS|2\rFTS|1\r", [mdm("1"), mdm("2")]),
        (b"\xef\xbb\xbf" + mdm("1").replace(b"\r", b"\r\n"), [mdm("1").replace(b"\r", b"\r\n")[:-2] + b"\r"]),
        (mdm("1")[:-1], [mdm("1")[:-1]]),
        (b"hello\r" + mdm("1"), [b"hello\r", mdm("1")]),
        (b"hello", [b"hello"]),
        (b"", [b""]),
    ],
)
def test_a_file_of_hl7_is_cut_into_its_messages_and_nothing_vanishes(content: bytes, messages: list[bytes]) -> None:
    assert hl7_messages(content) == messages


KILLED = """
import os, sys
from pathlib import Path
from appliance.intake import Keeper, why_unreadable
from appliance.storage import Storage
from integrations.codecs.hl7v2 import ROUTES
from integrations.transports import durable, folder
root, last = Path(sys.argv[1]), int(sys.argv[2])
events = 0
def tick():
    global events
    events += 1
    if events == last:
        os._exit(9)
real = {name: getattr(os, name) for name in ("fsync", "open", "replace")}
def ticking(call):
    def counted(*args, **more):
        tick()
        found = call(*args, **more)
        tick()
        return found
    return counted
storage = Storage(root / "appliance.db")
keep = Keeper(storage)
def kept(arrival):
    tick()
    found = keep(arrival)
    tick()
    return found
for name in ("fsync", "open", "replace"):
    setattr(os, name, ticking(real[name]))
opened = folder.Folder(root / "drop", folder.FolderConfig(settle_s=0), kept, lambda a: why_unreadable(a, ROUTES))
opened.step()
"""


def test_a_kill_at_any_instant_loses_and_doubles_nothing(tmp_path: Path) -> None:
    (tmp_path / "drop").mkdir()
    Storage(tmp_path / "appliance.db").close()
    (tmp_path / "drop/a.hl7").write_bytes(mdm("M1") + mdm("M2"))
    (tmp_path / "drop/b.hl7").write_bytes(mdm("M3") + b"hello")
    (tmp_path / "drop/DS_1_D1.txt").write_bytes(b"Rest.")
    kills = 0
    for last in range(1, 200):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(last)], check=False)
        if done.returncode == 0:
            break
        assert done.returncode == 9
        kills += 1
    assert kills > 5
    storage = Storage(tmp_path / "appliance.db")
    with storage.database.read() as connection:
        found = connection.exec_driver_sql("SELECT control_id, state, count(*) FROM inbox GROUP BY 1, 2 ORDER BY 1").fetchall()
    storage.close()
    assert [tuple(row) for row in found] == [
        ("DS_1_D1.txt", "waiting", 1), ("M1", "waiting", 1), ("M2", "waiting", 1), ("M3", "parked", 1),
    ]  # fmt: skip
    assert {p.name for p in (tmp_path / "drop").iterdir()} == {DONE, FAILED}
