"""kill -9 at random instants while messages come in: every message that was acknowledged has its result exactly once.

`CLINAPPLIANCE_KILLS` says how often it is killed, `CLINAPPLIANCE_MESSAGES` how many messages are sent meanwhile.
"""

import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from integrations.codecs import hl7v2
from tests.appliance_process import Appliance, Sender, discharge_summary, eventually, make_home
from tests.peers.fhir_server import running_fhir_server, why_not

KILLS = int(os.environ.get("CLINAPPLIANCE_KILLS", "6"))
MESSAGES = int(os.environ.get("CLINAPPLIANCE_MESSAGES", str(10 * KILLS)))
SEED = 20260101


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
    for n in range(MESSAGES):
        control_id = f"MSG{n:05d}"
        answer = sender.send(discharge_summary(control_id, f"Note {n}. Recheck the potassium."))
        if hl7v2.acknowledged(answer) == ("AA", control_id):
            acknowledged.append(control_id)
        time.sleep(KILLS / MESSAGES)


@pytest.mark.timeout(120 + 10 * KILLS)
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
        for _ in range(KILLS):
            # Within four seconds it starts, takes messages, starts Triton, reads and delivers.
            time.sleep(chance.uniform(0, 4))
            assert appliance.stop(signal.SIGKILL) == -signal.SIGKILL, appliance.said()
            appliance.start()
        sending.join(60)
        assert len(acknowledged) == MESSAGES, appliance.said()
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
    assert [n for _, n in readings] == [1] * MESSAGES
    owed = rows(database, "SELECT message_id, count(*) FROM outbox GROUP BY message_id")
    assert [n for _, n in owed] == [1] * MESSAGES
    in_database = [row[0] for row in rows(database, "SELECT finding_id FROM findings")]
    assert len(in_database) >= MESSAGES
    assert sorted(on_server) == sorted(map(str, in_database))
    assert subprocess.run(["pgrep", "-f", str(appliance.home.repository)], capture_output=True, check=False).stdout == b""
