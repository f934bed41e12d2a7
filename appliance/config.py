"""`appliance.toml`: one section per part, each checked by the part it steers; unknown keys are refused."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from appliance.database import DatabaseConfig
from appliance.home import Home
from appliance.questions import QuestionsConfig
from appliance.routing import RoutingConfig
from appliance.training.settings import TrainingConfig
from appliance.web.config import HttpConfig
from appliance.worker import WorkerConfig
from integrations.ehr_export import ExportConfig
from integrations.transports.fhir_rest import FhirConfig
from integrations.transports.fhir_source import FhirSourceConfig
from integrations.transports.folder import FolderConfig
from integrations.transports.mllp import MllpConfig
from integrations.transports.mllp_client import Hl7OutConfig
from integrations.transports.smart_backend import FhirAuthConfig
from serving.server import TritonConfig


class ConfigError(RuntimeError):
    """`appliance.toml` cannot be used; the message names the key and what is allowed."""


class AppConfig(BaseModel):
    """All settings of one appliance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mllp: MllpConfig = Field(default_factory=MllpConfig)
    fhir: FhirConfig = Field(default_factory=FhirConfig)
    fhir_source: FhirSourceConfig = Field(default_factory=FhirSourceConfig)
    fhir_auth: FhirAuthConfig = Field(default_factory=FhirAuthConfig)
    folder: FolderConfig = Field(default_factory=FolderConfig)
    hl7_out: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,30}$")], Hl7OutConfig] = Field(
        default_factory=dict
    )
    """By the name that queues, logs and metrics call each by."""
    triton: TritonConfig = Field(default_factory=TritonConfig)
    http: HttpConfig = Field(default_factory=HttpConfig)
    routing: RoutingConfig = Field(default_factory=RoutingConfig)
    questions: QuestionsConfig = Field(default_factory=QuestionsConfig)
    worker: WorkerConfig = Field(default_factory=WorkerConfig)
    database: DatabaseConfig = Field(default_factory=DatabaseConfig)
    export: ExportConfig = Field(default_factory=ExportConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)

    @field_validator("hl7_out")
    @classmethod
    def _is_not_the_fhir_server(cls, systems: dict[str, Hl7OutConfig]) -> dict[str, Hl7OutConfig]:
        if "fhir" in systems:
            raise ValueError('"fhir" is the FHIR server; give this system another name')
        return systems

    @property
    def certificates(self) -> dict[str, Path]:
        """The files with our own certificates, by the setting that names each."""
        named = {"[mllp] certificate": self.mllp.certificate}
        named |= {f"[hl7_out.{name}] certificate": system.certificate for name, system in self.hl7_out.items()}
        return {setting: path for setting, path in named.items() if path}


def load(home: Home) -> AppConfig:
    """The settings of `home`.

    Raises:
        ConfigError: the file is missing, is no TOML, or says something that is not allowed.
    """
    path = home.config
    try:
        return parse(path.read_text(encoding="utf-8"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); `clinappliance init` writes one") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def parse(text: str) -> AppConfig:
    """Settings from TOML.

    Raises:
        ConfigError: naming every key at fault; never its value, which may be a secret.
    """
    try:
        return AppConfig.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"no valid TOML: {error}") from error
    except ValidationError as error:
        faults = [_fault(fault) for fault in error.errors(include_input=False, include_url=False)]
        raise ConfigError("; ".join(faults)) from error


def _fault(fault: Any) -> str:
    *section, key = (str(part) for part in fault["loc"])
    name = f"[{'.'.join(section)}] {key}" if section else f"[{key}]"
    if fault["type"] != "extra_forbidden":
        return f"{name}: {fault['msg'].removeprefix('Value error, ')}"
    model: Any = AppConfig
    for part in section:
        # A name that the site has given is no field of ours.
        model = _section(model, part) if part in model.model_fields else model
    return f"{name}: there is no such setting; there are: {', '.join(model.model_fields)}"


def _section(model: type[BaseModel], name: str) -> type[BaseModel]:
    """The model of a section, whether or not it may be left out."""
    annotation: Any = model.model_fields[name].annotation
    choices = [annotation, *getattr(annotation, "__args__", ())]
    return next(a for a in choices if isinstance(a, type) and issubclass(a, BaseModel))


