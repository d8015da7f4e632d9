"""The rooms behind the command where a whole process would be too slow or too well-behaved."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from component.standalone.conftest import BOUND, session, until
from ollamaserve_sidecar import preparation
from ollamaserve_sidecar.child import Child
from ollamaserve_sidecar.config import ExpectedModel
from ollamaserve_sidecar.ollama import Ollama
from ollamaserve_sidecar.preparation import Preparation
from ollamaserve_sidecar.pull import Puller

STUBBORN = """#!/bin/sh
trap '' TERM
sleep 1000 &
touch "$0.ready"
wait
"""


@pytest.fixture
async def ollama(ollama_server: str) -> AsyncIterator[Ollama]:
    async with Ollama(ollama_server) as client:
        yield client


async def test_a_child_that_does_not_listen_is_killed_with_its_own(tmp_path: Path) -> None:
    """The wait after SIGTERM is bounded; nothing of the session stays."""
    program = tmp_path / "ollama"
    program.write_text(STUBBORN)
    program.chmod(0o755)
    child = await Child.start(str(program), {"PATH": "/usr/bin:/bin"})
    pid = child._process.pid

    async def ready() -> bool:
        return (tmp_path / "ollama.ready").exists()

    await until(ready)
    assert len(session(pid)) > 1

    await asyncio.wait_for(child.stop(patience=0.1), BOUND)

    async def gone() -> bool:
        return session(pid) == []

    await until(gone)


async def test_a_pull_that_may_pass_is_tried_again(
    ollama: Ollama, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that is away doesn't end the container: the door says why, and it goes on."""
    name = f"{registry}/failing/tiny"
    puller = Puller(ollama, delays=())
    wanted = Preparation((ExpectedModel(name),), ollama, puller, insecure=True)
    starting = wanted.closed("/api/chat")
    assert starting is not None
    assert starting.message.startswith("Ollama is starting")
    running = asyncio.create_task(wanted.run())

    async def refused() -> bool:
        problem = wanted.closed("/api/chat")
        return (
            problem is not None
            and "; the last attempt failed: pull model manifest: 500" in problem.message
        )

    await until(refused)
    assert wanted.closed("/api/tags") is None
    assert puller.outcomes.total() == 1
    running.cancel()

    monkeypatch.setattr(preparation, "AGAIN", 0.01)
    running = asyncio.create_task(wanted.run())

    async def again() -> bool:
        return puller.outcomes.total() > 2

    await until(again)
    assert not running.done()
    running.cancel()


async def test_progress_is_told_at_a_bounded_rate(
    ollama: Ollama, registry: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ollama sends many lines a second; the log gets a line for a new percentage at most."""
    caplog.set_level("INFO", preparation.__name__)
    monkeypatch.setattr(preparation, "REPORT", 0.01)
    name = f"{registry}/slow/tiny-reported"
    wanted = Preparation((ExpectedModel(name),), ollama, Puller(ollama), insecure=True)

    await asyncio.wait_for(wanted.run(), BOUND)

    told = [text for text in caplog.messages if text.startswith("pulling ")]
    assert len(told) > 1
    assert len(told) == len(set(told))
    assert wanted.closed("/api/chat") is None
