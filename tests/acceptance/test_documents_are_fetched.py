"""A hospital that sends nothing: its FHIR server is asked, its folder looked into, and what is found goes back as tasks."""

import base64
import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.appliance_process import Appliance, eventually, make_home
from tests.peers.fhir_server import running_fhir_server
from tests.trained_home import clinappliance

TEXT = "See cardiology in 2 weeks. Recheck INR on Friday."


def document(name: str, text: str = TEXT, **changes: Any) -> dict[str, Any]:
    """A discharge summary of a patient of its own."""
    attachment = {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}
    return {
        "resourceType": "DocumentReference",
        "id": name,
        "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": "18842-5"}]},
        "subject": {"reference": f"Patient/of-{name}"},
        "content": [{"attachment": attachment}],
    } | changes


@pytest.mark.usefixtures("fhir_server")  # which says whether there can be one; this story needs an empty one
def test_documents_are_fetched_before_during_and_after_a_crash_each_once(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    drop = tmp_path / "drop"
    drop.mkdir()
    with running_fhir_server() as url:

        def put(resource: dict[str, Any]) -> None:
            httpx.put(f"{url}/{resource['resourceType']}/{resource['id']}", json=resource).raise_for_status()

        def states() -> dict[str, int]:
            shown = clinappliance(home, "--json", "messages", "list", "--limit", "500").stdout.splitlines()
            found: dict[str, int] = {}
            for message in map(json.loads, shown):
                found[message["state"]] = found.get(message["state"], 0) + 1
            return found

        appliance = Appliance(home, None, url)
        with home.config.open("a") as config:
            config.write(f'[fhir_source]\nurl = "{url}"\ninterval_s = 0.2\npage_size = 2\n')
            config.write(f'[folder]\npath = "{drop}"\nsettle_s = 0.1\ninterval_s = 0.1\n')
        put(document("old1"))
        put(document("old2"))
        done = clinappliance(home, "--json", "fetch")
        assert done.returncode == 0, done.stderr
        assert {k: v for k, v in json.loads(done.stdout).items() if k != "transaction_time"} == {
            "new": 2,
            "known": 0,
            "unreadable": 0,
        }

        appliance.start()
        try:
            appliance.wait_ready()
            binary = {"resourceType": "Binary", "contentType": "text/plain", "data": base64.b64encode(TEXT.encode()).decode()}
            name = httpx.post(f"{url}/Binary", json=binary).json()["id"]
            put(document("linked", content=[{"attachment": {"contentType": "text/plain", "url": f"Binary/{name}"}}]))
            (drop / "DS_MRN88_DOC1.txt").write_text(TEXT)
            for n in range(5):
                put(document(f"d{n}"))
            appliance.stop(signal.SIGKILL)
            put(document("scan", content=[{"attachment": {"contentType": "application/pdf", "data": "JVBERi0xLjQ="}}]))
            for n in range(5, 8):
                put(document(f"d{n}"))
            appliance.start()
            appliance.wait_ready()
            eventually(lambda: states() == {"done": 12, "parked": 1}, 120, lambda: f"{states()} {appliance.said()}")

            def patients() -> set[str]:
                tasks = httpx.get(f"{url}/Task", params={"_count": 500}).json().get("entry", [])
                identifiers = [t["resource"]["identifier"][0]["value"] for t in tasks]
                assert len(identifiers) == len(set(identifiers))
                # What the server has, tasks refer to by where it is there; of the folder's patient only a number is known.
                subjects = [t["resource"]["for"] for t in tasks]
                return {s["reference"] if "reference" in s else s["identifier"]["value"] for s in subjects}

            expected = {f"Patient/of-{n}" for n in ("old1", "old2", "linked", *(f"d{n}" for n in range(8)))} | {"MRN88"}
            eventually(lambda: patients() == expected, 120, appliance.said)
            assert "MRN88" not in appliance.said()
            assert "Patient/" not in appliance.said()
            assert "cardiology" not in appliance.said()
        finally:
            assert appliance.stop() == 0
