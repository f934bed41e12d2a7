"""Several hosts on one PostgreSQL: whose a claim is, by which clock it ends, and what its failures are called."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from appliance import messages
from appliance.config import load, parse
from appliance.doctor import Check
from appliance.doctor.home import clock, database
from appliance.home import Home
from appliance.service import ServiceError, run
from appliance.storage import Storage, StorageError
from integrations.codecs import hl7v2
from integrations.mailbox import State
from integrations.records import Note, NoteKind
from tests.appliance_process import ROOT, Appliance, Sender, discharge_summary, eventually, make_home
from tests.peers.postgres import Postgres, running_postgres

NOTE = Note("note-1", NoteKind.DISCHARGE_SUMMARY, "See cardiology in 2 weeks.")


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.new_database()


@pytest.fixture
def hosts(url: str) -> Iterator[tuple[Storage, Storage]]:
    """Two that share a database, each with its own name."""
    opened = Storage(url, owner="one:/home"), Storage(url, owner="two:/home")
    yield opened
    for storage in opened:
        storage.close()


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """One that a test may stop."""
    with running_postgres() as server:
        yield server


def put(storage: Storage, *control_ids: str) -> None:
    for control_id in control_ids:
        storage.inbox.put("ward-7", control_id, b"one")


def test_many_workers_of_two_hosts_claim_each_message_and_each_delivery_once(hosts: tuple[Storage, Storage]) -> None:
    put(hosts[0], *map(str, range(100)))
    read: list[int] = []
    sent: list[int] = []

    def work(storage: Storage) -> None:
        while message := storage.inbox.claim(60):
            read.append(message.message_id)
            note = replace(NOTE, note_id=str(message.message_id))
            storage.record(message.message_id, note, [], "q@1", lambda _: [("fhir", b"{}")])
        while owed := storage.outbox.claim(60, "fhir"):
            sent.append(owed.outbox_id)
            storage.outbox.done(owed.outbox_id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, hosts * 4))
    work(hosts[0])
    assert len(read) == len(set(read)) == 100
    assert len(sent) == len(set(sent)) == 100
    assert messages.counts(hosts[1], "outbox").by_state[State.DONE] == 100


def test_a_worker_passes_over_a_message_that_another_is_about_to_claim_and_waits_for_nobody(url: str) -> None:
    storage, other = Storage(url, busy_s=0.05), Storage(url)
    put(storage, "1", "2")
    with other.database.write() as connection:
        connection.execute(sa.text("SELECT message_id FROM inbox ORDER BY message_id LIMIT 1 FOR UPDATE"))
        second = storage.inbox.claim(60)
    assert second is not None
    assert second.control_id == "2"
    storage.close()
    other.close()


def test_a_message_that_two_gateways_take_at_once_is_kept_once_and_acknowledged_by_both(hosts: tuple[Storage, Storage]) -> None:
    barrier = threading.Barrier(8)

    def send(storage: Storage) -> bool:
        barrier.wait(10)
        return storage.inbox.put("ward-7", "1", b"one")

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(send, hosts * 4)) == 1


def test_a_host_that_starts_again_takes_back_its_own_claims_and_leaves_those_of_a_live_one(
    hosts: tuple[Storage, Storage],
) -> None:
    one, two = hosts
    put(one, "1", "2")
    mine, others = one.inbox.claim(3600), two.inbox.claim(3600)
    assert mine is not None
    assert others is not None
    assert one.recover() == 1
    again = two.inbox.claim(60)
    assert again is not None
    assert again.message_id == mine.message_id
    assert one.inbox.claim(60) is None


def test_a_host_whose_lease_another_has_taken_over_has_no_say_any_more(hosts: tuple[Storage, Storage]) -> None:
    one, two = hosts
    put(one, "1")
    slow = one.inbox.claim(0)
    quick = two.inbox.claim(3600)
    assert slow is not None
    assert quick is not None
    one.inbox.release(slow.message_id, 0, "late")
    one.inbox.park(slow.message_id, "late")
    assert messages.show(one, slow.message_id).message.state is State.CLAIMED
    assert two.record(quick.message_id, NOTE, [], "q@1") is not None
    assert one.record(slow.message_id, NOTE, [], "q@1") is None


def test_leases_end_by_the_servers_clock_however_wrong_a_hosts_clock_is(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Storage(url, owner="right")
    with monkeypatch.context() as wrong:
        wrong.setattr("time.time", lambda: 12.0)
        astray = Storage(url, owner="astray")
        put(astray, "1")
        assert astray.inbox.claim(60) is not None
        assert abs(astray.clock() - right.clock()) < 1
    assert right.inbox.claim(60) is None
    (received,) = messages.listing(right)
    assert abs(received.received_at.timestamp() - right.clock()) < 60
    right.close()
    astray.close()


def test_two_hosts_that_open_an_empty_database_at_once_make_its_tables_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(Storage, [url] * 4))
    put(opened[0], "1")
    assert [messages.counts(storage, "inbox").by_state[State.WAITING] for storage in opened] == [1] * 4
    for storage in opened:
        storage.close()


def test_a_text_with_nul_is_kept_with_every_other_character_in_its_place(url: str) -> None:
    storage = Storage(url)
    assert storage.inbox.put("ward\0-7", "a\0b", b"\0") is True
    assert storage.inbox.put("ward\0-7", "a\0b", b"\0") is False
    claimed = storage.inbox.claim(60)
    assert claimed is not None
    assert (claimed.source, claimed.control_id, claimed.body) == ("ward\ufffd-7", "a\ufffdb", b"\0")
    storage.close()


def test_a_control_id_of_any_length_is_kept(url: str) -> None:
    storage = Storage(url)
    name = os.urandom(8000).hex()
    assert storage.inbox.put(name, name, b"one") is True
    assert storage.inbox.put(name, name, b"one") is False
    assert storage.inbox.put(name, name, b"two") is True
    storage.close()


def test_a_server_that_is_restarted_is_used_again_without_losing_a_message(own_server: Postgres) -> None:
    storage = Storage(own_server.new_database())
    put(storage, "1")
    own_server.stop(signal.SIGQUIT)
    with pytest.raises(StorageError, match=r"cannot be reached; see that it runs and that \[database\] url names it"):
        put(storage, "2")
    own_server.start()
    put(storage, "2")
    assert [message.attempts for _ in range(2) if (message := storage.inbox.claim(60))] == [1, 1]
    storage.close()


def test_a_connection_that_was_cut_is_replaced_unnoticed(url: str, postgres: Postgres) -> None:
    storage = Storage(url)
    put(storage, "1")
    postgres.tell("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()", "postgres")
    put(storage, "2")
    assert messages.counts(storage, "inbox").by_state[State.WAITING] == 2
    storage.close()


def test_a_server_that_takes_no_writes_makes_the_appliance_unready_and_says_so(url: str, postgres: Postgres) -> None:
    name = url.split("/")[3].split("?")[0]
    storage = Storage(url)
    storage.check_writable()
    postgres.tell(f"ALTER DATABASE {name} SET default_transaction_read_only = on", "postgres")
    read_only = Storage(url)
    with pytest.raises(StorageError, match="takes no writes"):
        read_only.check_writable()
    storage.close()
    read_only.close()


def test_a_commit_waits_for_the_disk_though_the_server_would_not(url: str, postgres: Postgres) -> None:
    name = url.split("/")[3].split("?")[0]
    postgres.tell(f"ALTER DATABASE {name} SET synchronous_commit = off", "postgres")
    storage = Storage(url)
    with storage.database.read() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    storage.close()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://clinappliance@/nothing?host={folder}", r"there is no such database; create it \(SQLSTATE 3D000\)"),
        ("postgresql://nobody@/postgres?host={folder}", r"does not let us in; .*passfile"),
        ("postgresql://clinappliance@/postgres?host={folder}/absent", r"cannot be reached"),
        (
            "postgresql://clinappliance@127.0.0.1:1/postgres",
            r"PostgreSQL at 127.0.0.1:1, database postgres: it cannot be reached",
        ),
        ("postgresql://clinappliance@/postgres?prot=1", r"\[database\] url: libpq does not understand it"),
    ],
)
def test_what_is_wrong_with_an_address_is_told_in_one_line(postgres: Postgres, address: str, told: str) -> None:
    with pytest.raises(StorageError, match=told):
        Storage(address.format(folder=postgres.folder))


def test_a_password_is_taken_from_a_passfile_and_told_to_nobody(own_server: Postgres, tmp_path: Path) -> None:
    own_server.tell("CREATE ROLE ward LOGIN PASSWORD 'opensesame'", "postgres")
    own_server.tell("CREATE DATABASE wards OWNER ward TEMPLATE template0", "postgres")
    (own_server.folder / "data" / "pg_hba.conf").write_text("local all ward scram-sha-256\nlocal all all trust\n")
    own_server.tell("SELECT pg_reload_conf()", "postgres")
    passfile = tmp_path / "passfile"
    address = f"postgresql://ward@/wards?host={own_server.folder}&passfile={passfile}"

    def attempt(password: str) -> None:
        passfile.write_text(f"*:*:wards:ward:{password}\n")
        passfile.chmod(0o600)
        Storage(address).close()

    attempt("opensesame")
    with pytest.raises(StorageError, match="does not let us in") as caught:
        attempt("opensaysme")
    chain = [caught.value, caught.value.__cause__, getattr(caught.value.__cause__, "orig", None)]
    assert [text for error in chain for text in (str(error), repr(error)) if "opens" in text] == []


def test_without_the_driver_it_is_told_how_to_get_it() -> None:
    script = "import sys; sys.modules['psycopg'] = None; from appliance.storage import Storage; Storage('postgresql://db/x')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "-m pip install 'psycopg[binary]'" in done.stderr.splitlines()[-1]


def test_a_server_of_another_encoding_is_refused(postgres: Postgres) -> None:
    postgres.tell("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'", "postgres")
    with pytest.raises(StorageError, match="its encoding is LATIN1; create it with ENCODING 'UTF8'"):
        Storage(postgres.url("latin"))


def test_too_many_connections_are_told_with_the_setting_that_allows_more(own_server: Postgres) -> None:
    own_server.stop()
    own_server.start("max_connections=4", "superuser_reserved_connections=0")
    url = own_server.url("postgres")
    opened = [Storage(url) for _ in range(4)]
    with pytest.raises(StorageError, match="raise its max_connections"):
        Storage(url)
    for storage in opened:
        storage.close()


def looked_at(home: Home, url: str) -> dict[str, Check]:
    return {check.name: check for check in database(home, parse(f"[database]\nurl = '{url}'").database)}


def test_doctor_tells_version_schema_and_clock_of_a_sound_server(url: str, tmp_path: Path) -> None:
    found = looked_at(Home(tmp_path), url)
    assert {name: check.outcome for name, check in found.items()} == {"database": "ok", "clock": "ok"}
    assert "version 1" in found["database"].found
    assert "schema 0" in found["database"].found


def test_doctor_says_what_to_do_about_a_server_that_can_lose_a_commit_or_is_not_there(
    own_server: Postgres, tmp_path: Path
) -> None:
    url = own_server.new_database()
    own_server.stop()
    found = looked_at(Home(tmp_path), url)
    assert (set(found), found["database"].outcome) == ({"database"}, "fail")
    own_server.start("fsync=off")
    found = looked_at(Home(tmp_path), url)
    assert found["database"].outcome == "fail"
    assert "fsync off" in found["database"].found


def test_doctor_warns_of_a_clock_that_is_astray() -> None:
    assert clock(0.4).outcome == "ok"
    astray = clock(-90)
    assert (astray.outcome, astray.found) == ("warn", "90.0 s behind the database's")


def test_an_appliance_does_not_move_to_a_server_while_its_file_holds_messages(url: str, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.init()
    file = Storage(home.database)
    put(file, "1")
    file.close()
    with pytest.raises(ServiceError, match="still holds 1 messages and deliveries that are on their way"):
        run(home, parse(f"[database]\nurl = '{url}'"))


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("53100", "its disk is full; free space there, nothing that was acknowledged is lost"),
        ("53200", "its memory is exhausted"),
        ("42501", "no right to use its tables"),
        ("58030", "it cannot read or write its disk"),
        ("XX001", "it is damaged"),
        ("40P01", "in each other's way"),
        ("0A000", r"it refused \(SQLSTATE 0A000\); see its log"),
    ],
)
def test_what_the_server_refuses_is_told_with_its_cause_and_none_of_its_words(url: str, state: str, told: str) -> None:
    storage = Storage(url)
    refuse = f"DO $$ BEGIN RAISE EXCEPTION 'TESTPATIENT' USING ERRCODE = '{state}'; END $$"
    with pytest.raises(StorageError, match=told) as caught, storage.database.write() as connection:
        connection.exec_driver_sql(refuse)
    assert "TESTPATIENT" not in str(caught.value)
    storage.close()


@pytest.fixture
def two_appliances(own_server: Postgres, tmp_path: Path) -> Iterator[tuple[Appliance, Appliance]]:
    """`clinappliance run` twice, on homes of their own and one database."""
    setting = f"[database]\nurl = '{own_server.new_database()}'\n"
    both = Appliance(make_home(tmp_path / "one"), None), Appliance(make_home(tmp_path / "two"), None)
    for appliance in both:
        appliance.home.config.write_text(appliance.home.config.read_text() + setting)
        appliance.start()
    for appliance in both:
        appliance.wait_ready()
    yield both
    assert [appliance.stop() for appliance in both] == [0, 0]


def test_two_appliances_take_and_read_messages_together_and_outlive_a_restart_of_the_server(
    two_appliances: tuple[Appliance, Appliance], own_server: Postgres
) -> None:
    one, two = two_appliances
    sender = Sender(one.mllp_port)
    for n in range(20):
        assert hl7v2.acknowledged(sender.send(discharge_summary(f"M{n}", "Recheck the potassium."))) == ("AA", f"M{n}")
    with closing(Storage(load(one.home).database.place(one.home.database))) as storage:
        eventually(lambda: messages.counts(storage, "inbox").by_state[State.DONE] == 20)
    assert [message["state"] for message in two.ask("messages", "list")] == ["done"] * 20
    assert two.ask("status")[0]["queues"]["inbox"]["done"] == 20  # type: ignore[index]
    assert {check["name"]: check["outcome"] for check in two.ask("doctor")}["database"] == "ok"
    own_server.stop(signal.SIGQUIT)
    assert hl7v2.acknowledged(sender.send(discharge_summary("M20", "Recheck the potassium."))) == ("AE", "M20")
    assert "database_not_writable" in one.not_ready()
    own_server.start()
    assert hl7v2.acknowledged(sender.send(discharge_summary("M20", "Recheck the potassium."))) == ("AA", "M20")
    sender.close()
    with closing(Storage(load(one.home).database.place(one.home.database))) as storage:
        eventually(lambda: messages.counts(storage, "inbox").by_state[State.DONE] == 21, 60)
    for appliance in two_appliances:
        appliance.wait_ready()
