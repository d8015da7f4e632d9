"""Signed requests at the door: which are let in, and what the others are told (G4, G9)."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from component.gate.conftest import opened
from component.gate.keys import line, signed
from component.gate.rig import BEARER, TOKEN, Answer, Rig

ADA, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
NOW = 1_800_000_000.0
UNSIGNED, STALE = "isn't signed by a key", "too old, from the future, or was used before"
MALFORMED, AMBIGUOUS = "can't be read", "more than one token"


@pytest.fixture
async def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """A gate with a token and a key, whose clock stands still at NOW."""
    folder, config = tmp_path / "tokens", tmp_path / "gate.json"
    folder.mkdir()
    (folder / "AUTH_TOKEN").write_text(TOKEN)
    authorise(config)
    monkeypatch.setattr(time, "time", lambda: NOW)
    async with opened(GATE_TOKENS_DIR=str(folder), GATE_CONFIG=str(config)) as rig:
        yield rig


def authorise(config: Path, **grant: object) -> None:
    keys = [{"name": "ada", "key": line(ADA)} | grant]
    tokens = {"AUTH_TOKEN": {"access": "infer"}}
    config.write_text(json.dumps({"tokens": tokens, "authorizedKeys": keys}))


def request(
    target: str, *credentials: str, method: str = "GET", header: str = "Authorization"
) -> bytes:
    fields = "".join(f"{header}: {value}\r\n" for value in credentials)
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode()


async def asked(rig: Rig, raw: bytes) -> Answer:
    """The gate's own answer to a refused request."""
    client = await rig.connect()
    return await client.ask(raw)


async def passed(rig: Rig, raw: bytes) -> bytes:
    """The head that Ollama was sent."""
    client, server, head = await rig.exchange(raw)
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    assert (await client.answer()).status == 200
    return head


async def test_a_signed_request_is_let_in(door: Rig) -> None:
    """G4: by its key's name, without its credentials, the target as it came."""
    target, value = signed(ADA, "GET", "/api/tags", NOW)
    head = await passed(door, request(target, value))

    assert head.startswith(f"GET {target} HTTP/1.1\r\n".encode())
    assert value.encode() not in head
    assert await door.metrics.next() == ("ada", "/api/tags", 200)


@pytest.mark.parametrize("shift", [-30, -29, 0, 4, 5])
async def test_inside_the_window(door: Rig, shift: int) -> None:
    """G4: from 30 s behind the gate's clock to 5 s ahead of it."""
    await passed(door, request(*signed(ADA, "GET", "/api/tags", NOW + shift)))


@pytest.mark.parametrize("shift", [-1e9, -31, 6, 1e9])
async def test_outside_the_window(door: Rig, shift: float) -> None:
    """G4: older or newer ones are refused, and the person is told to look at the clock."""
    answer = await asked(door, request(*signed(ADA, "GET", "/api/tags", NOW + shift)))

    assert (answer.status, STALE in answer.body.decode()) == (401, True)


async def test_sixteen_uses(door: Rig) -> None:
    """G4: equal calls within a second are equal on the wire; the seventeenth is a replay."""
    raw = request(*signed(ADA, "GET", "/api/tags", NOW))
    for _ in range(16):
        await passed(door, raw)
    answer = await asked(door, raw)

    assert (answer.status, STALE in answer.body.decode()) == (401, True)
    assert door.metrics.requests.qsize() == 17
    await passed(door, request(*signed(ADA, "GET", "/api/tags", NOW + 1)))


