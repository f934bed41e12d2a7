"""From a message to its acknowledgement."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import messages
from appliance.receiving import Receiver
from appliance.storage import Storage
from integrations.codecs import hl7v2
from integrations.mailbox import State

MESSAGE = "\r".join(
    [
        r"MSH|^~\&|EHR|WARD|||20260101120000+0000||MDM^T02^MDM_T02|MSG1|P|2.5.1",
        "PID|1||123^^^HOSP^MR||DOE^JANE",
        "TXA|1|18842-5|TX|20260101||||||||D1^HOSP||||||AU",
        "OBX|1|TX|18842-5||See cardiology.||||||F",
        "",
    ]
).encode()


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = Storage(tmp_path / "appliance.db", busy_s=0.05)
    yield opened
    opened.close()


def answer(storage: Storage, body: bytes) -> tuple[str, str]:
    return hl7v2.acknowledged(Receiver(storage, hl7v2.ROUTES)("127.0.0.1:1", body))


def test_a_message_is_kept_and_acknowledged_under_its_senders_name(storage: Storage) -> None:
    assert answer(storage, MESSAGE) == ("AA", "MSG1")
    kept = storage.inbox.claim(60)
    assert kept is not None
    assert (kept.source, kept.control_id, kept.body) == ("EHR|WARD", "MSG1", MESSAGE)


def test_a_repeated_message_is_acknowledged_again_and_kept_once(storage: Storage) -> None:
    assert [answer(storage, MESSAGE), answer(storage, MESSAGE)] == [("AA", "MSG1")] * 2
    assert len(messages.listing(storage)) == 1


def test_whoever_waits_for_messages_is_woken_by_new_ones_only(storage: Storage) -> None:
    woken: list[None] = []
    receiver = Receiver(storage, hl7v2.ROUTES, lambda: woken.append(None))
    for _ in range(2):
        receiver("127.0.0.1:1", MESSAGE)
    assert len(woken) == 1


@pytest.mark.parametrize("body", [b"not HL7 at all", MESSAGE.replace(b"123^^^HOSP^MR", b""), b""])
def test_a_message_that_nobody_can_read_is_kept_parked_and_rejected(storage: Storage, body: bytes) -> None:
    assert answer(storage, body)[0] == "AR"
    (parked,) = messages.listing(storage)
    assert (parked.state, parked.size_bytes) == (State.PARKED, len(body))
    assert parked.reason


def test_a_message_that_was_rejected_and_can_be_read_now_is_taken_up_when_it_is_sent_again(storage: Storage) -> None:
    storage.inbox.put("EHR|WARD", "MSG1", MESSAGE, "an earlier release could not read it")
    woken: list[None] = []
    receiver = Receiver(storage, hl7v2.ROUTES, lambda: woken.append(None))
    assert [hl7v2.acknowledged(receiver("127.0.0.1:1", MESSAGE))[0] for _ in range(2)] == ["AA", "AA"]
    (taken,) = messages.listing(storage)
    assert (taken.state, taken.reason, len(woken)) == (State.WAITING, "", 1)


def test_a_message_that_was_parked_while_it_was_read_stays_parked_when_it_is_sent_again(storage: Storage) -> None:
    answer(storage, MESSAGE)
    claimed = storage.inbox.claim(60)
    assert claimed
    storage.inbox.park(claimed.message_id, "a person has to look at it")
    assert answer(storage, MESSAGE)[0] == "AA"
    assert [m.state for m in messages.listing(storage)] == [State.PARKED]


def test_several_messages_are_kept_in_one_transaction_and_answered_each(storage: Storage) -> None:
    bodies = [MESSAGE, b"not HL7 at all", MESSAGE.replace(b"MSG1", b"MSG2"), MESSAGE]
    answers = Receiver(storage, hl7v2.ROUTES).all([("127.0.0.1:1", body) for body in bodies])
    assert [hl7v2.acknowledged(a) for a in answers] == [("AA", "MSG1"), ("AR", ""), ("AA", "MSG2"), ("AA", "MSG1")]
    assert [m.state for m in messages.listing(storage)] == [State.WAITING, State.PARKED, State.WAITING]


def test_of_several_messages_that_cannot_be_kept_none_is_acknowledged(storage: Storage) -> None:
    bodies = [MESSAGE, MESSAGE.replace(b"MSG1", b"MSG2")]
    with storage.database.write():
        answers = Receiver(storage, hl7v2.ROUTES).all([("127.0.0.1:1", body) for body in bodies])
    assert [hl7v2.acknowledged(a) for a in answers] == [("AE", "MSG1"), ("AE", "MSG2")]
    assert messages.listing(storage) == []


def test_a_scanned_page_is_taken_and_left_to_the_worker(storage: Storage) -> None:
    scan = MESSAGE.replace(b"|TX|18842-5||See cardiology.|", b"|ED|18842-5||^application^pdf^Base64^JVBERi0xLjQK|")
    assert answer(storage, scan) == ("AA", "MSG1")
    assert messages.listing(storage)[0].state is State.WAITING


def test_a_message_that_cannot_be_kept_is_never_acknowledged(storage: Storage) -> None:
    with storage.database.write():
        assert answer(storage, MESSAGE) == ("AE", "MSG1")
    assert messages.listing(storage) == []


def test_a_parser_that_breaks_loses_nothing(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(hl7v2, "note", broken)
    assert answer(storage, MESSAGE) == ("AA", "MSG1")
    assert messages.listing(storage)[0].state is State.WAITING
