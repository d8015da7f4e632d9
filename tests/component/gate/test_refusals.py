"""Who is let in, and what the others are told (decisions G5, G9, G10)."""

import json

import pytest

from component.gate.rig import BEARER, TOKEN, Rig

MISSING = "no token came"
MALFORMED = "can't be read"
INVALID = "isn't valid"


def get(headers: bytes, target: bytes = b"/api/tags") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n"


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        (b"", 401, MISSING),
        (b"Cookie: token=" + TOKEN.encode() + b"\r\n", 401, MISSING),
        (b"Authorization_: Bearer " + TOKEN.encode() + b"\r\n", 401, MISSING),
        (b"Authorization: " + TOKEN.encode() + b"\r\n", 401, MALFORMED),
        (b"Authorization: Basic dXNlcjpwYXNz\r\n", 401, MALFORMED),
        (b"Authorization: Bearer\r\n", 401, MALFORMED),
        (b"Authorization: Bearer \r\n", 401, MALFORMED),
        (b"Authorization: Bearer a b\r\n", 401, MALFORMED),
        (b"Authorization: Bearer\t" + TOKEN.encode() + b"\r\n", 401, MALFORMED),
        (b"Authorization: Bearer caf\xc3\xa9-and-more\r\n", 401, MALFORMED),
        (b"Authorization: key:signature\r\n", 401, MALFORMED),
        (b"x-api-key: \r\n", 401, MALFORMED),
        (b"x-api-key: a b\r\n", 401, MALFORMED),
        (b"Authorization: Bearer wrong-token\r\n", 401, INVALID),
        (b"Authorization: Bearer " + TOKEN.upper().encode() + b"\r\n", 401, INVALID),
        (b"x-api-key: wrong-token\r\n", 401, INVALID),
        (BEARER + BEARER, 400, "more than one token"),
        (BEARER + b"x-api-key: another\r\n", 400, "more than one token"),
        ((b"x-api-key: " + TOKEN.encode() + b"\r\n") * 2, 400, "more than one token"),
    ],
)
async def test_refused(rig: Rig, headers: bytes, status: int, message: str) -> None:
    """G9, A3, A4, A6: three distinct 401s, 400 for what is ambiguous; Ollama hears nothing."""
    client = await rig.connect()
    answer = await client.ask(get(headers))

    assert answer.status == status
    assert message in json.loads(answer.body)["error"]
    assert answer.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert await rig.metrics.next() == ("", "-", status)
    assert not rig.upstream.connections


async def test_a_refused_connection_goes_on(rig: Rig) -> None:
    """P8: where no body is in the way, a refusal doesn't close the connection."""
    client = await rig.connect()
    for _ in range(3):
        assert (await client.ask(get(b""))).status == 401
    refused = b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    assert (await client.ask(refused, "POST")).status == 401
    assert "connection" not in (await client.ask(get(b""))).headers


@pytest.mark.parametrize(
    "headers",
    [
        BEARER,
        BEARER.replace(b"Bearer ", b"bEARER   "),
        BEARER.upper().replace(TOKEN.upper().encode(), TOKEN.encode()),
        b"X-Api-Key: " + TOKEN.encode() + b"\r\n",
        BEARER + b"x-api-key: " + TOKEN.encode() + b"\r\n",
    ],
)
async def test_accepted(rig: Rig, headers: bytes) -> None:
    """G9: the scheme in any case, x-api-key as Anthropic's clients send it, both if equal."""
    _, _, head = await rig.exchange(get(headers))

    assert TOKEN.encode() not in head


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        ("/api/tags", lambda error: error["error"]),
        ("/v1/models", lambda error: error["error"]["message"]),
        ("/v1/messages", lambda error: error["error"]["message"]),
    ],
)
async def test_errors_have_the_shape_of_their_api(rig: Rig, target: str, shape) -> None:  # type: ignore[no-untyped-def]
    """Ollama's error is a string, OpenAI's and Anthropic's an object."""
    client = await rig.connect()
    error = json.loads((await client.ask(get(b"", target.encode()))).body)

    assert MISSING in shape(error)
    assert error.get("type") == ("error" if target == "/v1/messages" else None)


@pytest.mark.parametrize("target", [b"/api/tags", b"/v1/models", b"/v1/messages"])
@pytest.mark.parametrize("field", [b"Authorization: Bearer ", b"x-api-key: "])
async def test_three_messages_in_every_shape(rig: Rig, field: bytes, target: bytes) -> None:
    """A4, G9: missing, malformed and invalid are told apart, whichever header and API it is."""
    client = await rig.connect()
    for value, message in ((b"", MISSING), (b"a b", MALFORMED), (b"wrong-token", INVALID)):
        headers = field + value + b"\r\n" if value else b""
        answer = await client.ask(get(headers, target))
        assert (answer.status, message in answer.body.decode()) == (401, True)