async def test_a_replay(door: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """G4: more than 5 s after its first use a signature is worth nothing, in the window or not."""
    raw = request(*signed(ADA, "GET", "/api/tags", NOW))
    await passed(door, raw)
    monkeypatch.setattr(time, "time", lambda: NOW + 5)
    await passed(door, raw)
    monkeypatch.setattr(time, "time", lambda: NOW + 5.1)
    answer = await asked(door, raw)

    assert (answer.status, STALE in answer.body.decode()) == (401, True)


async def test_a_reload_forgets_nothing(door: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """G4: what was used before the configuration changed can't be used again after it."""
    raw = request(*signed(ADA, "GET", "/api/tags", NOW))
    await passed(door, raw)
    source = door.live._source.gate_config
    assert source
    authorise(source, access="read")
    assert door.live.check()
    monkeypatch.setattr(time, "time", lambda: NOW + 6)

    assert (await asked(door, raw)).status == 401


async def test_a_removed_key_is_refused_at_once(door: Rig) -> None:
    """G4: the next request after the reload, on an open connection too."""
    client, server, _ = await door.exchange(request(*signed(ADA, "GET", "/api/tags", NOW)))
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await client.answer()
    source = door.live._source.gate_config
    assert source
    source.write_text(json.dumps({"tokens": {"AUTH_TOKEN": {"access": "infer"}}}))
    assert door.live.check()
    answer = await client.ask(request(*signed(ADA, "GET", "/api/tags", NOW)))

    assert (answer.status, UNSIGNED in answer.body.decode()) == (401, True)


TARGET, VALUE = signed(ADA, "GET", "/api/tags", NOW)
KEY, SIGNATURE = VALUE.split(":")


@pytest.mark.parametrize(
    ("target", "value", "message"),
    [
        (*signed(STRANGER, "GET", "/api/tags", NOW), UNSIGNED),
        (*signed(ADA, "POST", "/api/tags", NOW), UNSIGNED),
        (TARGET.replace("tags", "ps"), VALUE, UNSIGNED),
        (TARGET.replace("tags", "%74ags"), VALUE, UNSIGNED),
        (TARGET + "0", VALUE, UNSIGNED),
        (TARGET, f"{line(STRANGER).split()[1]}:{SIGNATURE}", UNSIGNED),
        (TARGET, KEY + ":" + SIGNATURE[1:-3] + "A" + "==", MALFORMED),
        (TARGET, KEY + ":" + "A" * 86 + "==", UNSIGNED),
        (TARGET + "&ts=1", VALUE, MALFORMED),
        (TARGET + "&x=1", VALUE, MALFORMED),
        ("/api/tags?x=1&" + TARGET.partition("?")[2], VALUE, MALFORMED),
        ("/api/tags", VALUE, MALFORMED),
        ("/api/tags?ts=", VALUE, MALFORMED),
        ("/api/tags?ts=-1", VALUE, MALFORMED),
        ("/api/tags?TS=" + TARGET.rpartition("=")[2], VALUE, MALFORMED),
        (TARGET, VALUE + ":", MALFORMED),
        (TARGET, VALUE.replace(":", ": "), MALFORMED),
        (TARGET, "Bearer " + VALUE, "isn't valid"),
        (TARGET, KEY + ":", MALFORMED),
        (TARGET, ":" + SIGNATURE, MALFORMED),
        (TARGET, "a:b", MALFORMED),
    ],
)
async def test_refused(door: Rig, target: str, value: str, message: str) -> None:
    """G4, G9: other keys, other methods, other targets, anything beside the one `ts`."""
    answer = await asked(door, request(target, value))

    assert (answer.status, message in json.loads(answer.body)["error"]) == (401, True)
    assert answer.headers["www-authenticate"].startswith('Bearer realm="ollama"')
    assert not door.upstream.connections


async def test_more_than_one_credential(door: Rig) -> None:
    """G9: a signature beside anything else is a 400."""
    for extra in (BEARER, b"Authorization: " + VALUE.encode() + b"\r\n", b"x-api-key: other\r\n"):
        raw = request(TARGET, VALUE)[:-2] + extra + b"\r\n"
        answer = await asked(door, raw)
        assert (answer.status, AMBIGUOUS in answer.body.decode()) == (400, True)


async def test_a_signature_is_no_api_key(door: Rig) -> None:
    """G9: x-api-key holds tokens only."""
    answer = await asked(door, request(TARGET, VALUE, header="x-api-key"))

    assert (answer.status, "isn't valid" in answer.body.decode()) == (401, True)


async def test_the_keys_tier(door: Rig) -> None:
    """G4: a key may `infer` unless something else is written."""
    answer = await asked(door, request(*signed(ADA, "POST", "/api/me", NOW), method="POST"))

    assert (answer.status, "needs 'full'" in answer.body.decode()) == (403, True)
    assert await door.metrics.next() == ("ada", "/api/me", 403)


async def test_where_no_keys_are_set(limited: Rig) -> None:
    """G4: a gate without keys says what to do about it."""
    answer = await asked(limited, request(*signed(ADA, "GET", "/api/tags", time.time())))

    assert (answer.status, UNSIGNED in answer.body.decode()) == (401, True)
