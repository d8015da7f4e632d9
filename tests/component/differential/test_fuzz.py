"""Bytes at the listening socket: cut anywhere, and changed anyhow.

The law: the gate never crashes, hangs or answers 5xx of its own (501 and 505 are the client's
fault), and each request that arrives behind it was sent with a valid token in its own head.
"""

import random
import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from component.differential.cases import FRAMING, WEBSOCKET
from component.differential.rig import BEARER, CANARY, HOST, TOKEN, Answer, Rig

OWN_STATUSES = {204, 400, 401, 403, 408, 413, 417, 421, 429, 431, 501, 505}
MUTATIONS = 4000
BRIEFLY = 0.01
"""Seconds. Many of these requests are never answered, because their end is missing."""
# What splitting must not change, each of another kind.
SPLIT = (
    *("a length", "trailers", "extensions", "data that looks like the end", "two at once"),
    *("the second without a token", "HTTP/1.0 with a body", "empty lines between", "Expect"),
)
_HEAD = re.compile(rb"([A-Z-]+) (\S+) HTTP/1\.[01]\r\n")


def whole(name: str, path: bytes = b"/ok") -> bytes:
    return FRAMING[name].raw.replace(b"%h", HOST + BEARER).replace(b"%p", path)


def with_token(sent: Iterable[bytes]) -> set[tuple[str, str]]:
    """Method and target of whatever could be a request's head and holds the token.

    Deliberately generous: any line of the right form, wherever it stands.
    """
    found = set()
    for raw in sent:
        for line in _HEAD.finditer(raw):
            head = raw[line.start() :].partition(b"\r\n\r\n")[0]
            if re.search(rb"(?i)bearer +" + TOKEN.encode(), head):
                found.add((line[1].decode(), line[2].decode("latin-1")))
    return found


def answers(rig: Rig, parts: Iterable[bytes]) -> list[Answer]:
    """Send the parts, each read by the gate before the next; then no more, and read to the end."""
    with rig.connect() as client:
        first, *others = parts
        client.send(first)
        for part in others:
            rig.settle()
            client.send(part)
        client.wait(BRIEFLY)
        client.no_more()
        found = []
        while answer := client.answer():
            found.append(answer)
        return found


def judge(rig: Rig, sent: Iterable[bytes], answered: Iterable[Answer]) -> None:
    for answer in answered:
        assert answer.echo or answer.status in OWN_STATUSES
    trial = rig.trial([])
    trial.agree(canaries=True)
    asked = {(seen.method, seen.target) for seen in trial.requests.values()}
    assert asked <= with_token(sent)


@pytest.mark.parametrize("name", SPLIT)
def test_every_split(rig: Rig, name: str) -> None:
    """G1: wherever the bytes are cut, the answers and what arrives stay the same."""
    case = FRAMING[name]
    raw = whole(name)
    for cut in range(1, len(raw)):
        with rig.connect() as client:
            client.send(raw[:cut])
            rig.settle()
            client.send(raw[cut:])
            got = [client.answer(method) for method, _, _ in case.requests]
            got += [client.answer() for _ in case.statuses[len(case.requests) :]]
        assert [answer and answer.status for answer in got] == list(case.statuses)
    trial = rig.trial([answer for answer in got if answer])
    trial.agree()
    arrived = {(s.method, s.target, s.length) for s in trial.requests.values()}
    assert arrived == {(m, t.replace("%p", "/ok"), len(b)) for m, t, b in case.requests}
    assert len(trial.requests) == len(case.requests) * (len(raw) - 1)


@pytest.mark.parametrize("name", ["trailers", "the second without a token"])
def test_byte_by_byte(rig: Rig, name: str) -> None:
    """G1: a client that sends single bytes is served like any other."""
    with rig.connect() as client:
        for byte in whole(name):
            client.send(bytes([byte]))
            rig.settle()
        got = [client.answer() for _ in FRAMING[name].statuses]

    assert [answer and answer.status for answer in got] == list(FRAMING[name].statuses)
    judge(rig, [whole(name)], [answer for answer in got if answer])


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    """One of the seeds with one to five changes."""
    raw = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(raw) + 1)
        end = min(len(raw), place + chance.randrange(1, 12))
        match chance.randrange(5):
            case 0:
                raw[place:end] = b""
            case 1:
                raw[place:end] = chance.randbytes(end - place)
            case 2:
                raw[place:place] = chance.choice(PIECES)
            case 3:
                raw[place:place] = raw[place:end] * chance.randrange(1, 4)
            case 4:
                other = chance.choice(seeds)
                raw[place:] = other[chance.randrange(len(other)) :]
    return bytes(raw)


PIECES = [
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b",", b";", b"%", b"_"),
    *(b"0\r\n\r\n", b"1\r\n", b"ffffffff", b"Content-Length: 7\r\n", b"Content-Length: 0\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n"),
    *(
        WEBSOCKET,
        b"Upgrade: websocket\r\nConnection: upgrade\r\n",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"..",
        b"//",
    ),
    *(BEARER, b"Authorization: Bearer x\r\n", b"Host: y\r\n", b"\xff", b"\xc3\xa9"),
]


def test_mutations_with_a_token(rig: Rig) -> None:
    """Changed requests that hold a valid token: the law above, for each of them."""
    chance = random.Random(7860)  # noqa: S311 a repeatable sequence
    seeds = [whole(name, b"/ok/%d" % n) for n, name in enumerate(FRAMING)]
    sent, answered = [], []
    for _ in range(MUTATIONS):
        raw = mutated(chance, seeds)
        sent.append(raw)
        answered += answers(rig, [raw])
    judge(rig, sent, answered)
    assert {answer.status for answer in answered} >= {200, 400, 401}


def test_mutations_without_a_token(rig: Rig) -> None:
    """Without a valid token in it, no sequence of bytes brings anything upstream."""
    chance = random.Random(11434)  # noqa: S311 a repeatable sequence
    seeds = [whole(name).replace(TOKEN.encode(), b"a-tokem-of-the-tests") for name in FRAMING]
    found = []
    for _ in range(MUTATIONS):
        raw = mutated(chance, seeds).replace(TOKEN.encode(), b"")
        found += answers(rig, [raw])
    judge(rig, [], found)
    assert {answer.status for answer in found} <= OWN_STATUSES


LINES = st.sampled_from(
    [
        b"GET /ok HTTP/1.1\r\n",
        b"POST /ok HTTP/1.1\r\n",
        b"HEAD /ok HTTP/1.0\r\n",
        *(HOST, BEARER, CANARY, b"\r\n", b"\r\n\r\n"),
        *(b"Content-Length: %d\r\n" % n for n in (0, 5, len(CANARY))),
        b"Transfer-Encoding: chunked\r\n",
        *(b"5\r\nhello\r\n", b"0\r\n\r\n", b"%x\r\n%b\r\n" % (len(CANARY), CANARY), b"hello"),
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"Origin: http://x\r\nAccess-Control-Request-Method: POST\r\n",
    ]
)


def test_lines_in_any_order(rig: Rig) -> None:
    """Pieces of requests in any order, with noise in between, each piece in a read of its own."""
    sent, answered = [], []

    @settings(max_examples=200, derandomize=True, database=None, deadline=None)
    @given(st.lists(st.one_of(LINES, st.binary(max_size=4)), min_size=1, max_size=14))
    def send(lines: list[bytes]) -> None:
        sent.append(b"".join(lines))
        found = answers(rig, lines)
        answered.extend(found)
        assert all(answer.echo or answer.status in OWN_STATUSES for answer in found)

    send()
    judge(rig, sent, answered)
