"""SIGKILL at random instants while messages arrive, are read and delivered: no acknowledged one is lost, no result comes twice.

Once with everything that `run` starts, Triton included; and many times where starting is cheap, with one host on SQLite and with
two that share a PostgreSQL and are killed in turn, and the server with every tenth of them. `CLINAPPLIANCE_KILLS` says how often,
`CLINAPPLIANCE_MESSAGES` how many messages are sent meanwhile; the long version has 1000 and 10000 of them, in rounds
with another `CLINAPPLIANCE_SEED` each.
"""

import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from appliance.config import load
from appliance.database import FINDINGS, INBOX, OUTBOX, READINGS
from appliance.messages import OPEN, STAGES, counts
from appliance.storage import Storage
from integrations.codecs import hl7v2
from tests.appliance_process import Appliance, Sender, discharge_summary, eventually, make_home
from tests.forked_appliance import Starter
from tests.peers.fhir_server import running_fhir_server, why_not
from tests.peers.postgres import Postgres, running_postgres

KILLS = int(os.environ.get("CLINAPPLIANCE_KILLS", "20"))
MESSAGES = int(os.environ.get("CLINAPPLIANCE_MESSAGES", str(5 * KILLS)))
WHOLE_KILLS, WHOLE_MESSAGES = 6, 60
PATIENTS = 10
LONGEST_LIFE_S = 2.0
SEED = int(os.environ.get("CLINAPPLIANCE_SEED", "20260101"))


def delivered(fhir_url: str) -> list[str]:
    """The finding that each Task on the server is about."""
    found: list[str] = []
    while True:
        page = httpx.get(f"{fhir_url}/Task", params={"_count": 500, "_offset": len(found)}, timeout=30).json().get("entry", [])
        if not page:
            return found
        found += [entry["resource"]["identifier"][0]["value"] for entry in page]


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def send_all(sender: Sender, acknowledged: list[str]) -> None:
    """Send the messages one after the other, at a pace that lasts as long as the kills do."""
    for n in range(WHOLE_MESSAGES):
        control_id = f"MSG{n:05d}"
        answer = sender.send(discharge_summary(control_id, f"Note {n}. Recheck the potassium."))
        if hl7v2.acknowledged(answer) == ("AA", control_id):
            acknowledged.append(control_id)
        time.sleep(WHOLE_KILLS / WHOLE_MESSAGES)


def test_every_acknowledged_message_has_its_result_exactly_once_however_often_the_appliance_is_killed(
    tmp_path: Path, triton_environment: Path
) -> None:
    if reason := why_not():
        pytest.skip(reason)
    chance = random.Random(SEED)
    acknowledged: list[str] = []
    with running_fhir_server() as fhir_url:
        appliance = Appliance(make_home(tmp_path / "home"), triton_environment, fhir_url)
        appliance.start()
        appliance.wait_ready()
        sender = Sender(appliance.mllp_port)
        sending = threading.Thread(target=send_all, args=(sender, acknowledged), daemon=True)
        sending.start()
        for _ in range(WHOLE_KILLS):
            # Within four seconds it starts, takes messages, starts Triton, reads and delivers.
            time.sleep(chance.uniform(0, 4))
            assert appliance.stop(signal.SIGKILL) == -signal.SIGKILL, appliance.said()
            appliance.start()
        sending.join(60)
        assert len(acknowledged) == WHOLE_MESSAGES, appliance.said()
        database = appliance.home.database
        open_rows = (
            "SELECT message_id FROM inbox WHERE state != 'done' UNION ALL SELECT outbox_id FROM outbox WHERE state != 'done'"
        )
        eventually(lambda: not rows(database, open_rows), 120, appliance.said)
        on_server = delivered(fhir_url)
        sender.close()
        # Before it is ready it may not have begun to listen to signals.
        appliance.wait_ready()
        assert appliance.stop() == 0

    kept = [row[0] for row in rows(database, "SELECT control_id FROM inbox ORDER BY control_id")]
    assert kept == acknowledged
    readings = rows(database, "SELECT message_id, count(*) FROM readings GROUP BY message_id")
    assert [n for _, n in readings] == [1] * WHOLE_MESSAGES
    owed = rows(database, "SELECT message_id, count(*) FROM outbox GROUP BY message_id")
    assert [n for _, n in owed] == [1] * WHOLE_MESSAGES
    in_database = [row[0] for row in rows(database, "SELECT finding_id FROM findings")]
    assert len(in_database) >= WHOLE_MESSAGES
    assert sorted(on_server) == sorted(map(str, in_database))
    assert subprocess.run(["pgrep", "-f", str(appliance.home.repository)], capture_output=True, check=False).stdout == b""


