"""What `wire` takes without the parser, the parser takes just so (decision G2).

Bytes are made of the pieces of chunked bodies, so that many are valid, and many nearly.
"""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollamaserve_sidecar import wire
from ollamaserve_sidecar.wire import LAST_CHUNK, Chunks, WireError, whole_chunks

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LOOP = asyncio.new_event_loop()

odd = b"0 1 2 5 a A 10 1f 05 00 +5 0x5 5_0 5;x=1 g -1 \xd9\xa1 ffffffff 100000000 123456789"
sizes = st.sampled_from([*odd.split(), b" 5", b"5 ", b""])
ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b""])
chunks = st.binary(min_size=1, max_size=40).map(lambda data: b"%x\r\n%b\r\n" % (len(data), data))
nearly = st.tuples(sizes, ends, st.binary(max_size=20), ends).map(b"".join)
pieces = st.one_of(chunks, chunks, chunks, nearly, st.just(LAST_CHUNK), st.binary(max_size=6))
bodies = st.lists(pieces, max_size=5).map(b"".join)


@pytest.fixture(scope="module", autouse=True)
def _loop() -> Iterator[None]:
    yield
    LOOP.close()


def parsed(*, trusted: bool) -> Chunks:
    """A body whose head has just been read, with the short cut or without."""
    chunks = wire.response(HEAD, bodiless=False, loop=LOOP).chunks
    assert chunks
    chunks._between = trusted
    return chunks


@given(bodies)
@example(b"5\r\nhello\r\n")
@example(b"0\r\n\r\n")
@example(b"05\r\nhello\r\n")
@example(b"0x5\r\nhello\r\n")
@example(b"2\r\n\r\n\r\n")
def test_what_passes_the_parser_would_pass(data: bytes) -> None:
    """G2: whole chunks decode to what the parser makes of them, which is then between two."""
    text = whole_chunks(data)
    if text is None:
        return
    chunks = parsed(trusted=False)

    assert chunks.feed(data) == text
    assert not chunks.ended
    assert chunks.feed(LAST_CHUNK) == b""
    assert chunks.ended
    assert chunks.clean()


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5))
def test_what_servers_write_passes(texts: list[bytes]) -> None:
    """G2: chunks as Ollama's server writes them don't need the parser, one to a read or several."""
    assert whole_chunks(b"".join(b"%x\r\n%b\r\n" % (len(t), t) for t in texts)) == b"".join(texts)


@given(st.lists(bodies, max_size=6))
def test_the_short_cut_changes_nothing(reads: list[bytes]) -> None:
    """G2: whatever is read and however it is cut, bodies come out, end and break the same."""
    assert outcome(reads, parsed(trusted=True)) == outcome(reads, parsed(trusted=False))


@given(bodies, st.lists(st.integers(0, 80), max_size=6))
def test_nor_where_reads_are_cut_anywhere(body: bytes, cuts: list[int]) -> None:
    """G2: the same with the cuts in the middle of sizes and line ends."""
    marks = [0, *sorted(cuts), len(body)]
    reads = [body[a:b] for a, b in pairwise(marks)]

    assert outcome(reads, parsed(trusted=True)) == outcome(reads, parsed(trusted=False))


def outcome(reads: list[bytes], chunks: Chunks) -> tuple[list[bytes], bool, object]:
    """Up to the end or the first error, as `delivery` feeds it."""
    texts: list[bytes] = []
    for data in reads:
        try:
            texts.append(chunks.feed(data))
        except WireError:
            return texts, False, "broken"
        if chunks.ended:
            return texts, True, chunks.clean()
    return texts, False, None
