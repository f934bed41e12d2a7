import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.transports.mllp import END, START, Framer, TooLongError, frame

BODIES = st.lists(st.binary(max_size=40).filter(lambda b: END not in b + END[:1]), max_size=6)


@given(BODIES, st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_messages_come_out_whole_however_the_stream_was_cut(bodies, sizes):
    stream, framer, out = b"garbage\x1c\r".join([b"", *map(frame, bodies)]), Framer(1000), []
    for n in sizes * (len(stream) // sum(sizes) + 1):
        out += framer.feed(stream[:n])
        stream = stream[n:]
    assert out == bodies
    assert not framer.is_inside or stream


@pytest.mark.parametrize("step", [1, 7, 100])
def test_a_message_is_refused_only_when_longer_than_the_limit(step):
    def feed(body: bytes) -> list[bytes]:
        framer, wire = Framer(50), frame(body)
        return [b for at in range(0, len(wire), step) for b in framer.feed(wire[at : at + step])]

    assert feed(b"x" * 50) == [b"x" * 50]
    with pytest.raises(TooLongError) as caught:
        feed(b"x" * 51)
    assert caught.value.head.startswith(b"x" * 49)


def test_a_long_message_in_small_packets_takes_time_in_proportion_to_its_length():
    def seconds(n_packets: int) -> float:
        framer, began = Framer(1 << 30), time.process_time()
        list(framer.feed(START))
        for _ in range(n_packets):
            list(framer.feed(b"x" * 1000))
        return time.process_time() - began

    # In proportion it is 10 times; searched from the start each time it would be 100 times.
    assert seconds(20_000) < 40 * max(seconds(2_000), 0.002)
