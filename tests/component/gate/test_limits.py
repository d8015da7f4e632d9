"""How much the gate takes on, on the wire (decision G12)."""

import asyncio
import json
import random
import resource
from contextlib import suppress
from pathlib import Path

import pytest

from component.gate.configured import EMPTY, Configured, bearer, configured, get, post
from component.gate.rig import Client, Connection
from ollamaserve_sidecar import peer

ONE = {"concurrentRequests": 1, "queue": 2}


async def refused(client: Client, method: str = "POST") -> tuple[int, str, dict[str, str]]:
    answer = await client.answer(method)
    error = json.loads(answer.body)["error"]
    return answer.status, error if isinstance(error, str) else error["message"], answer.headers


async def test_who_waits_is_served_when_a_slot_is_free(tmp_path: Path) -> None:
    """Nothing of a waiting request reaches Ollama, and all of it does afterwards."""
    async with configured(tmp_path, limits=ONE) as gate:
        first, server = await gate.begun("ada")
        second = await gate.queued("ada")
        assert len(gate.rig.upstream.connections) == 1
        await server.send(EMPTY)
        assert (await first.answer("POST")).status == 200
        await server.until(b"\r\n\r\n{}")
        await server.send(EMPTY)

        assert (await second.answer("POST")).status == 200
        await gate.balanced()


async def test_reads_never_wait(tmp_path: Path) -> None:
    """Only inference takes slots: a list is answered beside a full queue."""
    async with configured(tmp_path, limits={"concurrentRequests": 1, "queue": 0}) as gate:
        await gate.begun("ada")
        reader = await gate.rig.connect()
        await reader.send(get("ada"))
        server = await gate.rig.upstream.accept()
        await server.until(b"\r\n\r\n")
        await server.send(EMPTY)

        assert (await reader.answer()).status == 200


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        ("/api/chat", {"error"}),
        ("/v1/chat/completions", {"message", "type", "code"}),
        ("/v1/messages", {"message", "type"}),
    ],
)
async def test_a_full_queue_is_a_429(tmp_path: Path, target: str, shape: set[str]) -> None:
    """429 with Retry-After in the shape of the API; the connection goes on."""
    async with configured(tmp_path, limits={"concurrentRequests": 1, "queue": 0}) as gate:
        await gate.begun("ada")
        client = await gate.rig.connect()
        for _ in range(2):
            answer = await client.ask(post("bob", target), "POST")
            assert (answer.status, answer.headers["retry-after"]) == (429, "10")
            document = json.loads(answer.body)
            error = document if target == "/api/chat" else document["error"]
            assert set(error) == shape
            assert "connection" not in answer.headers
            assert await gate.rig.metrics.next() == ("bob", target, 429)


async def test_slots_go_round_from_token_to_token(tmp_path: Path) -> None:
    """Fair per token: who waits with one request isn't behind all of another's."""
    async with configured(tmp_path, limits={"concurrentRequests": 1, "queue": 10}) as gate:
        client, server = await gate.begun("ada")
        waiting = [("ada", await gate.queued("ada")) for _ in range(3)]
        waiting += [("bob", await gate.queued("bob")), ("cyd", await gate.queued("cyd"))]
        order = []
        await server.send(EMPTY)
        await client.answer("POST")
        await gate.rig.metrics.next()
        for _ in waiting:
            await server.until(b"\r\n\r\n{}")
            await server.send(EMPTY)
            order.append((await gate.rig.metrics.next())[0])

        assert order == ["ada", "bob", "cyd", "ada", "ada"]


async def test_a_full_queue_makes_room_for_who_has_fewer(tmp_path: Path) -> None:
    """One token can't keep the others out: its newest gets the 429 in their place."""
    async with configured(tmp_path, limits=ONE) as gate:
        await gate.begun("ada")
        older, newest = await gate.queued("ada"), await gate.queued("ada")
        other = await gate.rig.connect()
        await other.send(post("bob"))

        assert (await refused(newest))[0] == 429
        assert gate.rig.gate.entrance.slots.waiting == 2
        assert not older.reader.at_eof()


async def test_the_wait_is_over_after_a_while(tmp_path: Path) -> None:
    """429 with Retry-After once `queueWaitSeconds` have gone by; until then, nothing."""
    async with configured(tmp_path, limits=ONE | {"queueWaitSeconds": 7}) as gate:
        await gate.begun("ada")
        client = await gate.queued("bob")
        now = gate.rig.gate.loop.time()
        gate.rig.gate.entrance.sweep(now + 5)
        assert gate.rig.gate.entrance.slots.waiting == 1
        gate.rig.gate.entrance.sweep(now + 8)
        status, message, headers = await refused(client)

        assert (status, headers["retry-after"]) == (429, "10")
        assert "waited in the queue" in message


