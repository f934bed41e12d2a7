"""Faults seeded into a sound box: `doctor` names each with what mends it, and finds none where there is none."""

import json
import os
import random
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from appliance import audit
from appliance.doctor import Check, examine, host
from appliance.home import Home
from appliance.publishing import publish
from appliance.registry import Registry
from appliance.storage import Storage
from pretrain import bundle
from tests import tiny_bundle
from tests.appliance_process import free_ports

MODEL = "models/tiny/clip/1"
PUBLISHED = "repository/clip/1"


def certificate(folder: Path, name: str, days: float = 365, began: int = 400) -> None:
    """`NAME.pem` and `NAME.key`, signed by itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box")])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - timedelta(days=began)).not_valid_after(now + timedelta(days=days))
    (folder / f"{name}.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


class Metadata(BaseHTTPRequestHandler):
    """The CapabilityStatement of a server that takes whatever findings need; the FHIR server of the tests has none."""

    def do_GET(self) -> None:
        resources = [
            {"type": kind, "interaction": [{"code": "create"}]} for kind in ("Device", "Task", "Observation", "Provenance")
        ]
        rest = [{"mode": "server", "interaction": [{"code": "transaction"}], "resource": resources}]
        body = json.dumps({"resourceType": "CapabilityStatement", "rest": rest}).encode()
        self.send_response(200 if self.path == "/fhir/metadata" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Box:
    """An appliance's home, and what it is connected to."""

    def __init__(self, root: Path, settings: dict[str, dict[str, object]]) -> None:
        self.root, self.home, self.settings = root, Home(root / "home"), settings
        self.taken: socket.socket | None = None

    def set(self, section: str, **values: object) -> None:
        """Change settings; None takes one away."""
        kept = self.settings.get(section, {}) | values
        self.settings = self.settings | {section: {name: value for name, value in kept.items() if value is not None}}
        lines = [
            f"[{name}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in its.items())
            for name, its in self.settings.items()
        ]
        self.home.config.write_text("\n".join(lines) + "\n")

    def path(self, name: str) -> Path:
        return self.home.root / name

    def flip(self, name: str) -> None:
        """One bit of a file."""
        body = bytearray(self.path(name).read_bytes())
        body[len(body) // 2] ^= 1
        self.path(name).write_bytes(body)

    def checks(self) -> list[Check]:
        return list(examine(self.home))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, fhir_server: str) -> Iterator[Box]:
    with ExitStack() as stack:
        root = tmp_path_factory.mktemp("sound")
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Metadata))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        destination = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        certificate(root, "ours")
        certificate(root, "other")
        certificate(root, "ending", days=10)
        certificate(root, "ended", days=-3)
        (root / "drop").mkdir()
        box = Box(root, {})
        box.home.init()
        mllp, http, *_ = free_ports(2)
        box.set("worker", engine="local")
        box.set("mllp", port=mllp, certificate=f"{root}/ours.pem", key=f"{root}/ours.key", client_ca=f"{root}/other.pem")
        box.set("http", port=http)
        box.set("fhir", url=f"http://127.0.0.1:{server.server_port}/fhir")
        box.set("fhir_source", url=fhir_server)
        box.set("folder", path=f"{root}/drop")
        box.set("hl7_out.ris", host="127.0.0.1", port=destination.getsockname()[1], tls=False)
        registry = Registry(box.home.models)
        for task in ("clip", "radqa"):
            tiny_bundle.write(box.home.models / "tiny" / task / "1", task=task)
            registry.promote(registry.find("tiny@1", task))
            publish(box.home, registry.find("tiny@1", task), "onnxruntime", ())
        with closing(Storage(box.home.database)) as storage:
            for number in range(200):
                storage.inbox.put("ward", str(number), os.urandom(3000))
        for number in range(3):
            audit.record(box.home, "messages show", f"message {number}")
        box.home.proved_backup.write_text(json.dumps({"made_at": "today", "verified_at_s": time.time()}))
        yield box


@pytest.fixture
def box(sound: Box, tmp_path: Path) -> Iterator[Box]:
    """A copy to be broken."""
    root = tmp_path / "box"
    shutil.copytree(sound.root, root)
    copy = Box(root, {})
    for section, values in sound.settings.items():
        copy.set(
            section,
            **{name: str(v).replace(str(sound.root), str(root)) if isinstance(v, str) else v for name, v in values.items()},
        )
    yield copy
    if copy.taken:
        copy.taken.close()


def listening(box: Box, section: str) -> None:
    """Another program has the port."""
    box.taken = socket.create_server(("127.0.0.1", 0))
    box.set(section, port=box.taken.getsockname()[1])


def sql(box: Box, statement: str) -> None:
    with closing(sqlite3.connect(box.home.database)) as database:
        database.execute(statement)
        database.commit()


