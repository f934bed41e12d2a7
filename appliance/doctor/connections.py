"""What reaches the appliance and what it reaches: ports, certificates, servers, the drop folder."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing

from appliance import lock
from appliance.config import AppConfig
from appliance.doctor.check import Check
from appliance.home import Home
from appliance.metrics import end_of
from integrations.transports import TransportError, access
from integrations.transports.mllp import MllpConfig

ASK_S = 5.0
CERTIFICATE_WARNING_S = 30 * 86400


def ports(home: Home, config: AppConfig) -> Iterator[Check]:
    """The addresses that `run` listens on: free, or held by the appliance itself."""
    wanted = [("[mllp] port", config.mllp.host, config.mllp.port), ("[http] port", config.http.host, config.http.port)]
    if config.worker.engine == "triton":
        wanted.append(("[triton] grpc_port", config.triton.host, config.triton.grpc_port))
        wanted.append(("[triton] metrics_port", config.triton.host, config.triton.metrics_port))
    if pid := lock.holder(home.lock):
        yield Check("ports", "ok", f"in use by the appliance itself, process {pid}")
        return
    for setting, host, port in wanted:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            yield Check(f"port {port}", "fail", f"{error.strerror} on {host}", f"stop what uses it, or change {setting}")
        else:
            yield Check(f"port {port}", "ok", f"free on {host} for {setting}")


def encryption(config: MllpConfig) -> Check:
    """How messages come to the appliance, and whether its certificate can be used."""
    if config.certificate is None:
        if config.is_exposed:
            advice = "set [mllp] certificate and key, or keep to loopback or a closed network"
            return Check("mllp", "warn", f"messages come unencrypted to {config.host}", advice)
        return Check("mllp", "ok", f"unencrypted, on {config.host} only")
    try:
        access.server_context(config.certificate, config.key, config.client_ca)
    except TransportError as error:
        return Check("mllp", "fail", str(error), "see what the line says")
    return Check("mllp", "ok", "encrypted" + (", senders show a certificate" if config.client_ca else ""))


def fhir(config: AppConfig) -> Check:
    """The FHIR server, asked for its CapabilityStatement, and how findings will go there."""
    if config.fhir.url is None:
        where = f"findings go to {', '.join(config.hl7_out)}" if config.hl7_out else "findings stay here"
        return Check("fhir", "ok", f"no server is set; {where}")
    from integrations.transports import Retry
    from integrations.transports.fhir_capability import Form, ask, choose

    # A password may stand in the address; it is used, and not shown.
    base = config.fhir.url
    shown = f"{base.scheme}://{base.host}:{base.port}{base.path or ''}".rstrip("/")
    advice = "see that the server runs and [fhir] url is its base address"
    try:
        found = ask(config.fhir, ASK_S)
    except Retry as error:
        return Check("fhir", "fail", f"{shown}/metadata: {error}", advice)
    form, why = choose(config.fhir.output, found)
    told = f"findings go there as {'transactions' if form is Form.TRANSACTION else 'summaries (DocumentReference)'}: {why}"
    if found is None:
        return Check("fhir", "warn", f"{shown}/metadata answers, with no CapabilityStatement; {told}", advice)
    if form is Form.TRANSACTION and "may refuse" in why:
        return Check("fhir", "warn", f"{shown} answers; {told}", "ask the server's people for one of them, or set [hl7_out]")
    return Check("fhir", "ok", f"{shown} answers; {told}")


def fhir_source(config: AppConfig) -> Iterator[Check]:
    """The FHIR server that documents are read from: how many it has is asked for, none of them."""
    from appliance.intake import fhir_server
    from integrations.transports import Refused, Retry

    advice = "see that the server runs, and what [fhir_source] url and [fhir_auth] say"
    try:
        server = fhir_server(config)
    except TransportError as error:
        yield Check("fhir_source", "fail", str(error), advice)
        return
    if server is None:
        return
    with closing(server):
        for kind in config.fhir_source.resource_types:
            try:
                server.page(f"{server.base}/{kind}", {"_summary": "count"})
            except (Retry, Refused) as error:
                yield Check(f"fhir_source {kind}", "fail", str(error), advice)
            else:
                yield Check(f"fhir_source {kind}", "ok", "can be searched for")


def dropped(config: AppConfig) -> Iterator[Check]:
    """The drop folder, where one is set."""
    path = config.folder.path
    if path is None:
        return
    if not path.is_dir():
        yield Check("folder", "fail", f"{path} is no folder", "make it, or correct [folder] path")
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Check("folder", "fail", f"{path} cannot be read and written", "give the appliance's user the right to")
    else:
        left = sum(1 for _ in path.glob("failed/*"))
        found = f"{path} can be read and written" + (f"; {left} files in failed/" if left else "")
        yield Check("folder", "ok", found)


def certificates(config: AppConfig) -> Iterator[Check]:
    """Our own, and how long they last."""
    for setting, path in config.certificates.items():
        left_s = end_of(path) - time.time()
        name, advice = f"certificate {setting}", "ask the site's authority for a new one, put it in its place, and restart"
        if left_s < -time.time() / 2:
            yield Check(name, "fail", f"{path} cannot be read", f"correct {setting}")
        elif left_s < 0:
            yield Check(name, "fail", f"{path} ended {-left_s / 86400:.0f} days ago", advice)
        elif left_s < CERTIFICATE_WARNING_S:
            yield Check(name, "warn", f"{path} ends in {left_s / 86400:.0f} days", advice)
        else:
            yield Check(name, "ok", f"{path} lasts for {left_s / 86400:.0f} days")


def hl7_out(config: AppConfig) -> Iterator[Check]:
    """The systems that are told by HL7 v2: whether each takes a connection."""
    from integrations.transports import TransportError
    from integrations.transports.mllp_client import MllpClient

    for name, system in config.hl7_out.items():
        where = f"{system.host}:{system.port}"
        try:
            with MllpClient(system.host, system.port, ASK_S, system.context()) as client:
                client.connect()
        except TransportError as error:
            yield Check(f"hl7_out {name}", "fail", str(error), f"see that it listens, and what [hl7_out.{name}] says of TLS")
        else:
            yield Check(f"hl7_out {name}", "ok", f"{where} takes connections; it is told by {system.message}")
