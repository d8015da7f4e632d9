"""The transport under the gate's plain connections, on loopback, against raw sockets."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import pytest

from component.gate.rig import Loop
from ollamaserve_sidecar import listener as door
from ollamaserve_sidecar import poller as polling
from ollamaserve_sidecar import sockets
from ollamaserve_sidecar.dial import connect
from ollamaserve_sidecar.listener import Listener
from ollamaserve_sidecar.poller import Poller
from ollamaserve_sidecar.sockets import HIGH, LARGE, Socket

PATIENCE = 10.0
MUCH = 8 << 20
"""Bytes that no pair of socket buffers takes at once."""


@dataclass(eq=False)
class Endpoint:
    """Remembers what it is told."""

    stays: bool = False
    seen: bytearray = field(default_factory=bytearray)
    told: list[str] = field(default_factory=list)
    lost: list[Exception | None] = field(default_factory=list)
    on_data: Callable[[bytes], None] = lambda _: None
    transport: Socket = field(init=False)

    def connection_made(self, transport: Socket) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.seen += data
        self.on_data(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.stays

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    poller = Poller(asyncio.get_running_loop())
    yield poller
    poller.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 the kernel sets no event
            await asyncio.sleep(0.001)


def dialled(
    poller: Poller,
    address: Any,
    endpoint: Endpoint,
    family: int = socket.AF_INET,
    seconds: float = 5,
) -> list[str]:
    """Begin to connect; `failed` is in the list once there is nothing to hope for."""
    failures: list[str] = []
    deadline = poller.loop.time() + seconds
    connect(poller, (family, address), endpoint, lambda: failures.append("failed"), deadline)
    return failures


async def joined(poller: Poller, endpoint: Endpoint) -> socket.socket:
    """The other end of a connection whose one end the poller has, for this endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        failures = dialled(poller, server.getsockname(), endpoint)
        await until(lambda: hasattr(endpoint, "transport") or failures)
        assert not failures
        other, _ = server.accept()
    other.setblocking(False)
    return other


async def received(other: socket.socket, count: int) -> bytes:
    seen = b""
    async with asyncio.timeout(PATIENCE):
        while len(seen) < count:
            seen += await asyncio.get_running_loop().sock_recv(other, 1 << 20)
    return seen


async def test_bytes_pass_both_ways(poller: Poller) -> None:
    endpoint = Endpoint()
    other = await joined(poller, endpoint)
    endpoint.transport.write(b"ping")
    assert await received(other, 4) == b"ping"
    other.send(b"pong")
    await until(lambda: endpoint.seen == b"pong")
    other.close()
    await until(lambda: endpoint.lost)

    assert endpoint.told == ["eof"]
    assert endpoint.lost == [None]


async def test_what_is_written_in_a_batch_goes_out_in_order(poller: Poller) -> None:
    """Several connections that are ready together write several times each."""
    endpoints = [Endpoint() for _ in range(5)]
    others = [await joined(poller, endpoint) for endpoint in endpoints]

    def answer(endpoint: Endpoint) -> Callable[[bytes], None]:
        def write(data: bytes) -> None:
            endpoint.transport.write(data)
            endpoint.transport.write(b"!")

        return write

    for endpoint in endpoints:
        endpoint.on_data = answer(endpoint)
    for number, other in enumerate(others):
        other.send(b"%d" % number)

    assert [await received(other, 2) for other in others] == [b"%d!" % n for n in range(5)]
    for other in others:
        other.close()


