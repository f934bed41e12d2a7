"""The storage on a real SQLite file and a real PostgreSQL: what it keeps, what it repeats, and what SIGKILL does to it."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from appliance import database, messages
from appliance.database import migrate
from appliance.storage import Storage, StorageError
from appliance.versions import Change
from integrations.mailbox import InboxMessage, State
from integrations.records import Finding, Note, NoteKind

NOTE = Note("note-1", NoteKind.DISCHARGE_SUMMARY, "See cardiology in 2 weeks.", document_type="18842-5")
FINDING = Finding(
    "f1", "note-1", 0, 26, "See cardiology in 2 weeks.", "Appointment", 0.9, "q@1", datetime(2026, 1, 1, tzinfo=UTC)
)
REPOSITORY = Path(__file__).parents[2]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(place: Path | str, clock: Clock) -> Iterator[Storage]:
    opened = Storage(place, clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Storage]:
    """One that lies in a file of this host."""
    opened = Storage(tmp_path / "appliance.db")
    yield opened
    opened.close()


def claim(storage: Storage, lease_s: float = 60) -> InboxMessage:
    message = storage.inbox.claim(lease_s)
    assert message is not None
    return message


def test_a_repeated_message_is_kept_once(storage: Storage) -> None:
    assert storage.inbox.put("ward-7", "MSG00001", b"admission") is True
    assert storage.inbox.put("ward-7", "MSG00001", b"admission") is False


def test_the_same_control_id_with_another_body_or_sender_is_another_message(storage: Storage) -> None:
    assert storage.inbox.put("ward-7", "1", b"one") is True
    assert storage.inbox.put("ward-7", "1", b"two") is True
    assert storage.inbox.put("ward-8", "1", b"one") is True


def test_messages_are_claimed_in_the_order_they_came_and_only_once(storage: Storage) -> None:
    for body in (b"one", b"two"):
        storage.inbox.put("ward-7", "1", body)
    assert [claim(storage).body, claim(storage).body] == [b"one", b"two"]
    assert storage.inbox.claim(60) is None


def test_a_message_whose_lease_ran_out_is_claimed_again(storage: Storage, clock: Clock) -> None:
    storage.inbox.put("ward-7", "1", b"one")
    assert claim(storage, lease_s=60).attempts == 1
    clock.now += 59
    assert storage.inbox.claim(60) is None
    clock.now += 1
    assert claim(storage).attempts == 2


def test_a_released_message_waits_for_its_delay(storage: Storage, clock: Clock) -> None:
    storage.inbox.put("ward-7", "1", b"one")
    storage.inbox.release(claim(storage).message_id, 30, "the model did not answer")
    assert storage.inbox.claim(60) is None
    clock.now += 30
    assert claim(storage).body == b"one"


def test_a_message_that_may_have_killed_its_reader_lets_the_others_go_first_and_is_parked_at_last(
    storage: Storage, clock: Clock
) -> None:
    storage.inbox.put("ward-7", "poison", b"poison")
    for crash in range(4):
        assert claim(storage, lease_s=60).body == b"poison"
        clock.now += 61
        storage.inbox.put("ward-7", f"good {crash}", b"good")
        good = claim(storage)
        assert good.body == b"good"
        storage.inbox.done(good.message_id, "")
    assert claim(storage).body == b"poison"
    clock.now += 61
    assert storage.inbox.claim(60) is None
    (parked,) = messages.listing(storage, State.PARKED)
    assert parked.reason.startswith("the appliance stopped 5 times while reading it")


def test_an_outage_never_parks_a_message(storage: Storage, clock: Clock) -> None:
    storage.inbox.put("ward-7", "1", b"one")
    for _ in range(50):
        storage.inbox.release(claim(storage).message_id, 10, "the model did not answer")
        clock.now += 10
    assert claim(storage).attempts == 51


def test_recover_gives_back_what_a_dead_process_had_claimed_without_waiting_for_the_lease(storage: Storage) -> None:
    storage.inbox.put("ward-7", "1", b"one")
    storage.record(claim(storage).message_id, NOTE, [FINDING], "q@1", lambda _: [("fhir", b"{}")])
    storage.inbox.put("ward-7", "2", b"two")
    claim(storage, lease_s=3600)
    assert storage.outbox.claim(3600, "fhir") is not None
    assert storage.recover() == 2
    assert claim(storage).body == b"two"
    assert storage.outbox.claim(60, "fhir") is not None


def test_record_keeps_findings_and_deliveries_and_ends_the_message_at_once(storage: Storage) -> None:
    storage.inbox.put("ward-7", "1", b"one")
    message_id = claim(storage).message_id
    assert storage.record(message_id, NOTE, [FINDING], "q@1", lambda _: [("fhir", b"{}")]) == Change((FINDING,))
    story = messages.show(storage, message_id)
    assert (story.message.state, story.note_id, story.model, story.message.n_findings) == (State.DONE, "note-1", "q@1", 1)
    assert [(f.quote, f.label, f.start, f.end) for f in story.findings] == [(FINDING.quote, "Appointment", 0, 26)]
    assert [(d.destination, d.state) for d in story.deliveries] == [("fhir", State.WAITING)]


def test_recording_twice_changes_nothing(storage: Storage, clock: Clock) -> None:
    storage.inbox.put("ward-7", "1", b"one")
    message_id = claim(storage).message_id
    storage.record(message_id, NOTE, [FINDING], "q@1", lambda _: [("fhir", b"{}")])
    before = messages.show(storage, message_id)
    clock.now += 5
    assert storage.record(message_id, NOTE, [FINDING, FINDING], "q@2", lambda _: [("fhir", b"[]")]) is None
    assert messages.show(storage, message_id) == before


def test_a_record_that_fails_half_way_leaves_nothing(storage: Storage) -> None:
    storage.inbox.put("ward-7", "1", b"one")
    message_id = claim(storage).message_id
    with pytest.raises(StorageError):
        storage.record(message_id, NOTE, [FINDING], "q@1", lambda _: [("fhir", None)])  # type: ignore[dict-item]
    story = messages.show(storage, message_id)
    assert (story.message.state, story.findings, story.deliveries) == (State.CLAIMED, (), ())


def test_a_delivery_leaves_the_outbox_only_when_it_is_confirmed(storage: Storage, clock: Clock) -> None:
    storage.inbox.put("ward-7", "1", b"one")
    storage.record(claim(storage).message_id, NOTE, [], "q@1", lambda _: [("fhir", b"{}")])
    owed = storage.outbox.claim(60, "fhir")
    assert owed is not None
    assert (owed.body, owed.destination, owed.attempts) == (b"{}", "fhir", 1)
    storage.outbox.release(owed.outbox_id, 10, "connection refused")
    assert storage.outbox.claim(60, "fhir") is None
    clock.now += 10
    again = storage.outbox.claim(60, "fhir")
    assert again is not None
    storage.outbox.done(again.outbox_id)
    clock.now += 3600
    assert storage.outbox.claim(60, "fhir") is None


def test_whoever_lost_the_lease_cannot_end_the_message_any_more(storage: Storage) -> None:
    storage.inbox.put("ward-7", "1", b"one")
    message_id = claim(storage).message_id
    storage.record(message_id, NOTE, [], "q@1")
    storage.inbox.park(message_id, "late")
    storage.inbox.release(message_id, 0, "late")
    assert messages.show(storage, message_id).message.state is State.DONE


def test_two_threads_never_claim_the_same_message(storage: Storage) -> None:
    for n in range(60):
        storage.inbox.put("ward-7", str(n), b"one")
    claimed: list[int] = []

    def work() -> None:
        while message := storage.inbox.claim(60):
            claimed.append(message.message_id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(set(claimed))
    assert len(claimed) == 60


def test_claiming_looks_only_at_rows_that_wait_however_many_are_done(storage: Storage) -> None:
    plans: list[str] = []

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def explain(connection: sa.Connection, cursor: sa.engine.interfaces.DBAPICursor, statement: str, *given: Any) -> None:
        if not statement.startswith(("UPDATE", "SELECT")):
            return
        if storage.database.is_shared:
            # Of an empty table it would rather read all.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {statement}", given[0])
            plans.append("\n".join(row[0] for row in cursor.fetchall()))
        else:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", given[0])
            plans.append("\n".join(row[3] for row in cursor.fetchall()))

    try:
        storage.inbox.claim(60)
        storage.outbox.claim(60, "fhir")
        messages.counts(storage, "inbox")
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", explain)
    assert len(plans) == 8
    # SQLite's "SCAN inbox" would read the table, and a sort would read all that wait before it claims one.
    read_all = [p for p in plans if re.search(r"SCAN \w+$|TEMP B-TREE|Seq Scan|Sort", p, re.MULTILINE)]
    assert read_all == []


def test_only_the_owner_may_read_the_file(file: Storage, tmp_path: Path) -> None:
    file.inbox.put("ward-7", "1", b"one")
    assert {f.name: f.stat().st_mode & 0o777 for f in tmp_path.iterdir()} == dict.fromkeys(
        ("appliance.db", "appliance.db-wal", "appliance.db-shm"), 0o600
    )


def test_a_commit_is_on_the_disk_before_it_returns(file: Storage) -> None:
    with file.database.read() as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "synchronous", "foreign_keys")]
    assert settings == ["wal", 2, 1]


def test_a_message_that_another_process_keeps_waiting_is_not_kept_and_says_so(place: Path | str) -> None:
    storage, other = Storage(place, busy_s=0.05), Storage(place)
    with other.database.write() as connection:
        if other.database.is_shared:
            connection.execute(sa.text("LOCK TABLE inbox"))
        with pytest.raises(StorageError, match="another process holds "):
            storage.inbox.put("ward-7", "1", b"one")
    assert storage.inbox.put("ward-7", "1", b"one") is True
    storage.close()
    other.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "appliance.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match="this is no database"):
        Storage(tmp_path / "appliance.db")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"absent/appliance\.db: cannot be opened"):
        Storage(tmp_path / "absent" / "appliance.db")


def test_a_database_of_a_newer_release_is_refused(storage: Storage, place: Path | str) -> None:
    with storage.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageError, match="made by a newer clinappliance"):
        Storage(place)


def test_every_migration_can_be_taken_back_and_leaves_the_tables_that_the_code_names(storage: Storage) -> None:
    def tables() -> dict[str, set[str]]:
        with storage.database.read() as connection:
            inspector = sa.inspect(connection)
            return {name: {column["name"] for column in inspector.get_columns(name)} for name in inspector.get_table_names()}

    expected = {name: {c.name for c in table.columns} for name, table in database.METADATA.tables.items()}
    assert {name: columns for name, columns in tables().items() if name in expected} == expected
    with storage.database.write() as connection:
        migrate(connection, "base")
    assert set(tables()) <= {"alembic_version"}
    with storage.database.write() as connection:
        migrate(connection, database.SCHEMA)
    assert storage.inbox.put("ward-7", "1", b"one") is True


def test_the_schema_number_is_the_newest_migration() -> None:
    versions = Path(database.__file__).parent / "migrations" / "versions"
    assert max(f.name[:4] for f in versions.glob("0*.py")) == database.SCHEMA


WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from appliance.storage import Storage, StorageError

    place = sys.argv[1]
    storage = Storage(place if "://" in place else Path(place))
    n = 0
    while True:
        try:
            storage.inbox.put("ward-7", str(n), b"x" * 4000)
        except StorageError as error:
            print("refused:", error, flush=True)
            break
        print(n, flush=True)
        n += 1
""")


