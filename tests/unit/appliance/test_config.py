"""appliance.toml: what it may say, and what is said about what it may not."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from appliance.config import AppConfig, ConfigError, default_toml, load, parse
from appliance.home import Home
from integrations.transports.mllp_client import Hl7OutConfig


def settings(section: str) -> BaseModel:
    """The defaults of a section; of HL7 v2 out, which has a section per system, those of one."""
    found: BaseModel = Hl7OutConfig(host="ris.hospital.example") if section == "hl7_out" else getattr(AppConfig(), section)
    return found


def test_the_file_that_init_writes_says_what_holds_without_it() -> None:
    assert parse(default_toml()) == AppConfig() == parse("")


def test_the_file_that_init_writes_teaches_every_setting_and_only_those_there_are() -> None:
    told: dict[str, set[str]] = {}
    section = ""
    for line in default_toml().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            told[section] = set()
        elif line.startswith("# ") and " = " in line and line[2:].split(" = ")[0].isidentifier():
            told[section].add(line[2:].split(" = ")[0])
    models: dict[str, Any] = {name: settings(name) for name in AppConfig.model_fields}
    assert told == {name: set(type(model).model_fields) for name, model in models.items()}


def test_the_defaults_that_the_file_shows_are_the_defaults() -> None:
    examples = {"environment", "compare_tokenizer", "url", "threads", "document_types", "columns", "path", "by_study"}
    examples |= {"token_file", "client_id", "key_file", "key_id", "notification_secret_file"}
    examples |= {"allow", "certificate", "key", "ca", "client_ca"}
    lines = [line.removeprefix("# ") for line in default_toml().splitlines()]
    said = [line for line in lines if line.startswith("[") or (" = " in line and line.split(" = ")[0].isidentifier())]
    shown = tomllib.loads("\n".join(line for line in said if line.split(" = ")[0] not in examples))
    for section, values in shown.items():
        model, values = settings(section), values.get("ris", values)
        assert {key: getattr(model, key) for key in values} == values


@pytest.mark.parametrize("section", AppConfig.model_fields)
def test_the_examples_in_the_file_can_be_used_as_they_stand(section: str) -> None:
    text = default_toml().split(f"[{section}]\n")[1].split("\n[")[0]
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    header = "[hl7_out.ris]" if section == "hl7_out" else f"[{section}]"
    assert parse("\n".join([header, *(line for line in lines if " = " in line and line.split(" = ")[0].isidentifier())]))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[mllp]\nprot = 2575", r"\[mllp\] prot: there is no such setting; there are: host, port,"),
        ("[mlpl]\nport = 2575", r"\[mlpl\]: there is no such setting; there are: mllp, fhir,"),
        ("[mllp]\nport = 70000", r"\[mllp\] port: Input should be less than or equal to 65535"),
        ("[training]\nschedule = 'linear'", r"\[training\] schedule: Input should be 'cosine' or 'inverse_square_root'"),
        ("[worker]\nengine = 'gpu'", r"\[worker\] engine: Input should be 'triton' or 'local'"),
        ("[routing.document_types]\nDS = 'letter'", r"\[routing.document_types\] DS: Input should be 'discharge_summary', "),
        ("[routing]\ntasks = {}", r"\[routing\] tasks: Dictionary should have at least 1 item"),
        (
            "[routing.tasks]\nradiology_report = 'mednli'",
            r"\[routing.tasks\] radiology_report: Input should be 'clip' or 'radqa'",
        ),
        ("[triton]\nhost = '0.0.0.0'", r"\[triton\] host: .*loopback"),
        ("[database]\nurl = 'mysql://db/x'", r"\[database\] url: must begin with postgresql://$"),
        (
            "[database]\nurl = 'postgresql://u:opensesame@db/x'",
            r"\[database\] url: must hold no password; .*passfile=/PATH/TO/IT$",
        ),
        (
            "[database]\nurl = 'postgresql://db/x?password=opensesame'",
            r"\[database\] url: must hold no password; [^=]*=/PATH/TO/IT$",
        ),
        ("[hl7_out.ris]\nprot = 1", r"\[hl7_out.ris\] host: Field required; \[hl7_out.ris\] prot: .* there are: host, port,"),
        ("[hl7_out.fhir]\nhost = 'x'", r"\[hl7_out\]: .*give this system another name"),
        ("[hl7_out.ris]\nhost = 'x'\ntls = false\nca = '/ca.pem'", r"\[hl7_out\] ris: .*set tls = true"),
        ("[hl7_out.'The RIS']\nhost = 'x'", r"\[hl7_out.The RIS\] \[key\]: String should match pattern"),
        ("[mllp\nport = 1", r"no valid TOML: .*line 1"),
        ("[mllp]\nport = 'x'\n[http]\nport = -1", r"\[mllp\] port: .*; \[http\] port: "),
    ],
)
def test_a_fault_names_its_key_and_what_is_allowed(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse(text)


def test_a_fault_never_repeats_a_value_which_may_be_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("[fhir]\nurl = 'swordfish'\n[worker]\nlease_s = 'swordfish'")
    assert "swordfish" not in str(caught.value)


def test_a_fault_in_a_file_names_the_file(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(ConfigError, match=r"appliance\.toml: cannot be read \(No such file or directory\)"):
        load(home)
    home.config.write_bytes(b"[mllp]\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"appliance\.toml: byte 12 is not UTF-8"):
        load(home)
    home.config.write_text("[mllp]\nprot = 1")
    with pytest.raises(ConfigError, match=r"appliance\.toml: \[mllp\] prot"):
        load(home)


def test_every_setting_that_names_a_certificate_of_ours_is_known() -> None:
    text = """
    [mllp]
    certificate = "/etc/ssl/box.pem"
    [hl7_out.ris]
    host = "ris"
    certificate = "/etc/ssl/us.pem"
    [hl7_out.pas]
    host = "pas"
    """
    assert parse(text).certificates == {
        "[mllp] certificate": Path("/etc/ssl/box.pem"),
        "[hl7_out.ris] certificate": Path("/etc/ssl/us.pem"),
    }
    assert parse("").certificates == {}
