"""Slow clients by the hundred, as slowhttptest makes them: nobody else notices.

The ones with slow bodies and slow reads hold a valid token: they are let in and are as slow there.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from subprocess import DEVNULL, Popen
from threading import Event

import pytest

from component.differential.rig import BEARER, HOST, TOKEN, Rig
from ollamaserve_dev import debian, progress

SECONDS = 10
CONNECTIONS = 150
CLIENTS, LINES = 8, 100
SLOW = "/slow?lines=2000&width=1000"
# slowhttptest has no option for a header; its cookie may bring one along.
WITH_TOKEN = ("-j", f"a=b\r\nAuthorization: Bearer {TOKEN}")
ATTACKS = {
    "slow heads": ("-H", "-i", "1"),
    "slow bodies": ("-B", "-i", "1", "-s", "8192", *WITH_TOKEN),
    "slow reads": ("-X", "-n", "1", "-w", "512", "-y", "1024", "-z", "32", *WITH_TOKEN),
}
STREAM = f"GET /ok?lines={LINES}&pause=2ms HTTP/1.1\r\n".encode() + HOST + BEARER + b"\r\n"


@pytest.fixture(scope="module", autouse=True)
def _slowhttptest() -> None:
    try:
        debian.need("a test of slow clients", "slowhttptest")
    except progress.SetupError as missing:
        pytest.skip(str(missing))


@contextmanager
def attack(options: Sequence[str], port: int) -> Iterator[Popen[bytes]]:
    url = f"http://127.0.0.1:{port}{SLOW}"
    count = ("-c", str(CONNECTIONS), "-r", str(CONNECTIONS), "-l", str(SECONDS), "-u", url)
    with Popen(["slowhttptest", *options, *count], stdout=DEVNULL, stderr=DEVNULL) as running:
        try:
            yield running
        finally:
            running.kill()


def test_nobody_else_notices(rig: Rig) -> None:
    """P11, P12: streams that run beside slow heads, bodies and reads come whole, line by line."""
    over = Event()
    with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as clients:
        attackers = [stack.enter_context(attack(options, rig.door)) for options in ATTACKS.values()]
        streaming = [clients.submit(stream, rig, over) for _ in range(CLIENTS)]
        try:
            statuses = [attacker.wait(SECONDS * 6) for attacker in attackers]
        finally:
            over.set()
        streams = [client.result(SECONDS * 6) for client in streaming]

    assert statuses == [0] * len(ATTACKS)
    assert all(streams)
    let_in = {seen.method for seen in rig.echo.seen()[0].values() if seen.target == SLOW}
    assert let_in == {"GET", "POST"}


def stream(rig: Rig, over: Event) -> int:
    """Ask for one stream after the other until it is over; how many came, each of them whole."""
    count = 0
    with rig.connect() as client:
        while not over.is_set():
            client.send(STREAM)
            answer = client.answer()
            assert answer
            lines = [json.loads(line)["line"] for line in answer.body.splitlines()]
            assert lines == list(range(LINES))
            count += 1
    return count
