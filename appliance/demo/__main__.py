"""`python -m appliance.demo`: a synthetic hospital from its first export to the tags of a discharge summary.

Runs the very commands a hospital would, shows each, and says where to look next. Its home is its own, never the hospital's.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from appliance.demo.messages import discharge_summary_message
from appliance.demo.note_writer import SyntheticNote, write_export, write_notes
from appliance.home import Home
from integrations.records import NoteKind
from integrations.transports import TransportError

NAME = "demo"
NOTES, LABELLED, SEED = 1500, 60, 7
BUDGET = os.environ.get("CLINAPPLIANCE_DEMO_BUDGET", "155s")
READY_S, ANSWER_S, STOP_S = 90.0, 60.0, 60.0


class DemoError(RuntimeError):
    """A step of the demonstration failed; the message says which and where its log is."""


def main() -> int:
    """Run the demonstration; the exit code."""
    home = Home(Path(os.environ.get("CLINAPPLIANCE_DEMO_HOME", "~/.local/share/clinappliance-demo")).expanduser().absolute())
    began = time.monotonic()
    try:
        _train(home)
        story = _a_day(home)
    except (DemoError, TransportError, subprocess.CalledProcessError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; started again, it goes on with the training where that stopped", file=sys.stderr)
        return 1
    _tell(story, home, time.monotonic() - began)
    return 0


def _train(home: Home) -> None:
    _say("A home, and a sample export of a synthetic hospital")
    _clinappliance(home, "init")
    export = home.root / "sample_export"
    write_export(export, NOTES, SEED, labelled=LABELLED)
    print(f"  {NOTES} notes and {LABELLED} labelled ones in {export}: written by a machine, no patient among them")
    _say("Training: pretrain on the notes, finetune on the labels, measure on patients the model has not seen")
    notes, labels = export / "notes.jsonl", export / "clip.jsonl"
    arguments = ["--notes", str(notes), "--clip", str(labels), "--name", NAME, "--size", "mini", "--budget", BUDGET]
    _clinappliance(home, "train", *arguments, *(["--resume"] if (home.corpora / NAME / "request.json").exists() else []))
    _say("Compiling for this host, and publishing to Triton's model repository")
    _clinappliance(home, "models", "promote", NAME)


def _a_day(home: Home) -> dict[str, Any]:
    _say("Starting Triton, the MLLP listener, the worker and HTTP: clinappliance run")
    from appliance.config import load

    config = load(home)
    log = home.logs / "demo-run.log"
    command = [sys.executable, "-m", "appliance.cli", "--home", str(home.root), "run"]
    with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out) as running:
        try:
            _wait_until_ready(running, f"http://{config.http.host}:{config.http.port}/readyz", log)
            print(f"  ready; its log is {log}")
            return _send(home, config.mllp.host, config.mllp.port)
        finally:
            running.terminate()
            with suppress(subprocess.TimeoutExpired):
                running.wait(STOP_S)
            running.kill()


def _send(home: Home, host: str, port: int) -> dict[str, Any]:
    from integrations.transports.mllp import send

    summary = _summary()
    message = discharge_summary_message(summary)
    _say(f"Sending a discharge summary (MDM^T02) over MLLP to {host}:{port}")
    ack = send(host, port, message)
    print(f"  acknowledged with {ack.split(b'MSA|')[1][:2].decode()}: it is on disk now")
    deadline = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        newest = _json(home, "messages", "list")
        if newest and newest[0]["state"] == "done":
            return dict(_json(home, "messages", "show", str(newest[0]["message_id"]))[0])
        time.sleep(0.5)
    raise DemoError(f"the message was not read within {ANSWER_S:.0f} s; look into {home.logs}")


def _summary() -> SyntheticNote:
    """A discharge summary of a patient who is in no export: another seed, with something to follow up."""
    summaries = (n for n in write_notes(50, SEED + int(time.time())) if n.note.kind == NoteKind.DISCHARGE_SUMMARY)
    return max(summaries, key=lambda n: len(frozenset().union(*n.labels)))


def _tell(story: dict[str, Any], home: Home, seconds: float) -> None:
    _say(f"Its tags, each with the sentence it stands on (model {story['model']})")
    for finding in story["findings"]:
        quote = " ".join(finding["text"].split())
        print(f'  {finding["label"]:<22}  {finding["score"]:.2f}   "{quote}"')
    if not story["findings"]:
        print("  none: this small model, taught for a minute, found nothing to follow up in this note")
    command = f"{Path(sys.executable).parent / 'clinappliance'} --home {home.root}"
    _say(f"Done in {seconds:.0f} s. Where to look next")
    for what, how in (
        ("the messages", f"{command} messages list"),
        ("the model's card", f"{command} models card {NAME}"),
        ("its health", f"{command} doctor"),
        ("run it on", f"{command} run"),
        ("your own notes", "README.md, 'Your own notes and your own EHR'"),
    ):
        print(f"  {what:<18} {how}")
    print("\n  Synthetic notes prove nothing about real text: evaluate on your own.")


def _clinappliance(home: Home, *arguments: str) -> None:
    print(f"  $ clinappliance {' '.join(arguments)}", flush=True)
    finished = subprocess.run([sys.executable, "-m", "appliance.cli", "--home", str(home.root), *arguments], check=False)
    if finished.returncode:
        raise DemoError(f"`clinappliance {arguments[0]}` failed with exit code {finished.returncode}")


def _json(home: Home, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "appliance.cli", "--home", str(home.root), "--json", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _wait_until_ready(running: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if running.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise DemoError(f"`clinappliance run` ended at once: {''.join(last)}")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 our own loopback address
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise DemoError(f"`clinappliance run` was not ready within {READY_S:.0f} s; its log is {log}")


def _say(line: str) -> None:
    print(f"\n== {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
