"""A sealed file gives back what went in to whoever has its key, and nothing to anybody else."""

import io
import random

import pytest

from appliance.sealed_file import KEY_BYTES, SealedReader, SealedWriter, SealError, fingerprint

KEY = bytes(range(KEY_BYTES))
PIECE = 1 << 16


def sealed(content: bytes, key: bytes = KEY, step: int = 1000, **about: str) -> bytes:
    file = io.BytesIO()
    writer = SealedWriter(file, key, "test", about)
    for at in range(0, len(content), step):
        writer.write(content[at : at + step])
    writer.finish()
    return file.getvalue()


def opened(body: bytes, key: bytes = KEY, step: int = -1) -> bytes:
    reader, read = SealedReader(io.BytesIO(body), key, "test"), bytearray()
    while piece := reader.read(step):
        read += piece
    return bytes(read)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 5])
@pytest.mark.parametrize("step", [-1, 1000, 2 * PIECE])
def test_what_goes_in_comes_out(size: int, step: int) -> None:
    content = random.Random(size).randbytes(size)
    assert opened(sealed(content, step=7777), step=step) == content


def test_the_first_line_can_be_read_by_anybody_and_nothing_else() -> None:
    body = sealed(b"Jane Doe has a nodule." * 10, made_at="2026-11-30")
    head, rest = body.split(b"\n", 1)
    assert b"2026-11-30" in head
    assert fingerprint(KEY).encode() in head
    assert b"nodule" not in body
    assert KEY not in body
    assert b"Jane" not in rest


def test_the_same_content_is_never_sealed_alike() -> None:
    assert sealed(b"x") != sealed(b"x")


def test_another_key_is_told_apart_from_damage() -> None:
    other = bytes(KEY_BYTES)
    with pytest.raises(SealError, match=f"sealed with the key {fingerprint(KEY)}, and the one given is {fingerprint(other)}"):
        opened(sealed(b"x"), other)


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(SealError, match="no other"):
        SealedReader(io.BytesIO(sealed(b"x")), KEY, "other")
    for body in (b"", b"PK", b"{}", b"[]\n", b'{"kind": "test", "salt": 7}\n', b'{"kind": "test", "salt": "zz"}\n'):
        with pytest.raises(SealError, match="no test, or its first line is damaged"):
            opened(body)


def test_a_changed_bit_anywhere_is_found() -> None:
    body = sealed(random.Random(0).randbytes(2 * PIECE + 100))
    chance = random.Random(1)
    for at in [*range(body.index(b"\n") + 1), *chance.sample(range(len(body)), 300)]:
        damaged = bytearray(body)
        damaged[at] ^= 1 << chance.randrange(8)
        with pytest.raises(SealError):
            opened(bytes(damaged))


def test_a_file_cut_off_anywhere_is_found_also_where_a_piece_ends() -> None:
    body = sealed(random.Random(0).randbytes(3 * PIECE))
    begin = body.index(b"\n") + 1
    for length in [0, begin - 1, begin, begin + PIECE + 16, begin + 2 * (PIECE + 16), len(body) - 1]:
        with pytest.raises(SealError):
            opened(body[:length])


def test_pieces_cannot_be_swapped_repeated_or_left_out() -> None:
    body = sealed(random.Random(0).randbytes(3 * PIECE))
    begin = body.index(b"\n") + 1
    one, two, three = (body[begin + n * (PIECE + 16) :][: PIECE + 16] for n in range(3))
    assert body[:begin] + one + two + three == body
    for order in ((two, one, three), (one, one, three), (one, three), (one, two, three, three), (three,)):
        with pytest.raises(SealError, match="damaged or cut off"):
            opened(body[:begin] + b"".join(order))


def test_what_was_not_finished_counts_as_cut_off() -> None:
    file = io.BytesIO()
    SealedWriter(file, KEY, "test", {}).write(bytes(3 * PIECE))
    with pytest.raises(SealError, match="cut off"):
        opened(file.getvalue())
