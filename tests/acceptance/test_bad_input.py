"""What is wrong with the input, the disk, the ports or the settings is told in one line that says what to do; exit 1 or 2.

Every refusal goes through `refused`: one line of trouble, no traceback, no internal error, and no word of a note, which all
hold the word zebra.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from appliance.demo.note_writer import write_notes
from appliance.home import Home
from appliance.registry import Registry
from appliance.training.registering import manifest_of
from integrations.codecs import hl7v2
from tests.appliance_process import COMMAND, ROOT, Appliance, Sender, discharge_summary, eventually, free_ports, make_home

NOTE = "The zebra has a fever. Follow up with cardiology in two weeks. Recheck the potassium on Friday."
MINI = ("--size", "mini", "--steps", "2")
SIZE_BYTES = 300 * 2**20


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str
    peak_bytes: int


MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""Runs a command and writes down its peak memory, KiB. Of a child of our own it would be ours too: that counts from the fork."""


def clinappliance(home: Path, *words: str, prefix: tuple[str, ...] = (), given: bytes | None = None) -> Ended:
    """Run one command as a person would; `prefix` is what it runs under."""
    with tempfile.NamedTemporaryFile() as peak:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, peak.name, *prefix, *COMMAND, "--home", str(home), *words],
            cwd=ROOT,
            input=given or b"",
            capture_output=True,
            timeout=200,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode(), int(Path(peak.name).read_text()) * 1024)


def refused(ended: Ended, *words: str) -> str:
    """The one line of trouble: it ends what the command said, holds all `words` and quotes no note."""
    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err
    assert "internal error" not in ended.err
    assert "zebra" not in ended.err.lower()
    *progress, line = ended.err.splitlines()
    assert line.startswith("clinappliance: "), ended.err
    assert not [told for told in progress if told.startswith("clinappliance: ")], ended.err
    assert [word for word in words if word not in line] == [], line
    return line


def wrong_usage(ended: Ended, *words: str) -> None:
    """Exit 2, with how it is used and what was wrong."""
    assert ended.code == 2, ended.err
    assert ended.err.startswith("Usage: clinappliance")
    assert "Traceback" not in ended.err
    assert [word for word in words if word not in " ".join(ended.err.split())] == [], ended.err


@pytest.fixture(scope="module")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a promoted model; tests leave it as it is."""
    return make_home(tmp_path_factory.mktemp("tiny") / "home")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of .txt notes, one of them in Latin-1."""
    folder = tmp_path_factory.mktemp("export")
    for number, synthetic in enumerate(write_notes(30, seed=5)):
        (folder / f"{number}.txt").write_text(f"The zebra. {synthetic.note.text}", encoding="utf-8")
    (folder / "latin.txt").write_bytes(("Température du zèbre: 38°, zebra. " * 20).encode("latin-1"))
    return folder


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "note.txt"
    path.write_text(NOTE, encoding="utf-8")
    return path