async def test_a_refused_head_has_no_body(rig: Rig) -> None:
    """P15: HEAD without a token gets the head of the 401 alone, and the connection goes on."""
    client = await rig.connect()
    for _ in range(2):
        answer = await client.ask(get(b"").replace(b"GET", b"HEAD"), "HEAD")
        assert (answer.status, answer.body) == (401, b"")


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 5000000000", b"Transfer-Encoding: chunked"],
    ids=["counted", "chunked"],
)
async def test_an_unauthenticated_upload_is_cut(rig: Rig, framing: bytes) -> None:
    """P8: the answer comes at once, then the end, whatever the client still sends."""
    client = await rig.connect()
    await client.send(b"POST /api/blobs/sha256:0 HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
    answer = await client.answer("POST")

    assert (answer.status, answer.headers["connection"]) == (401, "close")
    assert await client.rest() == b""
    assert not rig.upstream.connections


async def test_a_lingering_upload_is_read_no_further_than_64_kib(rig: Rig) -> None:
    """P8: a client that goes on sending after a refusal is neither read nor kept for long."""
    client = await rig.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000000\r\n\r\n")
    assert (await client.answer("POST")).status == 401
    client.writer.write(b"x" * (32 << 20))
    await rig.settle_until(lambda: all(held._paused for held in rig.gate.clients))
    (held,) = rig.gate.clients
    held.sweep(rig.gate.loop.time() + 2)
    await rig.settle_until(lambda: not rig.gate.clients)


async def test_expect_is_not_answered_without_a_token(rig: Rig) -> None:
    """P7: 100 Continue only for who is let in."""
    client = await rig.connect()
    answer = await client.ask(
        b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        "POST",
    )

    assert (answer.status, answer.informational) == (401, [])
    assert answer.headers["connection"] == "close"


async def test_a_preflight_needs_no_token_and_allows_nothing(rig: Rig) -> None:
    """P23: the gate answers a browser's preflight itself; no origin is allowed by default."""
    client = await rig.connect()
    preflight = (
        b"OPTIONS /api/chat HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\n"
        b"Access-Control-Request-Method: POST\r\n\r\n"
    )
    for _ in range(2):
        answer = await client.ask(preflight, "OPTIONS")
        assert answer.status == 204
        assert not [name for name in answer.headers if name.startswith("access-control")]
    plain = b"OPTIONS /api/chat HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\n\r\n"
    assert (await client.ask(plain, "OPTIONS")).status == 401
    assert not rig.upstream.connections


async def test_tiers(limited: Rig) -> None:
    """A token with access infer: what it may, what it may not, and what it is told."""
    client, server, _ = await limited.exchange(get(BEARER))
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (await client.answer()).status == 200
    assert await limited.metrics.next() == ("AUTH_TOKEN", "/api/tags", 200)
    answer = await client.ask(
        b"POST /api/pull HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + BEARER + b"\r\n{}", "POST"
    )

    assert answer.status == 403
    assert "access is 'infer', and this request needs 'manage'" in answer.body.decode()
    assert await limited.metrics.next() == ("AUTH_TOKEN", "/api/pull", 403)
    assert len(limited.upstream.connections) == 1


@pytest.mark.parametrize(
    "target", [b"/api/%70ull", b"/api/pull/", b"/api/nothing", b"/%61pi/pull?x", b"/api/PULL"]
)
async def test_other_spellings_need_more_access(limited: Rig, target: bytes) -> None:
    """G10: the decision falls on the decoded path, and an unknown one is for full access only."""
    client = await limited.connect()
    request = (
        b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + BEARER + b"\r\n"
    )

    assert (await client.ask(request, "POST")).status == 403


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/tag"), ("PUT", "/api/generate")])
async def test_a_slip_is_told_as_one(limited: Rig, method: str, path: str) -> None:
    """Who mistypes path or method reads so, and is not just sent for a mightier token."""
    client = await limited.connect()
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n".encode()
    answer = await client.ask(head + BEARER + b"\r\n", method)

    assert (answer.status, "check how it is spelt" in answer.body.decode()) == (403, True)


@pytest.mark.parametrize(
    "target",
    [b"/api/x%2fpull", b"/api//tags", b"/api/../tags", b"/api/%2e%2E/tags", b"/api/t%25", b"/%00"],
)
async def test_ambiguous_paths_are_refused_for_limited_tokens(limited: Rig, target: bytes) -> None:
    """G10: what could be read in two ways is a 400."""
    client = await limited.connect()

    assert (await client.ask(get(BEARER, target))).status == 400


async def test_encoded_model_names_pass_unchanged(limited: Rig) -> None:
    """G10: clients do send an encoded colon; the bytes are forwarded as they came."""
    _, _, head = await limited.exchange(get(BEARER, b"/v1/models/llama2%3A7b?a=%20"))

    assert head.startswith(b"GET /v1/models/llama2%3A7b?a=%20 HTTP/1.1\r\n")


async def test_a_revoked_token_is_refused_from_the_next_request_on(limited: Rig) -> None:
    """G5: once the tokens have been swapped, an open connection doesn't help."""
    client, server, _ = await limited.exchange(get(BEARER))
    await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await client.answer()
    folder = limited.live._source.tokens_dir
    assert folder
    (folder / "AUTH_TOKEN").unlink()
    assert limited.live.check()

    assert (await client.ask(get(BEARER))).status == 401