@pytest.mark.parametrize("how", ["close", "abort", "eof"])
async def test_who_leaves_the_queue_is_forgotten_at_once(tmp_path: Path, how: str) -> None:
    """A client that goes while it waits never reaches Ollama, and who is behind moves up."""
    async with configured(tmp_path, limits=ONE) as gate:
        client, server = await gate.begun("ada")
        leaving, staying = await gate.queued("ada"), await gate.queued("ada")
        {"close": leaving.close, "abort": leaving.abort, "eof": leaving.writer.write_eof}[how]()
        await gate.rig.settle_until(lambda: gate.rig.gate.entrance.slots.waiting == 1)
        assert await gate.rig.metrics.next() == ("ada", "/api/chat", 499)
        await server.send(EMPTY)
        await client.answer("POST")
        await server.until(b"\r\n\r\n{}")
        await server.send(EMPTY)

        assert (await staying.answer("POST")).status == 200
        assert len(gate.rig.upstream.connections) == 1


async def test_a_client_that_leaves_frees_its_slot_at_once(tmp_path: Path) -> None:
    """A slot isn't held for a generation that nobody reads any more."""
    async with configured(tmp_path, limits=ONE) as gate:
        client, _ = await gate.begun("ada")
        waiting = await gate.queued("bob")
        client.abort()
        server = await gate.served()
        await server.send(EMPTY)

        assert (await waiting.answer("POST")).status == 200


