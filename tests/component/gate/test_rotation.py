"""A token's rotation in phases while clients hammer the gate: nobody valid is refused (G5, G6)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from component.gate.conftest import opened
from component.gate.rig import Client, Connection, Rig
from ollamaserve_sidecar import reload
from volume import Volume

OLD, NEW = "the-old-token-of-all", "the-new-token-of-all"
CLIENTS, PHASE = 20, 300
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def secret(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path / "tokens")
    volume.write(AUTH_TOKEN=OLD, REVISION="r1")
    return volume


@pytest.fixture
async def door(secret: Volume) -> AsyncIterator[Rig]:
    async with opened(GATE_TOKENS_DIR=str(secret.folder)) as rig, answering(rig):
        following = asyncio.create_task(reload.follow(rig.live, interval=0.001))
        yield rig
        following.cancel()


@asynccontextmanager
async def answering(rig: Rig) -> AsyncIterator[None]:
    """Ollama, as far as these requests go."""

    async def answer(server: Connection) -> None:
        while True:
            await server.reader.readuntil(b"\r\n\r\n")
            server.writer.write(OK)

    async def accept() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(answer(await rig.upstream._accepted.get()))

    accepting = asyncio.create_task(accept())
    yield
    accepting.cancel()


class Crowd:
    """Clients that ask again and again with the token of the day; `statuses` are the answers."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.token = OLD
        self.statuses: list[int] = []

    async def phase(self) -> None:
        """Return once so many more requests have been answered."""
        goal = len(self.statuses) + PHASE
        await self._rig.settle_until(lambda: len(self.statuses) >= goal)

    async def hammer(self, client: Client) -> None:
        while True:
            raw = f"GET /api/tags HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.token}\r\n\r\n"
            answer = await client.ask(raw.encode())
            self.statuses.append(answer.status)


@asynccontextmanager
async def crowd(rig: Rig) -> AsyncIterator[Crowd]:
    people = Crowd(rig)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(people.hammer(await rig.connect())) for _ in range(CLIENTS)]
        yield people
        for task in tasks:
            task.cancel()


def previous(expired: bool = False) -> str:
    at = datetime.now(UTC) + timedelta(hours=-1 if expired else 1)
    return json.dumps({"token": OLD, "notAfter": at.isoformat()})


async def loaded(rig: Rig, revision: str) -> None:
    """What the operator waits for on /status before the next phase."""
    await rig.settle_until(lambda: rig.live.status.revision == revision)


async def test_no_valid_request_is_refused(door: Rig, secret: Volume) -> None:
    """G6: NEXT, promotion, PREVIOUS; clients change over in between; at the end the old is out."""
    async with crowd(door) as people:
        await people.phase()
        secret.write(AUTH_TOKEN=OLD, AUTH_TOKEN_NEXT=NEW, REVISION="r2")
        await people.phase()
        await loaded(door, "r2")
        people.token = NEW
        await people.phase()
        people.token = OLD
        secret.write(AUTH_TOKEN=NEW, AUTH_TOKEN_PREVIOUS=previous(), REVISION="r3")
        await people.phase()
        await loaded(door, "r3")
        people.token = NEW
        await people.phase()
        secret.write(AUTH_TOKEN=NEW, REVISION="r4")
        await loaded(door, "r4")
        await people.phase()
        assert set(people.statuses) == {200}
        assert (door.live.failures, door.live.status.names) == (0, ("AUTH_TOKEN",))
        people.token = OLD
        await door.settle_until(lambda: people.statuses[-CLIENTS:] == [401] * CLIENTS)


async def test_a_broken_secret_refuses_nobody(door: Rig, secret: Volume) -> None:
    """G5: the last good tokens stay in force meanwhile, and the error is told."""
    async with crowd(door) as people:
        secret.write(AUTH_TOKEN="white space", REVISION="r2")
        await door.settle_until(lambda: bool(door.live.status.error))
        await people.phase()
        assert set(people.statuses) == {200}
        assert door.live.status.revision == "r1"


async def test_an_expired_previous_token_is_out(door: Rig, secret: Volume) -> None:
    """G5: the expiry is looked at with each request, not at the reload."""
    secret.write(AUTH_TOKEN=NEW, AUTH_TOKEN_PREVIOUS=previous(expired=True), REVISION="r2")
    await loaded(door, "r2")
    async with crowd(door) as people:
        await people.phase()
        assert set(people.statuses) == {401}