async def test_backpressure(poller: Poller) -> None:
    """Told once to pause and once to go on; every byte arrives, and in order."""
    endpoint = Endpoint()
    other = await joined(poller, endpoint)
    data = bytes(range(256)) * (MUCH // 256)
    endpoint.transport.write(data[:-1])
    endpoint.transport.write(data[-1:])
    assert endpoint.told == ["pause"]
    assert endpoint.transport.get_write_buffer_size() > HIGH

    assert await received(other, MUCH) == data
    await until(lambda: endpoint.told == ["pause", "resume"])
    assert endpoint.transport.get_write_buffer_size() == 0
    other.close()


async def test_close_lets_what_was_written_arrive(poller: Poller) -> None:
    endpoint = Endpoint()
    other = await joined(poller, endpoint)
    endpoint.transport.write(b"x" * MUCH)
    endpoint.transport.close()
    endpoint.transport.write(b"too late")
    assert endpoint.transport.is_closing()
    assert not endpoint.lost

    assert await received(other, MUCH) == b"x" * MUCH
    assert await asyncio.get_running_loop().sock_recv(other, 1) == b""
    await until(lambda: endpoint.lost)
    other.close()


async def test_abort_ends_it_at_once(poller: Poller) -> None:
    endpoint = Endpoint()
    other = await joined(poller, endpoint)
    endpoint.transport.write(b"x" * MUCH)
    endpoint.transport.abort()
    endpoint.transport.abort()
    endpoint.transport.close()
    assert endpoint.transport.get_write_buffer_size() == 0
    await until(lambda: endpoint.lost)

    assert endpoint.lost == [None]
    other.close()


async def test_half_closed(poller: Poller) -> None:
    """The end of one direction follows what was written there; the other goes on."""
    endpoint = Endpoint(stays=True)
    other = await joined(poller, endpoint)
    endpoint.transport.write(b"x" * MUCH)
    endpoint.transport.write_eof()
    assert await received(other, MUCH) == b"x" * MUCH
    assert await asyncio.get_running_loop().sock_recv(other, 1) == b""
    other.send(b"still here")
    await until(lambda: endpoint.seen == b"still here")
    other.shutdown(socket.SHUT_WR)
    await until(lambda: "eof" in endpoint.told)
    await asyncio.sleep(0.05)

    assert not endpoint.lost, "who said so in eof_received ends the connection"
    endpoint.transport.close()
    await until(lambda: endpoint.lost)
    other.close()


async def test_nothing_is_read_while_paused(poller: Poller) -> None:
    endpoint = Endpoint()
    other = await joined(poller, endpoint)
    endpoint.transport.pause_reading()
    other.send(b"early")
    await asyncio.sleep(0.05)
    assert not endpoint.seen
    endpoint.transport.resume_reading()
    await until(lambda: endpoint.seen == b"early")
    other.close()


async def test_a_hang_up_while_paused_costs_nothing(poller: Poller) -> None:
    """epoll tells of it whether or not it was asked: a loop without end, if nobody listened."""
    endpoint = Endpoint()
    other = await joined(poller, endpoint)
    endpoint.transport.pause_reading()
    reset(other)
    rounds = 0

    def counted() -> None:
        nonlocal rounds
        rounds += 1
        served()

    served = poller._serve
    poller.loop.add_reader(poller._epoll.fileno(), counted)
    await asyncio.sleep(0.1)
    assert rounds <= 2

    endpoint.transport.resume_reading()
    await until(lambda: endpoint.lost)
    assert isinstance(endpoint.lost[0], ConnectionError)


async def test_a_hang_up_under_what_waits_to_be_sent(poller: Poller) -> None:
    endpoint = Endpoint()
    other = await joined(poller, endpoint)
    endpoint.transport.write(b"x" * MUCH)
    endpoint.transport.pause_reading()
    reset(other)
    await until(lambda: endpoint.lost)

    assert isinstance(endpoint.lost[0], ConnectionError)


def reset(other: socket.socket) -> None:
    """Close with a RST."""
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    other.close()


async def test_reads_grow_with_what_comes(poller: Poller) -> None:
    endpoint = Endpoint()
    other = await joined(poller, endpoint)
    sizes: list[int] = []
    endpoint.on_data = lambda data: sizes.append(len(data))
    await asyncio.get_running_loop().sock_sendall(other, b"x" * MUCH)
    await until(lambda: len(endpoint.seen) == MUCH)

    assert max(sizes) > sockets.SMALL
    assert max(sizes) <= LARGE
    other.close()


async def test_a_fault_of_one_endpoint_ends_no_other(poller: Poller) -> None:
    """It is told to the event loop's handler, and its connection is cut."""
    told: list[dict[str, object]] = []
    poller.loop.set_exception_handler(lambda _, context: told.append(context))
    broken, sound = Endpoint(), Endpoint()
    ends = [await joined(poller, broken), await joined(poller, sound)]

    def fail(_: bytes) -> None:
        raise RuntimeError("a defect")

    broken.on_data = fail
    for end in ends:
        end.send(b"x")
    await until(lambda: broken.lost and sound.seen)

    assert [str(context["exception"]) for context in told] == ["a defect"]
    assert not sound.lost
    for end in ends:
        end.close()


async def test_a_listener(poller: Poller) -> None:
    """Each connection has an endpoint, a peer's address, and TCP_NODELAY."""
    endpoints: list[Endpoint] = []

    def arrived() -> Endpoint:
        endpoints.append(Endpoint())
        return endpoints[-1]

    end = socket.create_server(("127.0.0.1", 0))
    listener = Listener(poller, end, arrived)
    clients = [socket.create_connection(end.getsockname()) for _ in range(3)]
    await until(lambda: len(endpoints) == 3)
    names = {endpoint.transport.get_extra_info("peername") for endpoint in endpoints}
    assert names == {client.getsockname() for client in clients}
    accepted = endpoints[0].transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    address = end.getsockname()
    listener.close()
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    for client in clients:
        client.close()


async def test_a_listener_without_descriptors_rests(
    poller: Poller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Accepting fails for a while: it is said, the processor isn't kept busy, and it goes on."""
    monkeypatch.setattr(door, "RESTED", 0.05)
    endpoints: list[Endpoint] = []

    def arrived() -> Endpoint:
        endpoints.append(Endpoint())
        return endpoints[-1]

    end = socket.create_server(("127.0.0.1", 0))
    Listener(poller, cast("socket.socket", Exhausted(end, fails=2)), arrived)
    with socket.create_connection(end.getsockname()):
        await until(lambda: endpoints)

    assert len(caplog.records) == 2
    assert "Too many open files" in caplog.text


class Exhausted:
    """A listening socket whose accept fails `fails` times, as it does without descriptors."""

    def __init__(self, end: socket.socket, fails: int) -> None:
        self._end, self._fails = end, fails

    def __getattr__(self, name: str) -> object:
        return getattr(self._end, name)

    def accept(self) -> tuple[socket.socket, object]:
        if self._fails:
            self._fails -= 1
            raise OSError(24, "Too many open files")
        return self._end.accept()


async def test_a_connection_that_is_refused(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()
    failures = dialled(poller, free, Endpoint())
    await until(lambda: failures)

    assert failures == ["failed"]


async def test_no_descriptor_is_left_to_connect_with(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the connection learns it; nothing is raised."""

    def none_left(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", none_left)
        failures = dialled(poller, ("127.0.0.1", 1), Endpoint())
    await until(lambda: failures)


async def test_an_address_that_cannot_be(poller: Poller) -> None:
    """A scope that this machine doesn't have, which Python's socket refuses in its own way."""
    failures = dialled(poller, ("fe80::1%none", 1), Endpoint(), socket.AF_INET6)
    await until(lambda: failures)


@contextmanager
def crowded() -> Iterator[socket.socket]:
    """A server whose backlog is full, so that the handshake gets no answer for now."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as ends:
        for _ in range(4):
            end = ends.enter_context(socket.socket())
            end.setblocking(False)
            end.connect_ex(server.getsockname())
        yield server


async def test_a_connection_that_never_comes(poller: Poller) -> None:
    endpoint = Endpoint()
    with crowded() as server:
        failures = dialled(poller, server.getsockname(), endpoint, seconds=0.05)
        await until(lambda: failures)
        await asyncio.sleep(0.05)

    assert failures == ["failed"]
    assert not hasattr(endpoint, "transport")


async def test_a_connection_that_comes_later(poller: Poller) -> None:
    """The handshake is through once the backlog has room, when its packet is sent again.

    An event meanwhile that isn't its own, but of who had the descriptor before, says nothing.
    """
    endpoint = Endpoint()
    with crowded() as server:
        failures = dialled(poller, server.getsockname(), endpoint)
        (attempt,) = poller._entries.values()
        attempt.ready(sockets._IN)
        accepted = asyncio.create_task(accepting(server))
        await until(lambda: hasattr(endpoint, "transport"))
        endpoint.transport.abort()
        accepted.cancel()

    assert not failures


async def test_a_fault_when_it_comes_ends_it_alone(poller: Poller) -> None:
    """At once or later, and on the door: the others and the door go on."""
    poller.loop.set_exception_handler(lambda *_: None)

    class Broken(Endpoint):
        def connection_made(self, transport: Socket) -> None:
            super().connection_made(transport)
            raise RuntimeError("a defect")

    at_once, later, arrived = Broken(), Broken(), [Broken(), Endpoint()]
    endpoints = iter(arrived)
    with crowded() as server, socket.create_server(("127.0.0.1", 0)) as end:
        listener = Listener(poller, end, lambda: next(endpoints))
        dialled(poller, end.getsockname(), at_once)
        dialled(poller, server.getsockname(), later)
        accepted = asyncio.create_task(accepting(server))
        await until(lambda: at_once.lost and later.lost and arrived[0].lost)
        with socket.create_connection(end.getsockname()):
            await until(lambda: hasattr(arrived[1], "transport"))
        accepted.cancel()
        listener.close()


async def accepting(server: socket.socket) -> None:
    server.setblocking(False)
    while True:
        end, _ = await asyncio.get_running_loop().sock_accept(server)
        end.close()


async def test_the_end_of_the_poller_ends_all(poller: Poller) -> None:
    endpoint = Endpoint()
    other = await joined(poller, endpoint)
    poller.close()
    poller.close()
    await until(lambda: endpoint.lost)

    assert await asyncio.get_running_loop().sock_recv(other, 1) == b""
    other.close()


async def test_what_a_peer_said_before_it_hung_up_is_read(poller: Poller) -> None:
    """More than one read's worth, while something is still to be sent."""
    endpoint = Endpoint()
    other = await joined(poller, endpoint)
    endpoint.transport.write(b"x" * MUCH)
    said = b"y" * (sockets.SMALL * 5)
    await asyncio.get_running_loop().sock_sendall(other, said)
    other.close()  # with MUCH unread, so this is a reset
    await until(lambda: endpoint.lost)

    assert endpoint.seen == said


async def test_nothing_is_begun_after_the_end(poller: Poller) -> None:
    endpoint, waiting = Endpoint(), Endpoint()
    with crowded() as server:
        never = dialled(poller, server.getsockname(), waiting)
        poller.close()
        failures = dialled(poller, server.getsockname(), endpoint)
        await until(lambda: failures)

    assert not never, "who closes the poller waits for nothing"
    assert not hasattr(endpoint, "transport")


async def test_a_connection_leaves_no_cycle(poller: Poller) -> None:
    """So it is gone with its end, and collections have nothing to do for it."""
    endpoint = Endpoint()
    other = await joined(poller, endpoint)
    transport = endpoint.transport
    other.close()
    await until(lambda: endpoint.lost)

    assert endpoint not in gc.get_referents(transport)


@pytest.mark.parametrize(("now", "begun"), [(0.005, ["fresh", "stream"]), (0.015, ["stream"])])
async def test_in_a_crowd_first_tokens_have_every_other_slice(
    poller: Poller, monkeypatch: pytest.MonkeyPatch, now: float, begun: list[str]
) -> None:
    """Who streams already is held back while others have heard nothing, and not for long."""
    monkeypatch.setattr(polling, "READY", 8)
    heard: list[str] = []

    def note(kind: str, _: bytes) -> None:
        heard.append(kind)

    ends: list[socket.socket] = []
    for kind in ["stream"] * 4 + ["fresh"] * 2 + ["stream"] * 6:
        endpoint = Endpoint()
        end = await joined(poller, endpoint)
        end.send(b"first")
        await until(endpoint.seen.__len__)
        endpoint.on_data = partial(note, kind)
        if kind == "fresh":
            endpoint.transport.write(b"another request")
        ends.append(end)

    monkeypatch.setattr(poller, "loop", Stopped(poller.loop, now))
    for end in ends:
        end.send(b"next")
    await until(lambda: len(heard) == len(ends))

    assert list(dict.fromkeys(heard))[: len(begun)] == begun
    assert heard.count("fresh") == 2
    for end in ends:
        end.close()


class Stopped(Loop):
    """Its clock stands still."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        super().__init__(loop)
        self._now = now

    def time(self) -> float:
        return self._now