def writer(place: Path | str, *prefix: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", WRITER, str(place)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


@pytest.mark.parametrize("kill_after", [1, 7, 40])
def test_every_message_that_was_kept_survives_kill_9(place: Path | str, kill_after: int) -> None:
    process = writer(place)
    assert process.stdout is not None
    acknowledged = -1
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == kill_after:
            process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    storage = Storage(place)
    assert storage.database.damage() is None
    # One more may have been committed in the moment before its number was printed; a server may still be committing it.
    kept = messages.counts(storage, "inbox").by_state[State.WAITING]
    assert kept in (acknowledged + 1, acknowledged + 2)
    storage.close()


MOUNT = ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.mark.skipif(
    subprocess.run([*MOUNT, "true"], capture_output=True, check=False).returncode != 0,
    reason="no right to mount a small disk here",
)
def test_a_full_disk_is_told_in_one_line_and_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # The disk ends with the namespace, so the database is copied out of it before.
    script = f'mount -t tmpfs -o size=600k none "{disk}" && "$@"; cp "{disk}"/* "{tmp_path}"'
    process = writer(disk / "appliance.db", *MOUNT, "sh", "-c", script, "sh")
    output, _ = process.communicate(timeout=60)
    *numbers, refusal = output.splitlines()
    assert refusal.startswith("refused:")
    assert "the disk is full" in refusal
    assert len(numbers) > 10
    storage = Storage(tmp_path / "appliance.db")
    assert storage.database.damage() is None
    assert messages.counts(storage, "inbox").by_state[State.WAITING] == len(numbers)
    storage.close()


OPENED_AND_CLOSED = """
import sys
from pathlib import Path
from appliance.storage import Storage

storage = Storage(Path(sys.argv[1]))
print(storage.inbox.has_work())
storage.close()
"""


def test_a_second_look_by_the_same_process_keeps_its_locks_and_no_message_falls_between(tmp_path: Path) -> None:
    def other_process() -> str:
        command = [sys.executable, "-c", OPENED_AND_CLOSED, str(tmp_path / "appliance.db")]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    running = Storage(tmp_path / "appliance.db")
    assert running.inbox.put("ward", "1", b"one")
    Storage(tmp_path / "appliance.db").close()
    assert other_process() == "True\n"
    assert running.inbox.put("ward", "2", b"two")
    assert running.inbox.claim(60) is not None
    running.inbox.done(1, "")
    assert running.inbox.claim(60) is not None
    running.inbox.done(2, "")
    assert other_process() == "False\n", "it sees what was written since"
    running.close()
