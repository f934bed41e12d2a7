"""FHIR REST: one delivery to the hospital's server, whether it is a transaction made beforehand or a withdrawal.

A withdrawal looks at each resource first and changes only the version that it saw (`If-Match`).
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from integrations.codecs import CodecError, fhir, fhir_withdrawal
from integrations.transports import Refused, Retry, fhir_rest
from integrations.transports.fhir_rest import FhirConfig

_CHANGED_MEANWHILE = 412


def deliver(config: FhirConfig, body: bytes, server: httpx.Client | None = None) -> None:
    """Send what the outbox holds for a FHIR server, over `server` where one is open.

    Raises:
        Retry, Refused: as `fhir_rest.post` does; Retry, too, where somebody changed a resource in between.
    """
    content = json.loads(body)
    if "withdraw" in content:
        withdraw(config, content, server)
    elif content["resourceType"] == "Bundle":
        fhir_rest.post(config, body, server)
    else:
        fhir_rest.create(config, content, server)


def withdraw(config: FhirConfig, order: Mapping[str, Any], server: httpx.Client | None = None) -> None:
    """Carry out an order of `fhir_withdrawal.order`. What is done already, or was never there, is passed over."""
    for number, what in enumerate(order["withdraw"]):
        named = {"identifier": f"{fhir.FINDING_ID}|{what['identifier']}"}
        for resource in fhir_rest.search(config, what["type"], named, server):
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            try:
                bundle = fhir_withdrawal.transaction(order, number, resource, now)
                if bundle:
                    fhir_rest.post(config, bundle, server)
            except CodecError as error:
                raise Refused(str(error)) from None
            except Refused as error:
                if error.status == _CHANGED_MEANWHILE:
                    raise Retry("somebody changed a resource while it was being withdrawn", is_about_message=True) from None
                raise
