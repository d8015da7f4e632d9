"""The access log's way to standard output: whole lines, in order, and never a wait."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator

import pytest

from ollamaserve_sidecar import accesslog
from ollamaserve_sidecar.accesslog import ATOMIC, LIMIT, AccessLog, _parts

PATIENCE = 10


@pytest.fixture
async def pipe() -> AsyncIterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(writing)
    os.close(reading)


async def read(reading: int, size: int) -> bytes:
    """So many bytes, read in another thread."""
    seen = b""
    async with asyncio.timeout(PATIENCE):
        while len(seen) < size:
            seen += await asyncio.to_thread(os.read, reading, size - len(seen))
    return seen


async def test_lines_come_in_order(pipe: tuple[int, int]) -> None:
    """By themselves, soon after they were added, also those of a second batch."""
    log = AccessLog(pipe[1])
    for batch in range(2):
        lines = [b"%d %d\n" % (batch, number) for number in range(1000)]
        for line in lines:
            log.add(line)
        assert await read(pipe[0], sum(map(len, lines))) == b"".join(lines)
    await log.close()
    assert log.dropped == 0


async def test_the_end_flushes(pipe: tuple[int, int]) -> None:
    """What was added just before the end of the process is there."""
    log = AccessLog(pipe[1])
    log.add(b"last\n")
    await log.close()

    assert os.read(pipe[0], 100) == b"last\n"


async def test_nothing_to_write(pipe: tuple[int, int]) -> None:
    """A log without lines has no thread, and closes at once."""
    log = AccessLog(pipe[1])
    await log.close()

    assert log._thread is None


async def test_a_reader_that_stops(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """LIMIT bytes wait beside the batch in the thread; lines beyond are lost, counted, whole."""
    monkeypatch.setattr(accesslog, "FLUSH", 0.01)
    log = AccessLog(pipe[1])
    line = b"x" * 999 + b"\n"
    kept = LIMIT // len(line)
    for _ in range(kept):
        log.add(line)
    await log.close()  # the thread has them all now, and stands still
    assert not log._idle.is_set()
    for _ in range(kept + 7):
        log.add(line)
    assert log.dropped == 7

    seen = await read(pipe[0], 2 * kept * len(line))
    assert seen == line * (2 * kept)
    monkeypatch.setattr(accesslog, "FLUSH", PATIENCE)
    await log.close()
    log.add(b"on\n")
    assert await read(pipe[0], 3) == b"on\n"
    await log.close()
    assert log.dropped == 7


async def test_a_reader_that_is_gone() -> None:
    """Lines are lost and counted; the gate goes on."""
    reading, writing = os.pipe()
    os.close(reading)
    log = AccessLog(writing)
    for _ in range(100):
        log.add(b"x" * 100 + b"\n")
    await log.close()
    os.close(writing)

    assert log.dropped == 100


async def test_a_pipe_that_never_blocks(pipe: tuple[int, int]) -> None:
    """Who shares standard output may have made it non-blocking; no line is broken by that."""
    fcntl.fcntl(pipe[1], fcntl.F_SETFL, os.O_NONBLOCK)
    log = AccessLog(pipe[1])
    lines = [b"%05d" % number + b"x" * 200 + b"\n" for number in range(2000)]
    for line in lines:
        log.add(line)
    closing = asyncio.create_task(log.close())
    assert await read(pipe[0], sum(map(len, lines))) == b"".join(lines)
    await closing
    assert log.dropped == 0


def test_parts_are_whole_lines() -> None:
    """Each is one write that a pipe doesn't mix with what others write."""
    lines = [b"x" * size + b"\n" for size in (1, 4000, 93, 4095, 5000, *[300] * 30)]
    parts = list(_parts(lines))

    assert b"".join(part for part, _ in parts) == b"".join(lines)
    assert sum(count for _, count in parts) == len(lines)
    assert all(part.endswith(b"\n") for part, _ in parts)
    assert all(len(part) <= ATOMIC for part, count in parts if count > 1)
    assert len(parts) < len(lines) / 2