class Hospital:
    """Senders, hosts that are killed, and the FHIR server that results are owed to."""

    def __init__(self, hosts: list[Appliance], starter: Starter, fhir_url: str, server: Postgres | None) -> None:
        self.hosts, self.starter, self.fhir_url, self.server = hosts, starter, fhir_url, server
        self.acknowledged: list[str] = []
        self._pids = [starter.start(host.home) for host in hosts]
        self._wait_ready()
        self.kill(0)
        began = time.monotonic()
        self._wait_ready()
        self.longest_life_s = min(2 * (time.monotonic() - began), LONGEST_LIFE_S)
        """About half of the instants lie before a host reads, on whatever machine."""

    def send(self, first: int, step: int, pause_s: float) -> None:
        """Send every `step`-th message, each patient's one after the other, to whichever gateway answers."""
        sender = Sender(*(host.mllp_port for host in self.hosts))
        for n in range(first, MESSAGES, step):
            control_id = f"MSG{n:05d}"
            message = discharge_summary(control_id, f"Recheck potassium {n}.")
            message = message.replace(b"|123^^^HOSP", b"|%d^^^HOSP" % (n % PATIENTS))
            while hl7v2.acknowledged(sender.send(message)) != ("AA", control_id):
                time.sleep(0.1)
            self.acknowledged.append(control_id)
            time.sleep(pause_s)
        sender.close()

    def kill(self, host: int) -> None:
        """SIGKILL, and start it again."""
        # An appliance that starts in the moment in which PostgreSQL is away ends by itself, with its reason.
        expected = (-signal.SIGKILL, 1) if self.server else (-signal.SIGKILL,)
        assert self.starter.kill(self._pids[host]) in expected, self.starter.said()
        self._pids[host] = self.starter.start(self.hosts[host].home)

    def crash_server(self) -> None:
        """Disconnect everybody at once and let it recover."""
        if self.server:
            self.server.stop(signal.SIGQUIT)
            self.server.start()

    def stop(self) -> None:
        """SIGTERM, when all are ready."""
        self._wait_ready()
        assert [self.starter.kill(pid, signal.SIGTERM) for pid in self._pids] == [0] * len(self._pids), self.starter.said()

    def _wait_ready(self) -> None:
        for host in self.hosts:
            host.wait_ready()

    def arrived(self, kind: str) -> list[dict[str, Any]]:
        """All resources of a kind on the FHIR server."""
        found: list[dict[str, Any]] = []
        while True:
            asked = {"_count": 1000, "_offset": len(found)}
            page = httpx.get(f"{self.fhir_url}/{kind}", params=asked, timeout=60).json().get("entry", [])
            if not page:
                return found
            found += [entry["resource"] for entry in page]


def out_of_order(storage: Storage, tasks: list[dict[str, Any]]) -> int:
    """How many deliveries about a patient came before an earlier one about the same patient."""
    at = {task["identifier"][0]["value"]: task["meta"]["lastUpdated"] for task in tasks}
    owed = (
        sa.select(OUTBOX.c.patient_key, OUTBOX.c.outbox_id, sa.func.min(FINDINGS.c.finding_id))
        .join(READINGS, READINGS.c.message_id == OUTBOX.c.message_id)
        .join(FINDINGS, FINDINGS.c.reading_id == READINGS.c.reading_id)
        .group_by(OUTBOX.c.patient_key, OUTBOX.c.outbox_id)
        .order_by(OUTBOX.c.outbox_id)
    )
    times = defaultdict(list)
    with storage.database.read() as connection:
        for patient, _, finding_id in connection.execute(owed):
            times[patient].append(at[finding_id])
    return sum(earlier > later for patient in times.values() for earlier, later in pairwise(patient))


@pytest.fixture(params=["one host on sqlite", "two hosts on postgresql"])
def hospital(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hospital]:
    """Running."""
    if reason := why_not():
        pytest.skip(reason)
    with ExitStack() as stack:
        n_hosts, settings, server = 1, "", None
        if request.param == "two hosts on postgresql":
            server = stack.enter_context(running_postgres())
            n_hosts, settings = 2, f'[database]\nurl = "{server.new_database()}"\n'
        fhir_url = stack.enter_context(running_fhir_server())
        starter = stack.enter_context(Starter(tmp_path / "log"))
        hosts = [Appliance(make_home(tmp_path / f"host{n}"), None, fhir_url) for n in range(n_hosts)]
        for host in hosts:
            # It is not the message's fault.
            config = host.home.config.read_text().replace("[worker]\n", "[worker]\nmost_crashes = 1000\n") + settings
            host.home.config.write_text(config)
        yield Hospital(hosts, starter, fhir_url, server)


@pytest.mark.timeout(240 + 3 * KILLS + MESSAGES)
def test_of_all_that_is_acknowledged_under_kill_9_nothing_is_lost_and_nothing_comes_twice(hospital: Hospital) -> None:
    chance = random.Random(SEED)
    n_senders = 2
    pause_s = KILLS * hospital.longest_life_s / 2 / MESSAGES * n_senders
    senders = [threading.Thread(target=hospital.send, args=(n, n_senders, pause_s), daemon=True) for n in range(n_senders)]
    began = time.monotonic()
    for thread in senders:
        thread.start()
    for n in range(KILLS):
        time.sleep(chance.uniform(0, hospital.longest_life_s / len(hospital.hosts)))
        if n % 10 == 5:
            hospital.crash_server()
        hospital.kill(n % len(hospital.hosts))
    killed_s = time.monotonic() - began
    for thread in senders:
        thread.join(60 + MESSAGES)
    assert len(hospital.acknowledged) == MESSAGES
    home = hospital.hosts[0].home
    with closing(Storage(load(home).database.place(home.database))) as storage:
        eventually(lambda: not n_open(storage), 120 + MESSAGES, hospital.starter.said)
        tasks, provenances = hospital.arrived("Task"), hospital.arrived("Provenance")
        hospital.stop()
        with storage.database.read() as connection:
            kept, read, delivered, found = (
                sorted(connection.execute(sa.select(column)).scalars())
                for column in (INBOX.c.control_id, READINGS.c.message_id, OUTBOX.c.message_id, FINDINGS.c.finding_id)
            )
        assert kept == sorted(hospital.acknowledged)
        assert read == delivered == sorted(set(read))
        assert len(read) == len(provenances) == MESSAGES
        assert sorted(task["identifier"][0]["value"] for task in tasks) == found
        assert out_of_order(storage, tasks) == 0
    print(f"{KILLS} kills in {killed_s:.0f} s, {MESSAGES} messages and {len(tasks)} tasks in {time.monotonic() - began:.0f} s")


def n_open(storage: Storage) -> int:
    """Messages and deliveries that are on their way."""
    return sum(sum(counts(storage, stage, OPEN).by_state.values()) for stage in STAGES)
