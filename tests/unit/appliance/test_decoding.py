"""Each format finds its codec."""

import json
from datetime import UTC, datetime

import pytest

from appliance.decoding import note_of
from integrations.codecs.hl7v2 import ROUTES
from integrations.mailbox import Format, InboxMessage
from integrations.records import Note, NoteKind

MDM = (
    rb"MSH|^~\&|EHR|WARD|||20260101120000+0000||MDM^T02|1|P|2.5.1"
    b"\rPID|1||123\rTXA|1|DS|TX||||||||||D1\rOBX|1|TX|18842-5||Rest."
    b"\r"
)
DOCUMENT = json.dumps({
    "resourceType": "DocumentReference", "id": "d1", "status": "current", "subject": {"reference": "Patient/1"},
    "type": {"coding": [{"system": "http://loinc.org", "code": "18842-5"}]},
    "content": [{"attachment": {"contentType": "text/plain", "data": "UmVzdC4="}}],
}).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("body_format", "body", "control_id"),
    [(Format.HL7V2, MDM, "1"), (Format.FHIR, DOCUMENT, "DocumentReference/d1"), (Format.TEXT, b"Rest.", "DS_1_D1.txt")],
)
def test_a_message_of_any_format_is_read_by_its_codec(body_format: Format, body: bytes, control_id: str) -> None:
    message = InboxMessage(1, "https://ehr.example/fhir", control_id, body, datetime.now(UTC), 1, body_format)
    found = note_of(message, ROUTES)
    assert isinstance(found, Note)
    assert (found.text, found.kind) == ("Rest.", NoteKind.DISCHARGE_SUMMARY)
