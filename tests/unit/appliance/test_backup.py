"""A backup holds all that cannot be made again, is proved by restoring it, and is nobody's without its key."""

import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from appliance import audit, backup, metrics
from appliance.home import Home
from appliance.queues import Incoming
from appliance.storage import Storage
from tests import tiny_bundle

MARKERS = [f"MARKER-{n:04d}-PATIENT" for n in range(50)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.init()
    with closing(Storage(made.database)) as storage:
        for marker in MARKERS:
            storage.inbox.put("ward", marker, f"MSH|{marker}".encode())
    tiny_bundle.write(made.models / "tiny" / "clip" / "1")
    audit.record(made, "messages show", "message 12")
    made.fhir_progress.write_text("{}")
    (made.corpora / "notes.bin").write_bytes(b"can be made again")
    return made


@pytest.fixture
def key(home: Home, tmp_path: Path) -> Path:
    backup.new_key(tmp_path / "backup.key", home)
    return tmp_path / "backup.key"


def kept(home: Home) -> dict[str, bytes]:
    """What has to come back as it was, byte by byte; the database is compared by what it says."""
    left_out = {"run", "logs", "corpora", "repository", "artifacts", "backup.json"}
    return {
        str(path.relative_to(home.root)): path.read_bytes()
        for path in home.root.rglob("*")
        if path.is_file()
        and path.relative_to(home.root).parts[0] not in left_out
        and not path.name.startswith(home.database.name)
    }


def dumped(home: Home) -> list[str]:
    with closing(sqlite3.connect(home.database)) as database:
        return list(database.iterdump())


def test_what_is_restored_is_what_was_there(home: Home, key: Path, tmp_path: Path) -> None:
    made = backup.create(home, tmp_path / "backups", key)
    proof = backup.verify(home, made, key)
    assert (proof.rows["inbox"], proof.audit_lines, proof.models) == (len(MARKERS), 1, 1)
    again = Home(tmp_path / "again")
    assert backup.restore(again, made, key) == proof
    assert {name: body for name, body in kept(again).items() if name != "keys/backup.fingerprint"} == {
        name: body for name, body in kept(home).items() if name != "keys/backup.fingerprint"
    }
    assert dumped(again) == dumped(home)
    assert not list(again.corpora.iterdir())
    files = [path for path in again.root.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in [again.root, *files])
    assert again.require()


def test_nothing_of_a_patient_can_be_read_in_it(home: Home, key: Path, tmp_path: Path) -> None:
    body = backup.create(home, tmp_path / "backups", key).read_bytes()
    assert not [marker for marker in MARKERS if marker.encode() in body]
    assert home.group_key.read_bytes() not in body


def test_a_wrong_key_is_found_when_the_backup_is_made(home: Home, key: Path, tmp_path: Path) -> None:
    backup.create(home, tmp_path / "backups", key)
    other = tmp_path / "other.key"
    backup.new_key(other, home)
    with pytest.raises(
        backup.BackupError, match=r"the backups before were sealed with [0-9a-f]{16}; give that one, or say --other"
    ):
        backup.create(home, tmp_path / "elsewhere", other)
    assert not (tmp_path / "elsewhere").exists()
    made = backup.create(home, tmp_path / "elsewhere", other, other_key=True)
    with pytest.raises(backup.BackupError, match=r"sealed with the key .*, or the right key"):
        backup.verify(home, made, key)
    assert backup.verify(home, made, other)


def test_what_is_no_key_is_refused_before_anything_is_written(home: Home, tmp_path: Path) -> None:
    for content in ("", "abc", "zz" * 32, "00" * 31):
        (tmp_path / "bad.key").write_text(content)
        with pytest.raises(backup.BackupError, match="is no key"):
            backup.create(home, tmp_path / "backups", tmp_path / "bad.key")
    with pytest.raises(backup.BackupError, match=r"No such file.*backup key FILE"):
        backup.create(home, tmp_path / "backups", tmp_path / "gone.key")
    assert not (tmp_path / "backups").exists()


def test_a_key_or_a_backup_within_the_home_is_refused(home: Home, key: Path) -> None:
    with pytest.raises(backup.BackupError, match="choose a place elsewhere"):
        backup.new_key(home.keys / "backup.key", home)
    with pytest.raises(backup.BackupError, match="choose a place elsewhere"):
        backup.create(home, home.root / "backups", key)


def test_a_key_is_never_overwritten_and_nobody_else_may_read_it(home: Home, key: Path) -> None:
    assert key.stat().st_mode & 0o077 == 0
    with pytest.raises(backup.BackupError, match="there already"):
        backup.new_key(key, home)


def test_a_damaged_backup_is_refused_and_nothing_is_left(home: Home, key: Path, tmp_path: Path) -> None:
    made = backup.create(home, tmp_path / "backups", key)
    body, chance = made.read_bytes(), random.Random(0)
    for _ in range(20):
        damaged = bytearray(body)
        damaged[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        made.write_bytes(damaged if chance.random() < 0.5 else body[: chance.randrange(len(body))])
        with pytest.raises(backup.BackupError):
            backup.verify(home, made, key)
        with pytest.raises(backup.BackupError):
            backup.restore(Home(tmp_path / "again"), made, key)
    assert {path.name for path in tmp_path.iterdir()} == {"home", "backups", "backup.key"}
    assert list((tmp_path / "backups").iterdir()) == [made]
    assert not home.proved_backup.exists()


def test_a_home_that_is_not_sound_is_told_of_when_its_backup_is_proved(home: Home, key: Path, tmp_path: Path) -> None:
    lines = home.audit.read_bytes()
    home.audit.write_bytes(lines.replace(b"message 12", b"message 13"))
    made = backup.create(home, tmp_path / "backups", key)
    with pytest.raises(backup.BackupError, match=r"was not sound: .*line 1 is not as it was written"):
        backup.verify(home, made, key)
    home.audit.write_bytes(lines)
    (home.models / "tiny" / "clip" / "1" / "model.onnx").write_bytes(b"x")
    made.unlink()
    made = backup.create(home, tmp_path / "backups", key)
    with pytest.raises(backup.BackupError, match=r"was not sound: .*model\.onnx"):
        backup.verify(home, made, key)


def test_a_home_is_never_restored_over_another(home: Home, key: Path, tmp_path: Path) -> None:
    made, before = backup.create(home, tmp_path / "backups", key), kept(home)
    with pytest.raises(backup.BackupError, match="is not empty"):
        backup.restore(home, made, key)
    assert kept(home) == before


def test_a_backup_made_while_messages_arrive_is_one_moment_of_them(home: Home, key: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    def arrive() -> None:
        with closing(Storage(home.database)) as storage:
            n = 0
            while not stop.is_set():
                n += 1
                # Two that belong together: a backup has both or none.
                storage.inbox.put_all([incoming(f"pair-{n}-{which}") for which in "ab"])

    thread = threading.Thread(target=arrive)
    thread.start()
    rounds = int(os.environ.get("CLINAPPLIANCE_BACKUPS", "5"))
    sizes = []
    try:
        for n in range(rounds):
            again = Home(tmp_path / f"again-{n}")
            backup.restore(again, backup.create(home, tmp_path / f"backups-{n}", key), key)
            with closing(sqlite3.connect(again.database)) as database:
                names = [name for (name,) in database.execute("SELECT control_id FROM inbox WHERE control_id LIKE 'pair-%'")]
            assert {name[:-1] + "a" for name in names} == {name for name in names if name.endswith("a")}
            assert len(names) % 2 == 0
            sizes.append(len(names))
    finally:
        stop.set()
        thread.join()
    assert sizes == sorted(sizes)
    assert sizes[-1] > 0


def incoming(control_id: str) -> Incoming:
    return Incoming("ward", control_id, f"MSH|{control_id}".encode(), "")


def test_a_backup_that_is_killed_leaves_none_that_looks_whole(home: Home, key: Path, tmp_path: Path) -> None:
    (home.models / "large.bin").write_bytes(random.Random(0).randbytes(30_000_000))
    command = [
        sys.executable,
        "-m",
        "appliance.cli",
        "--home",
        str(home.root),
        "backup",
        "create",
        str(tmp_path / "backups"),
        "--key",
        str(key),
    ]
    with subprocess.Popen(command) as process:
        while not list((tmp_path / "backups").glob(".*.partial")) and process.poll() is None:
            time.sleep(0.001)
        process.kill()
    assert [path.suffix for path in (tmp_path / "backups").iterdir()] == [".partial"]
    made = backup.create(home, tmp_path / "backups", key)
    assert list((tmp_path / "backups").iterdir()) == [made]
    assert backup.verify(home, made, key)


def test_a_proof_that_is_killed_leaves_nothing_to_read_where_the_backups_are_and_the_next_takes_the_rest_away(
    home: Home, key: Path, tmp_path: Path
) -> None:
    (home.models / "large.bin").write_bytes(random.Random(0).randbytes(30_000_000))
    made = backup.create(home, tmp_path / "backups", key)
    command = [sys.executable, "-m", "appliance.cli", "--home", str(home.root), "backup", "verify", str(made), "--key", str(key)]
    with subprocess.Popen(command) as process:
        while not list(home.run.glob("backup-*/*")) and process.poll() is None:
            time.sleep(0.001)
        process.kill()
    assert list((tmp_path / "backups").iterdir()) == [made]
    assert list(home.run.glob("backup-*/*"))
    backup.verify(home, made, key)
    assert not list(home.run.glob("backup-*/"))


def test_a_cursor_in_a_backup_is_never_ahead_of_the_messages_in_it(
    home: Home, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = backup._copy_database

    def meanwhile(source: Path, target: Path) -> dict[str, int]:
        rows = copy(source, target)
        home.fhir_progress.write_text('{"DocumentReference": "later"}')
        return rows

    home.fhir_progress.write_text('{"DocumentReference": "earlier"}')
    monkeypatch.setattr(backup, "_copy_database", meanwhile)
    backup.restore(Home(tmp_path / "again"), backup.create(home, tmp_path / "backups", key), key)
    assert "earlier" in Home(tmp_path / "again").fhir_progress.read_text()


def test_prometheus_is_told_when_a_backup_was_proved(home: Home, key: Path, tmp_path: Path) -> None:
    def told() -> float:
        with closing(Storage(home.database)) as storage:
            families = metrics.ApplianceCollector(storage, home.root, list, {}).collect()
            return next(f.samples[0].value for f in families if f.name == "clinappliance_backup_last_verified_timestamp_seconds")

    assert told() == 0
    backup.verify(home, backup.create(home, tmp_path / "backups", key), key)
    assert told() == pytest.approx(time.time(), abs=60)
    assert json.loads(home.proved_backup.read_text())["made_at"].startswith("20")


def test_the_newest_of_a_folder_is_found_and_older_ones_are_removed(home: Home, key: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    with pytest.raises(backup.BackupError, match=r"there is no backup in .*backup create"):
        backup.newest(folder)
    older = [folder / f"{backup.KIND}-2026110{day}T020000Z.sealed" for day in range(1, 6)]
    for path in (*older, folder / "notes.txt"):
        path.touch()
    made = backup.create(home, folder, key)
    assert backup.newest(folder) == backup.newest(made) == made
    assert backup.keep_newest(folder, 3) == older[:3]
    assert backup.keep_newest(folder, 3) == []
    assert set(folder.iterdir()) == {*older[3:], made, folder / "notes.txt"}