async def test_slots_never_leak(tmp_path: Path) -> None:
    """Whatever becomes of requests, in whichever order: in the end nobody is counted."""
    chance = random.Random(7)  # noqa: S311 the same order each time
    async with configured(tmp_path, limits={"concurrentRequests": 3, "queue": 6}) as gate:
        upstream = asyncio.create_task(misbehave(gate, chance))
        for _ in range(120):
            client = await gate.rig.connect()
            await client.send(post(chance.choice(["ada", "bob", "cyd"])))
            for other in chance.sample(gate.rig.clients, len(gate.rig.clients) // 2):
                chance.choice([other.close, other.abort])()
        for client in gate.rig.clients:
            client.abort()
        await gate.balanced()
        upstream.cancel()

        gate.rig.gate.pool.close()
        client = await gate.rig.connect()
        await client.send(post("ada").replace(b"Host:", b"X-Request-Id: newest\r\nHost:"))
        server = await newest(gate)
        await server.send(EMPTY)
        assert (await client.answer("POST")).status == 200


async def newest(gate: Configured) -> Connection:
    """The connection that the request called `newest` came on; others may lie before it."""
    while True:
        server = await gate.rig.upstream.accept()
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            if b"X-Request-Id: newest" in await server.until(b"\r\n\r\n{}"):
                return server


async def misbehave(gate: Configured, chance: random.Random) -> None:
    """Ollama answers, breaks off, or says nothing."""
    while True:
        server = await gate.rig.upstream.accept()
        match chance.randrange(3):
            case 0:
                server.writer.write(EMPTY)
            case 1:
                server.abort()


async def test_limits_follow_the_configuration(tmp_path: Path) -> None:
    """A slot more is given to who waits; the request after that meets the new limits too."""
    async with configured(tmp_path, limits=ONE) as gate:
        await gate.begun("ada")
        waiting = await gate.queued("ada")
        gate.configure(limits={"concurrentRequests": 2, "queue": 0})
        server = await gate.served()
        late = await gate.rig.connect()
        await late.send(post("bob"))
        assert (await refused(late))[0] == 429
        await server.send(EMPTY)

        assert (await waiting.answer("POST")).status == 200


async def test_a_limit_per_token(tmp_path: Path) -> None:
    """`concurrentRequestsPerToken`: one's own limit doesn't hold up the others."""
    limits = {"concurrentRequestsPerToken": 1}
    async with configured(tmp_path, limits=limits) as gate:
        await gate.begun("ada")
        await gate.queued("ada")
        await gate.begun("bob")


async def test_the_pace_of_a_token(tmp_path: Path) -> None:
    """`requestsPerMinute`: 429 with the seconds to wait; reads and other tokens are unaffected."""
    async with configured(tmp_path, limits={"requestsPerMinute": 2}) as gate:
        for _ in range(2):
            await gate.begun("ada")
        client = await gate.rig.connect()
        await client.send(post("ada"))
        status, message, headers = await refused(client)
        assert (status, 1 <= int(headers["retry-after"]) <= 30) == (429, True)
        assert "2 requests per minute" in message
        await gate.begun("bob")
        await client.send(get("ada"))
        await (await gate.rig.upstream.accept()).send(EMPTY)

        assert (await client.answer()).status == 200


async def test_what_waits_at_the_end_gets_a_503(tmp_path: Path) -> None:
    """G8: a queued request is served while the gate drains, or told to try again."""
    async with configured(tmp_path, limits=ONE) as gate:
        client, server = await gate.begun("ada")
        served, told = await gate.queued("ada"), await gate.queued("bob")
        gate.rig.drain.draining = True
        gate.rig.gate.stop_listening()
        await server.send(EMPTY)
        assert (await client.answer("POST")).headers["connection"] == "close"
        await server.until(b"\r\n\r\n{}")
        closing = asyncio.create_task(gate.rig.gate.close())
        status, message, headers = await refused(told)
        told.close()
        served.close()
        await closing

        assert (status, headers["retry-after"]) == (503, "1")
        assert "shutting down" in message


async def test_bodies_have_a_limit(tmp_path: Path) -> None:
    """413 before any byte of the body is asked for, and before Ollama hears of it."""
    async with configured(tmp_path, limits={"bodyBytes": 10}) as gate:
        for name in ("ada", "root"):
            client = await gate.rig.connect()
            head = post(name, body=b"x" * 11, more=b"Expect: 100-continue\r\n")[:-11]
            answer = await client.ask(head, "POST")
            assert (answer.status, answer.informational) == (413, [])
            assert "spec.gate.limits.bodyBytes" in answer.body.decode()
        assert not gate.rig.upstream.connections
        client = await gate.rig.connect()
        await client.send(post("ada", body=b"x" * 10))
        await (await gate.rig.upstream.accept()).until(b"x" * 10)


@pytest.mark.parametrize("pieces", [1, 3])
async def test_chunked_bodies_are_counted_on_the_wire(tmp_path: Path, pieces: int) -> None:
    """G1: framing and extensions count, so a body of nothing but framing has an end too."""
    async with configured(tmp_path, limits={"bodyBytes": 40}) as gate:
        client = await gate.rig.connect()
        head = b"POST /api/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        await client.send(head + bearer("ada") + b"\r\n1;a=b\r\nx\r\n")
        server = await gate.rig.upstream.accept()
        await server.until(b"1\r\nx\r\n")
        for _ in range(pieces):
            await client.send(b"1;" + b"a" * (36 // pieces) + b"\r\nx\r\n")
        status, message, _ = await refused(client)

        assert status == 413
        assert "longer than the 40 bytes" in message
        assert b"0\r\n\r\n" not in await server.rest()
        await gate.balanced()


async def test_blobs_are_as_large_as_they_are(tmp_path: Path) -> None:
    """G12: the upload of weights has no limit, for those whose access allows it."""
    async with configured(tmp_path, limits={"bodyBytes": 10}) as gate:
        client = await gate.rig.connect()
        await client.send(post("root", "/api/blobs/sha256:0", b"x" * 1000))
        server = await gate.rig.upstream.accept()
        await server.until(b"x" * 1000)
        await server.send(EMPTY)

        assert (await client.answer("POST")).status == 200


async def test_connections_have_a_limit(tmp_path: Path) -> None:
    """One too many is told so and closed; a place that is given up can be taken."""
    async with configured(tmp_path, limits={"connections": 1}) as gate:
        first = await gate.rig.connect()
        assert (await first.ask(get())).status == 401
        second = await gate.rig.connect()
        answer = await second.answer()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert await second.rest() == b""
        first.abort()
        await gate.rig.settle_until(lambda: not gate.rig.gate.clients)
        third = await gate.rig.connect()

        assert (await third.ask(get())).status == 401


async def test_the_soft_limit_of_descriptors_is_raised(tmp_path: Path) -> None:
    """1024 descriptors, as many systems start a process with, would end `connections` early."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
    try:
        async with configured(tmp_path):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_trickling_body_is_a_408(tmp_path: Path) -> None:
    """P12: a body has to keep up a minimum rate; a byte now and then isn't enough."""
    async with configured(tmp_path) as gate:
        client = await gate.rig.connect()
        await client.send(post("ada", body=b"x" * 20_000)[:-19_000])
        server = await gate.rig.upstream.accept()
        await server.until(b"x" * 1000)
        (held,) = gate.rig.gate.clients
        now = gate.rig.gate.loop.time()
        held.sweep(now)
        await client.send(b"x")
        await server.exactly(1)
        held.sweep(now + peer.STALL_TIMEOUT)

        assert (await client.answer("POST")).status == 408


async def test_no_clock_runs_in_the_queue(tmp_path: Path) -> None:
    """G12: the gate isn't willing to read then, so a body that waits is no stalled one."""
    async with configured(tmp_path, limits=ONE) as gate:
        first, server = await gate.begun("ada")
        waiting = await gate.queued("ada")
        now = gate.rig.gate.loop.time()
        for minutes in range(60):
            for held in gate.rig.gate.clients:
                held.sweep(now + 60 * minutes)
        await server.send(EMPTY)
        assert (await first.answer("POST")).status == 200
        await server.until(b"\r\n\r\n{}")
        await server.send(EMPTY)

        assert (await waiting.answer("POST")).status == 200