def scrambled(box: Box) -> None:
    """The middle of the database's file, as a bad disk gives it back."""
    with closing(sqlite3.connect(box.home.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    body = bytearray(box.home.database.read_bytes())
    middle = len(body) // 2
    body[middle : middle + 8192] = random.Random(0).randbytes(8192)
    box.home.database.write_bytes(body)


def edited(box: Box, change: Callable[[list[bytes]], list[bytes]]) -> None:
    box.home.audit.write_bytes(b"".join(change(box.home.audit.read_bytes().splitlines(keepends=True))))


def rewritten(box: Box, name: str, **fields: object) -> None:
    path = box.path(name)
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def closed_port() -> int:
    return free_ports(1)[0]


# What is done to the box, the check that must name it, and words of what mends it.
FAULTS: dict[str, tuple[Callable[[Box], object], str, str]] = {
    "the home is open to others": (lambda b: b.home.root.chmod(0o755), "home", "chmod 700"),
    "the home is open to its group": (lambda b: b.home.root.chmod(0o750), "home", "chmod 700"),
    "the settings are gone": (lambda b: b.home.config.unlink(), "home", "init"),
    "the key of groups is gone": (lambda b: b.home.group_key.unlink(), "home", "init"),
    "a key is open to others": (lambda b: b.home.group_key.chmod(0o644), "keys", "chmod 600"),
    "a key was cut short": (lambda b: b.home.group_key.write_bytes(b"short"), "keys", "from a backup"),
    "the audit's key was emptied": (lambda b: b.path("keys/audit.key").write_bytes(b""), "keys", "from a backup"),
    "the settings are no TOML": (lambda b: b.home.config.write_text("[mllp\n"), "settings", "correct"),
    "the settings are not UTF-8": (lambda b: b.home.config.write_bytes(b"# caf\xe9\n"), "settings", "correct"),
    "a setting is misspelt": (lambda b: b.set("mllp", prot=2575), "settings", "correct"),
    "a section is misspelt": (lambda b: b.set("mlpp", port=2575), "settings", "correct"),
    "a port is a word": (lambda b: b.set("mllp", port="hl7"), "settings", "correct"),
    "a port is out of range": (lambda b: b.set("http", port=99999), "settings", "correct"),
    "a network is none": (lambda b: b.set("mllp", allow=["ward-7"]), "settings", "correct"),
    "an address of FHIR is none": (lambda b: b.set("fhir", url="the server"), "settings", "correct"),
    "a key stands without its certificate": (lambda b: b.set("mllp", certificate=None), "settings", "correct"),
    "a task reads what there is not": (lambda b: b.set("routing", tasks={"x": "y"}), "settings", "correct"),
    "a password stands in the database's address": (
        lambda b: b.set("database", url="postgresql://u:p@h/d"),
        "settings",
        "correct",
    ),
    "an interval is negative": (lambda b: b.set("fhir_source", interval_s=-1), "settings", "correct"),
    "the database is none": (lambda b: b.home.database.write_bytes(b"x" * 5000), "database", "line"),
    "the database is damaged": (scrambled, "database", "restore"),
    "the database is of a newer release": (
        lambda b: sql(b, "UPDATE alembic_version SET version_num = '9999'"),
        "database",
        "line",
    ),
    "the database's server is away": (
        lambda b: b.set("database", url=f"postgresql://u@127.0.0.1:{closed_port()}/d"),
        "database",
        "line",
    ),
    "a line of the audit was changed": (
        lambda b: edited(b, lambda lines: [lines[0].replace(b"message 0", b"message 9"), *lines[1:]]),
        "audit",
        "tell",
    ),
    "a line of the audit was taken out": (lambda b: edited(b, lambda lines: [lines[0], *lines[2:]]), "audit", "tell"),
    "the first line of the audit is gone": (lambda b: edited(b, lambda lines: lines[1:]), "audit", "tell"),
    "lines of the audit were swapped": (lambda b: edited(b, lambda lines: [lines[1], lines[0], *lines[2:]]), "audit", "tell"),
    "the audit is no audit": (lambda b: b.home.audit.write_text("nothing happened\n"), "audit", "tell"),
    "the audit's key is another one": (lambda b: b.path("keys/audit.key").write_bytes(os.urandom(32)), "audit", "tell"),
    "no model is promoted": (lambda b: b.path("models/promoted.json").unlink(), "model clip", "promote"),
    "the promoted model is gone": (lambda b: shutil.rmtree(b.path(MODEL)), "model clip", "promote"),
    "a bit of the weights has flipped": (lambda b: b.flip(f"{MODEL}/model.onnx"), "model clip", "copy the model again"),
    "a bit of the tokenizer has flipped": (lambda b: b.flip(f"{MODEL}/{bundle.TOKENIZER}"), "model clip", "copy the model again"),
    "a bit of the manifest has flipped": (lambda b: b.flip(f"{MODEL}/manifest.json"), "model clip", "copy the model again"),
    "the model's card is gone": (lambda b: next(b.path(MODEL).glob("*card*")).unlink(), "model clip", "copy the model again"),
    "what is promoted is no JSON": (lambda b: b.path("models/promoted.json").write_text("{"), "model clip", "promote"),
    "a bit of what is published has flipped": (lambda b: b.flip(f"{PUBLISHED}/model.onnx"), "published clip/1", "compile"),
    "what is published was compiled by another release": (
        lambda b: b.path(f"{PUBLISHED}/artifact.json").write_text('{"format": 99}\n'),
        "published clip/1",
        "compile",
    ),
    "a file of what is published is gone": (lambda b: b.path(f"{PUBLISHED}/golden.npz").unlink(), "published clip/1", "compile"),
    "what is published is not described": (
        lambda b: b.path(f"{PUBLISHED}/artifact.json").write_text("{}"),
        "published clip/1",
        "compile",
    ),
    "no backup was ever proved": (lambda b: b.home.proved_backup.unlink(), "backup", "backup create"),
    "the last backup is a week old": (
        lambda b: rewritten(b, "backup.json", verified_at_s=time.time() - 7 * 86400),
        "backup",
        "backup verify",
    ),
    "Triton's environment is away": (
        lambda b: b.set("worker", engine="triton") or b.set("triton", environment=str(b.root)),
        "triton",
        "install.sh",
    ),
    "another program has the port for HL7": (lambda b: listening(b, "mllp"), "port", "[mllp] port"),
    "another program has the port for HTTP": (lambda b: listening(b, "http"), "port", "[http] port"),
    "messages come unencrypted over a network": (
        lambda b: b.set("mllp", host="0.0.0.0", certificate=None, key=None, client_ca=None),
        "mllp",
        "certificate",
    ),
    "the certificate is gone": (lambda b: (b.root / "ours.pem").unlink(), "certificate [mllp] certificate", "correct"),
    "the certificate is none": (lambda b: (b.root / "ours.pem").write_text("x"), "mllp", "line"),
    "the key is another certificate's": (lambda b: b.set("mllp", key=f"{b.root}/other.key"), "mllp", "line"),
    "the senders' authority is none": (lambda b: (b.root / "other.pem").write_text("x"), "mllp", "line"),
    "the certificate has ended": (
        lambda b: b.set("mllp", certificate=f"{b.root}/ended.pem", key=f"{b.root}/ended.key"),
        "certificate [mllp] certificate",
        "authority",
    ),
    "the certificate ends soon": (
        lambda b: b.set("mllp", certificate=f"{b.root}/ending.pem", key=f"{b.root}/ending.key"),
        "certificate [mllp] certificate",
        "authority",
    ),
    "the FHIR server is away": (lambda b: b.set("fhir", url=f"http://127.0.0.1:{closed_port()}/fhir"), "fhir", "[fhir] url"),
    "the FHIR address is not a server's base": (
        lambda b: b.set("fhir", url=f"{b.settings['fhir']['url']}/nothing"),
        "fhir",
        "[fhir] url",
    ),
    "the FHIR server that is read from is away": (
        lambda b: b.set("fhir_source", url=f"http://127.0.0.1:{closed_port()}/fhir"),
        "fhir_source DocumentReference",
        "[fhir_source] url",
    ),
    "the secret to log in with is gone": (
        lambda b: b.set("fhir_auth", token_file=f"{b.root}/gone"),
        "fhir_source",
        "[fhir_auth]",
    ),
    "a system that is told by HL7 is away": (lambda b: b.set("hl7_out.ris", port=closed_port()), "hl7_out ris", "listens"),
    "a system that is told by HL7 speaks no TLS": (
        lambda b: b.set("hl7_out.ris", tls=True, ca=f"{b.root}/gone.pem"),
        "hl7_out ris",
        "TLS",
    ),
    "the drop folder is gone": (lambda b: (b.root / "drop").rmdir(), "folder", "make it"),
    "the drop folder is a file": (lambda b: b.set("folder", path=f"{b.root}/ours.pem"), "folder", "[folder] path"),
}


def test_nothing_is_found_on_a_sound_box(sound: Box) -> None:
    # The host's own size is not the box's doing.
    found = [check for check in sound.checks() if check.name not in ("disk", "memory", "cpu")]
    assert [check for check in found if check.outcome != "ok"] == []
    assert len(found) >= 15


def test_fifty_faults_are_tried() -> None:
    assert len(FAULTS) >= 50


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_what_mends_it(fault: str, box: Box) -> None:
    break_it, name, mends = FAULTS[fault]
    break_it(box)
    found = [check for check in box.checks() if check.outcome != "ok" and check.name not in ("disk", "memory", "cpu")]
    named = [check for check in found if check.name.startswith(name)]
    assert named, found
    assert mends in " ".join(check.advice for check in named), named
    assert all(check.advice for check in found)


def test_the_hosts_own_faults_are_named(tmp_path: Path) -> None:
    assert host.python((3, 9, 2)).outcome == "fail"
    assert host.disk(tmp_path, least_bytes=1 << 60).outcome == "fail"
    assert host.memory(least_bytes=1 << 60).outcome == "fail"
    (tmp_path / "cpuinfo").write_text("flags : fpu sse4_2\n")
    assert host.cpu(tmp_path / "cpuinfo").outcome == "warn"