def bounded_by_rights() -> tuple[str, ...]:
    """What to run a command under so that file rights count for it, even for root."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root may read everything, and setpriv (util-linux) is not here to take that from a command")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def on_a_disk_of(size: str, disk: Path, home: Home) -> tuple[str, ...]:
    """What to run a command under so that `disk` holds a copy of `home`, called home, and no more than `size`."""
    disk.mkdir(exist_ok=True)
    script = 'mount -t tmpfs -o size="$0" tmpfs "$1" && cp -a "$2" "$1/home" && shift 2 && exec "$@"'
    prefix = ("unshare", "-rm", "bash", "-c", script, size, str(disk), str(home.root))
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here (unshare -rm)")
    return prefix


# --- what to learn from ---------------------------------------------------------------------------------------------------


def test_an_empty_export_is_told_with_what_is_needed(tiny_home: Home, tmp_path: Path) -> None:
    refused(
        clinappliance(tiny_home.root, "train", "--notes", str(tmp_path)), str(tmp_path), ".txt, .jsonl or .csv", "none at all"
    )


def test_a_folder_or_file_without_rights_is_told_with_its_path(tiny_home: Home, tmp_path: Path, note: Path) -> None:
    rights = bounded_by_rights()
    closed = tmp_path / "closed"
    closed.mkdir()
    shutil.copy(note, closed)
    labels = tmp_path / "labels.jsonl"
    labels.write_text("{}")
    for path in (closed, note, labels):
        path.chmod(0)
    try:
        notes = str(tiny_home.config.parent)
        commands = (
            (closed, ("train", "--notes", str(closed))),
            (labels, ("train", "--notes", notes, "--clip", str(labels))),
            (note, ("tag", str(note))),
        )
        for path, words in commands:
            refused(clinappliance(tiny_home.root, *words, prefix=rights), str(path), "Permission denied", "rights")
        line = refused(clinappliance(closed, "status", prefix=rights), str(closed))
        assert "run as the user who owns it" in line
    finally:
        closed.chmod(0o700)


def test_300_mb_in_one_line_are_left_out_in_bounded_memory(tiny_home: Home, tmp_path: Path) -> None:
    heads = {"one.jsonl": b'{"text": "zebra ', "one.csv": b'note_id,text\n1,"zebra ', "one.txt": b"zebra "}
    for name, head in heads.items():
        with (tmp_path / name).open("wb") as file:
            file.write(head)
            file.truncate(SIZE_BYTES)  # a hole: read like a file, written in no time
    train = clinappliance(tiny_home.root, "train", "--notes", str(tmp_path))
    refused(train, str(tmp_path), "no note to learn from")
    assert "2 left out: larger than 64 MB without a line end" in train.err
    assert "1 left out: a .txt file larger than 64 MB" in train.err
    tag = clinappliance(tiny_home.root, "tag", str(tmp_path))
    refused(tag, str(tmp_path), "no note to tag", "64 MB")
    labels = clinappliance(tiny_home.root, "train", "--notes", str(tmp_path), "--clip", str(tmp_path / "one.jsonl"))
    refused(labels, "one.jsonl:1", "longer than 64 MB", "one note per line")
    # The line's limit, twice over, beside the libraries.
    assert [ended.peak_bytes < 500 * 2**20 for ended in (train, tag, labels)] == [True] * 3


def test_a_note_of_one_character_teaches_nothing_but_can_be_tagged(tiny_home: Home, tmp_path: Path) -> None:
    one = tmp_path / "one.txt"
    one.write_text("x")
    train = clinappliance(tiny_home.root, "train", "--notes", str(one))
    refused(train, "no note to learn from")
    assert "1 left out: too short" in train.err
    tagged = clinappliance(tiny_home.root, "--json", "tag", str(one))
    assert (tagged.code, tagged.err) == (0, "")
    assert json.loads(tagged.out)["n_sentences"] == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"note_id": "1", "text": "The zebra', ("is not JSON", "one JSON object per line")),
        ({"labels": ["Zebra"]}, ("sentence 0", "no list of known labels", "Patient instructions")),
        ({"end": 999}, ("sentence 0", "start and end do not name characters")),
    ],
)
def test_a_wrong_line_of_labels_is_told_by_its_number(
    tiny_home: Home, tmp_path: Path, line: str | dict[str, object], words: tuple[str, ...]
) -> None:
    labels = tmp_path / "labels.jsonl"
    sentence = {"start": 0, "end": 22, "labels": ["Lab"]}
    right = {"note_id": "0", "text": NOTE, "sentences": [sentence]}
    wrong = line if isinstance(line, str) else json.dumps(right | {"note_id": "1", "sentences": [sentence | line]})
    labels.write_text(json.dumps(right) + "\n" + wrong + "\n")
    refused(clinappliance(tiny_home.root, "train", "--notes", str(tmp_path), "--clip", str(labels)), f"{labels}:2", *words)


# --- a training that is interrupted ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interrupted:
    """A training stopped by Ctrl-C, begun again by mistake, and gone on with."""

    home: Home
    stopped: Ended
    again: Ended
    taken_kwh: float
    """By the run that was stopped."""
    resumed: Ended


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, export: Path) -> Interrupted:
    home = Home(tmp_path_factory.mktemp("interrupted") / "home")
    home.init()
    words = ["train", "--notes", str(export), "--size", "mini", "--name", "q", "--steps"]
    command = [*COMMAND, "--home", str(home.root), *words, "100000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while "  step " not in said and (line := process.stderr.readline()):
            said += line
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=60)
    stopped = Ended(process.returncode, out, said + rest, 0)
    again = clinappliance(home.root, *words, "2")
    taken_kwh = json.loads((home.corpora / "q" / "energy.json").read_text())["kwh"]
    return Interrupted(home, stopped, again, taken_kwh, clinappliance(home.root, *words, "2", "--resume"))


def test_ctrl_c_ends_a_training_with_how_to_go_on(interrupted: Interrupted) -> None:
    refused(interrupted.stopped, "stopped after step", "--resume goes on")


def test_a_training_begun_twice_is_refused_with_both_ways_out(interrupted: Interrupted) -> None:
    refused(interrupted.again, "a run of q was interrupted", "--resume", "or remove")


def test_a_resumed_training_finishes(interrupted: Interrupted) -> None:
    assert interrupted.resumed.code == 0, interrupted.resumed.err
    assert "registered q@1 (base)" in interrupted.resumed.out


def test_what_a_resumed_training_took_is_that_of_all_its_runs(interrupted: Interrupted) -> None:
    (base,) = Registry(interrupted.home.models).entries("base")
    assert manifest_of(base).metrics["kwh"] > interrupted.taken_kwh > 0


def test_training_says_that_it_read_latin_1(interrupted: Interrupted) -> None:
    assert "1 kept: not UTF-8, read as Windows-1252" in interrupted.resumed.err
    assert "zèbre" not in interrupted.resumed.err


def test_more_folds_than_patients_are_refused(interrupted: Interrupted, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    sentences = [{"start": 0, "end": 22, "labels": ["Lab"]}]
    labels.write_text("".join(json.dumps({"note_id": str(n), "text": NOTE, "sentences": sentences}) + "\n" for n in range(3)))
    ended = clinappliance(interrupted.home.root, "evaluate", "clip", "--model", "q", "--data", str(labels), "--folds", "5")
    refused(ended, "5 folds of notes from 3 patients", "choose 2 to 3")


def test_ctrl_c_before_anything_is_kept_says_so(tiny_home: Home, export: Path) -> None:
    command = [*COMMAND, "--home", str(tiny_home.root), "train", "--notes", str(export), "--name", "early", *MINI]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=60)
    refused(Ended(process.returncode, out, said + rest, 0), "interrupted", "run it again")


# --- what to tag ----------------------------------------------------------------------------------------------------------


def test_findings_of_a_latin_1_note_are_its_decoded_characters(tiny_home: Home, tmp_path: Path) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes("Température 38°, le zèbre.\r\nRevoir le cardiologue à Pâques. Recheck INR Friday.".encode("latin-1"))
    tagged = clinappliance(tiny_home.root, "--json", "tag", str(file))
    assert tagged.code == 0
    assert tagged.err == f"{file}: 1 kept: not UTF-8, read as Windows-1252\n"
    text = file.read_bytes().decode("latin-1")
    findings = json.loads(tagged.out)["findings"]
    assert findings
    assert [text[f["start"] : f["end"]] for f in findings] == [f["text"] for f in findings]


def test_what_holds_no_note_is_refused_and_the_other_files_are_tagged(tiny_home: Home, tmp_path: Path, note: Path) -> None:
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\x7fELF\x02\x01\x01\0\0zebra" + bytes(range(256)) * 20)
    ended = clinappliance(tiny_home.root, "--json", "tag", str(note), str(binary))
    refused(ended, str(binary), "no note to tag", "binary file", "UTF-8")
    assert json.loads(ended.out)["note"] == "note.txt"
    refused(clinappliance(tiny_home.root, "tag", str(tmp_path / "absent.txt")), "absent.txt", "no such file")
    refused(clinappliance(tiny_home.root, "tag", "-", given=b"zebra \0"), "no note to tag")


# --- homes, models and settings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("tag", "{note}"), ("train", "--notes", "{note}"), ("models", "list"), ("run",), ("serve",)])
def test_a_folder_that_is_no_home_is_told_with_how_to_make_one(tmp_path: Path, note: Path, words: tuple[str, ...]) -> None:
    ended = clinappliance(tmp_path, *(word.format(note=note) for word in words))
    refused(ended, f"{tmp_path} is no appliance home", f"run `clinappliance --home {tmp_path} init`")


def test_an_unknown_model_is_told_with_those_there_are(tiny_home: Home, note: Path) -> None:
    for words in (("tag", str(note), "--model", "other"), ("models", "promote", "other"), ("compile", "other")):
        refused(clinappliance(tiny_home.root, *words), "no clip model other", "tiny@1")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--size", "huge"), "'huge' is not one of 'mini', 'small', 'base', 'large'"),
        (("--budget", "5x"), "'5x' is no time span; write 90s, 15m, 1h30m or 2d"),
        (("--budget", "0s"), "'0s' leaves no time"),
        (("--budget", "5m", "--steps", "3"), "give one of"),
        (("--steps", "0"), "--steps"),
    ],
)
def test_an_option_that_cannot_be_is_wrong_usage(tiny_home: Home, words: tuple[str, ...], told: str) -> None:
    wrong_usage(clinappliance(tiny_home.root, "train", "--notes", ".", *words), told)


def test_a_damaged_bundle_is_named_and_neither_read_nor_promoted(tmp_path: Path, note: Path) -> None:
    home = make_home(tmp_path / "home")
    graph = home.models / "tiny" / "clip" / "1" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    for words in (("tag", str(note)), ("models", "verify", "tiny"), ("models", "promote", "tiny"), ("compile", "tiny")):
        refused(clinappliance(home.root, *words), "tiny/clip/1: model.onnx", "hash", "copy the bundle again")
    assert list(home.repository.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("[mllp]\nprot = 2575\n", ("[mllp] prot: there is no such setting", "port")),
        ("[mllp\nport = 2575\n", ("no valid TOML", "line 1")),
        ('[http]\nport = "zebra"\n', ("[http] port", "integer")),
    ],
)
def test_settings_that_cannot_be_used_are_told_with_file_and_key(tmp_path: Path, settings: str, words: tuple[str, ...]) -> None:
    home = Home(tmp_path / "home")
    home.init()
    home.config.write_text(settings)
    for command in ("run", "serve"):
        refused(clinappliance(home.root, command), str(home.config), *words)


# --- Triton and ports -----------------------------------------------------------------------------------------------------


def test_no_triton_environment_is_told_with_how_to_get_one(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    home.config.write_text(f'[triton]\nenvironment = "{tmp_path}/absent"\n')
    for command in ("run", "serve"):
        refused(clinappliance(home.root, command), f"{tmp_path}/absent", "install.sh")


def test_numpy_2_in_tritons_environment_is_refused_before_it_answers_wrong(tmp_path: Path, triton_environment: Path) -> None:
    home = make_home(tmp_path / "home")
    environment = _with_numpy_2(triton_environment, tmp_path / "triton")
    home.config.write_text(f'[triton]\nenvironment = "{environment}"\n')
    for command in ("run", "serve"):
        refused(clinappliance(home.root, command), str(environment), "has numpy 2.4.0", "install numpy 1.26.4 there")


def _with_numpy_2(real: Path, folder: Path) -> Path:
    """The same environment, by links, but for what it says of its NumPy."""
    (folder / "lib").mkdir(parents=True)
    for entry in real.iterdir():
        if entry.name not in ("lib", "lib64"):
            (folder / entry.name).symlink_to(entry)
    (packages,) = real.glob("lib/python*/site-packages")
    copied = folder / packages.relative_to(real)
    copied.mkdir(parents=True)
    for entry in packages.iterdir():
        if not (entry.name.startswith("numpy-") and entry.suffix == ".dist-info"):
            (copied / entry.name).symlink_to(entry)
    (copied / "numpy-2.4.0.dist-info").mkdir()
    (copied / "numpy-2.4.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.4.0\n")
    return folder


def test_a_port_in_use_is_told_with_the_setting_that_moves_it(tmp_path: Path, triton_environment: Path) -> None:
    cases = (
        ("run", "[mllp] host or port"),
        ("run", "[http] host or port"),
        ("run", "[triton] grpc_port"),
        ("run", "[triton] metrics_port"),
        ("serve", "[triton] grpc_port"),
        ("serve", "[triton] metrics_port"),
    )

    homes = [make_home(tmp_path / str(number)) for number in range(len(cases))]
    # All at once: asked for one after the other, the same port might be given twice.
    free = iter(free_ports(4 * len(cases)))
    ports_of = [dict(zip(("mllp", "http", "grpc_port", "metrics_port"), free, strict=False)) for _ in cases]

    def end(number: int) -> tuple[Ended, int]:
        command, setting = cases[number]
        ports = ports_of[number]
        taken = ports[next(name for name in ports if name in setting)]
        home = homes[number]
        home.config.write_text(
            f"[mllp]\nport = {ports['mllp']}\n[http]\nport = {ports['http']}\n"
            f'[triton]\nenvironment = "{triton_environment}"\n'
            f"grpc_port = {ports['grpc_port']}\nmetrics_port = {ports['metrics_port']}\n"
        )
        with socket.create_server(("127.0.0.1", taken)):
            return clinappliance(home.root, command), taken

    # At the same time: `run` waits a while for the ports of a Triton that was killed with its appliance.
    with ThreadPoolExecutor(len(cases)) as pool:
        for (ended, taken), (_, setting) in zip(pool.map(end, range(len(cases))), cases, strict=True):
            refused(ended, str(taken), "ddress already in use", setting)


# --- a full disk ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["4k", "16k", "100k"])
def test_init_on_a_full_disk_says_so(tmp_path: Path, size: str) -> None:
    empty = Home(tmp_path / "nothing")
    empty.root.mkdir()
    prefix = on_a_disk_of(size, tmp_path / "disk", empty)
    line = refused(clinappliance(tmp_path / "disk" / "appliance", "init", prefix=prefix), str(tmp_path / "disk"))
    assert "No space left" in line or "disk" in line


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("1M", ("checkpoint of step 2", "free disk space", "--resume")),
        ("16M", ("trained weights", "free disk space", "--resume")),
        ("22M", ("cannot write", "No space left on device", "free space")),
    ],
)
def test_training_on_a_full_disk_says_what_could_not_be_written(
    tmp_path: Path, export: Path, size: str, words: tuple[str, ...]
) -> None:
    home = Home(tmp_path / "home")
    home.init()
    prefix = on_a_disk_of(size, tmp_path / "disk", home)
    refused(clinappliance(tmp_path / "disk" / "home", "train", "--notes", str(export), *MINI, prefix=prefix), *words)


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[tuple[Appliance, Sender]]:
    """A running appliance whose disk holds few messages, and a sender."""
    appliance = Appliance(make_home(tmp_path / "home"), None)
    prefix = on_a_disk_of("1M", tmp_path / "disk", appliance.home)
    command = [*prefix, *COMMAND, "--home", str(tmp_path / "disk" / "home"), "run"]
    with ExitStack() as stack:
        log = stack.enter_context((appliance.home.logs / "run.log").open("ab"))
        appliance.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        stack.callback(lambda: appliance.stop(signal.SIGKILL))
        sender = Sender(appliance.mllp_port)
        stack.callback(sender.close)
        eventually(lambda: appliance.not_ready() == ["disk_low"], 30, appliance.said)
        yield appliance, sender


def test_on_a_full_disk_no_message_is_acknowledged_that_is_not_kept(cramped: tuple[Appliance, Sender]) -> None:
    appliance, sender = cramped
    # A note of one character, to begin with: it is kept and read like any other.
    answers = [hl7v2.acknowledged(sender.send(discharge_summary("ONE", "x")))]
    read = 'clinappliance_messages_ended_total{outcome="read"} 1.0'
    eventually(lambda: read in httpx.get(f"http://127.0.0.1:{appliance.http_port}/metrics").text, 30, appliance.said)
    text = "The zebra gallops. Follow up with cardiology. " * 500
    while answers[-1][0] == "AA":
        answers.append(hl7v2.acknowledged(sender.send(discharge_summary(f"F{len(answers)}", text))))
        assert len(answers) < 200, "the disk was to be full by now"
    assert answers[0] == ("AA", "ONE")
    assert [hl7v2.acknowledged(sender.send(discharge_summary(f"G{n}", text)))[0] for n in range(3)] == ["AE"] * 3
    assert appliance.not_ready() == ["disk_low"]
    assert appliance.stop() == 0
    said = appliance.said()
    assert "the disk is full; free space, nothing that was acknowledged is lost" in said
    assert [word for word in ("Traceback", "internal error", "zebra", "TESTPATIENT") if word in said] == []