def default_toml() -> str:
    """The file that `init` writes: every setting with its default, commented out, and what it means."""
    return _TOML


_TOML = """\
# Settings of the clinappliance. Every setting stands here with its default, commented out: take the '#' away to change
# it, then restart the appliance. `clinappliance doctor` says whether the file can be read and whether it will work.

[mllp]
# Where HL7 v2 messages are taken. Without a certificate they are not encrypted: keep this on loopback or a closed network.
# host = "127.0.0.1"
# port = 2575
# A longer message is answered with AR and its connection closed.
# max_message_bytes = 33554432
# Seconds between the first and the last byte of a message, and that a connection may stay open without one.
# message_timeout_s = 60
# idle_timeout_s = 3600
# max_connections = 2000
# Networks whose hosts may connect; by default all.
# allow = ["10.1.0.0/16"]
# TLS: the listener's certificate (PEM, with those between it and its authority) and its private key, without a password.
# certificate = "/etc/clinappliance/mllp.pem"
# key = "/etc/clinappliance/mllp.key"
# Authorities (PEM): only senders with a certificate of one of them may connect.
# client_ca = "/etc/clinappliance/senders.pem"

[fhir]
# Base address of the FHIR R4 server that findings are delivered to. Without it they stay here: `clinappliance messages show`.
# url = "https://ehr.hospital.example/fhir"
# Seconds to wait for an answer.
# timeout_s = 30
# How findings go there: "transaction", as Tasks and Observations, or "summary", as text in one DocumentReference per note. With
# "auto" the server's CapabilityStatement decides; `clinappliance doctor` says what and why.
# output = "auto"

[fhir_source]
# Base address of the FHIR R4 server that documents are read from, as they are made or changed from the first start on; what is
# older comes with `clinappliance fetch`. Without it, no documents are fetched.
# url = "https://ehr.hospital.example/fhir"
# Which resources: "DocumentReference", "DiagnosticReport", "Composition", "Bundle" (document Bundles).
# resource_types = ["DocumentReference", "DiagnosticReport"]
# Seconds between two searches, and how far each reaches back before the newest document that is known.
# interval_s = 30
# overlap_s = 300
# Documents that are asked for at a time.
# page_size = 50
# Seconds to wait for an answer.
# timeout_s = 30
# A file that holds a secret. With it, a rest-hook Subscription of the server to /fhir/notification of [http], with the header
# "Authorization: Bearer SECRET", starts a search at once. What a notification carries is not read: the search finds it.
# notification_secret_file = "/etc/clinappliance/notification.secret"

[fhir_auth]
# How the appliance logs in to that server, and to the one that findings are delivered to. A file that holds a bearer token:
# token_file = "/etc/clinappliance/fhir.token"
# Or, instead, SMART Backend Services: the name under which the server knows the appliance, its private key (PEM, RSA or
# EC P-384), and the key's `kid` in the key set that the server has.
# client_id = "clinappliance"
# key_file = "/etc/clinappliance/fhir-key.pem"
# key_id = "clinappliance-1"
# What to ask for; "system/*.read system/*.write" where findings are delivered there.
# scope = "system/*.read"

[folder]
# A drop folder for .hl7, .json and .ndjson (FHIR), and for .txt, .rtf and .html called TYPE_PATIENT_DOCUMENT, as
# DS_MRN88_DOC100.txt. Write a file under a name that begins with a dot and rename it. It moves to `done`, or to `failed`.
# path = "/srv/reports"
# The hospital or the system that writes them, whose numbers those in names and resources are.
# sender = "folder"
# How long a file must have been as it is before it is read, and seconds between two looks.
# settle_s = 5
# interval_s = 2

[hl7_out]
# Systems that are told findings as HL7 v2 over MLLP, beside the FHIR server or in its place: a section for each, under a name
# of small letters.
# [hl7_out.ris]
# host = "ris.hospital.example"
# port = 2575
# "ORU", results to the order of the report that was read, or "MDM", a document that belongs to it.
# message = "ORU"
# MSH-5, MSH-6 and MSH-4; MSH-3 is CLINAPPLIANCE.
# receiving_application = ""
# receiving_facility = ""
# sending_facility = ""
# Whether the connection is encrypted; without, keep it on a closed network. `ca` names the certificates (PEM) of the authority
# that signed the system's, where this host does not trust it already, `certificate` and `key` our own, where it asks for one.
# tls = true
# ca = "/etc/clinappliance/ris-ca.pem"
# certificate = "/etc/clinappliance/appliance.pem"
# key = "/etc/clinappliance/appliance.key"
# Seconds to wait for an answer.
# timeout_s = 30

[routing]
# What your own document types mean (TXA-2, OBX-3, OBR-4 or OBR-24), beside the LOINC codes and the types DS and DI, which
# are known. One of "discharge_summary", "radiology_report", "other".
# document_types = { ENTL = "discharge_summary", ROE = "radiology_report" }
# Which task reads which kind: "clip" tags what to follow up, "radqa" answers questions. Others are kept, not read.
# tasks = { discharge_summary = "clip", radiology_report = "radqa" }

[questions]
# What every radiology report is asked. The answer is a stretch of the report's own characters, or that it does not answer.
# always = ["Is there an acute abnormality?", "Is any follow-up imaging recommended?"]
# What it is asked besides, by code of the study (OBR-4, LOINC or your own), the document (OBX-3, TXA-2) or the section (OBR-24).
# by_study = { CTHEAD = ["Is there a hemorrhage?", "Is there a midline shift?"], "RUS" = ["Is there hydronephrosis?"] }
# Whether it is asked what its order was for (OBR-31, OBR-13): "r/o PE" becomes "Is there PE?".
# ask_indication = true

[worker]
# Who runs the model: "triton", the server that `run` starts, or "local", the appliance's own process.
# engine = "triton"
# How long one reading may take before the message is read again, seconds.
# lease_s = 300
# A message during whose reading the appliance stopped this often is parked.
# most_crashes = 5

[database]
# Address of a PostgreSQL database (14 or newer, encoding UTF8) that several hosts share: each runs the appliance on a home of its
# own, with this same line and another host name, and all take and read messages together. Without it everything is kept in
# appliance.db of this home. libpq reads the address, so that its parameters may follow; a password may not stand here: put
# HOST:PORT:DATABASE:USER:PASSWORD into a file for the owner alone (chmod 600). Let the user own the database.
# url = "postgresql://clinappliance@db.hospital.example/clinappliance?passfile=/etc/clinappliance/passfile&sslmode=verify-full"

[triton]
# Triton's own Python environment; by default the one that install.sh made.
# environment = "/opt/clinappliance/.venv/triton"
# A loopback address: Triton has no log-in.
# host = "127.0.0.1"
# grpc_port = 8001
# metrics_port = 8002
# Seconds until it must be ready, or answer again.
# start_timeout_s = 60
# CPU threads of a model; by default all.
# threads = 4

[http]
# Where /livez, /readyz and /metrics are served. They have no log-in.
# host = "127.0.0.1"
# port = 8080

[export]
# What the columns of your own tables are called, where the usual names do not fit. Fields: text, note_id, patient, encounter,
# kind, time.
# columns = { text = "REPORT_BODY", patient = "PAT_NR" }

[training]
# Processes that read and de-identify the export; 0 for one per core.
# workers = 0
# A Ray cluster that does it instead: "auto" or "ray://HOST:10001". It must see the export and this home under the same paths.
# ray_address = ""
# Pieces of a new vocabulary, 2048 to 65536; a small corpus gives fewer.
# vocabulary = 16384
# Whether a new vocabulary tells capitals from small letters.
# cased = true
# A folder with another model's tokenizer.json: the page about a pretraining says how many tokens each makes of your notes.
# compare_tokenizer = "/models/t5-base"
# How pretraining's learning rate falls: "cosine", or "inverse_square_root" as T5's did. Keep it until an interrupted run is done.
# schedule = "cosine"
"""
