"""Web pages, health checks, and a pod without a way out: what the gate answers by itself."""

import json
from pathlib import Path

import pytest

from component.gate.configured import EMPTY, bearer, configured, get, post
from component.gate.rig import Answer

PAGE = b"Origin: https://app.example\r\n"
OTHER = b"Origin: https://evil.example\r\n"
CORS = {"allowedOrigins": ["https://app.example", "http://localhost:3000"]}


def preflight(origin: bytes, headers: bytes = b"authorization,content-type") -> bytes:
    return (
        b"OPTIONS /api/chat HTTP/1.1\r\nHost: x\r\n" + origin + b"Access-Control-Request-Method: "
        b"POST\r\nAccess-Control-Request-Headers: " + headers + b"\r\n\r\n"
    )


def fields(answer: Answer) -> dict[str, str]:
    return {k: v for k, v in answer.headers.items() if k.startswith("access-control-")}


async def test_preflights_of_allowed_pages(tmp_path: Path) -> None:
    """P23: answered without a token and without Ollama, with what the clients' libraries send."""
    async with configured(tmp_path, cors=CORS) as gate:
        client = await gate.rig.connect()
        asked = b"authorization, X-Stainless-Brand-New, x-evil, x-stainless-" + b"a" * 80
        for _ in range(2):
            answer = await client.ask(preflight(PAGE, asked), "OPTIONS")
            assert (answer.status, answer.headers["vary"]) == (204, "Origin")
            given = fields(answer)
            assert given["access-control-allow-origin"] == "https://app.example"
            assert "POST" in given["access-control-allow-methods"].split(", ")
            names = given["access-control-allow-headers"].lower().split(", ")
            wanted = "authorization x-api-key anthropic-version openai-beta x-stainless-brand-new"
            assert set(wanted.split()) <= set(names)
            assert not [name for name in names if "evil" in name or "aaa" in name]
            assert int(given["access-control-max-age"]) > 0
            assert "access-control-allow-credentials" not in given
        assert not gate.rig.upstream.connections


@pytest.mark.parametrize(
    "origin",
    [
        OTHER,
        b"Origin: https://app.example.evil.example\r\n",
        b"Origin: https://APP.example\r\n",
        b"Origin: http://app.example\r\n",
        b"Origin: https://app.example:8443\r\n",
        b"Origin: null\r\n",
        PAGE + PAGE,
    ],
)
async def test_other_pages_are_allowed_nothing(tmp_path: Path, origin: bytes) -> None:
    """P23: the match is exact; a page that isn't listed gets no permission anywhere."""
    async with configured(tmp_path, cors=CORS) as gate:
        client = await gate.rig.connect()
        for request, method in ((preflight(origin), "OPTIONS"), (get(more=origin), "GET")):
            answer = await client.ask(request, method)
            assert (fields(answer), answer.headers["vary"]) == ({}, "Origin")


async def test_every_answer_can_be_read_by_an_allowed_page(tmp_path: Path) -> None:
    """P23: a 401, a 403, a 429, a 413, a 503 and Ollama's own answers carry the fields."""
    limits = {"concurrentRequests": 1, "queue": 0, "bodyBytes": 10}
    async with configured(tmp_path, cors=CORS, limits=limits, egress=False) as gate:
        await gate.begun("ada")
        client = await gate.rig.connect()
        for request, status in [
            (get(more=PAGE), 401),
            (post("ada", "/api/pull", more=PAGE), 403),
            (post("root", "/api/pull", more=PAGE), 403),
            (post("ada", more=PAGE), 429),
            (get("ada", "/%00", more=PAGE), 400),
            (post("ada", body=b"x" * 11, more=PAGE), 413),
        ]:
            answer = await client.ask(request, "POST")
            given = fields(answer)
            assert (answer.status, answer.headers["vary"]) == (status, "Origin")
            assert given["access-control-allow-origin"] == "https://app.example"
            assert "Retry-After" in given["access-control-expose-headers"].split(", ")


async def test_origin_and_cors_end_at_the_gate(tmp_path: Path) -> None:
    """P23, G16: Ollama hears of no page, and what it would allow doesn't count."""
    async with configured(tmp_path, cors=CORS) as gate:
        client = await gate.rig.connect()
        more = PAGE + b"Access-Control-Request-Headers: a\r\nX-Mine: 1\r\n"
        await client.send(get("ada", more=more))
        server = await gate.rig.upstream.accept()
        head = (await server.until(b"\r\n\r\n")).lower()
        assert b"origin" not in head
        assert b"access-control" not in head
        assert b"x-mine" in head
        await server.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\n"
            b"Access-Control-Allow-Credentials: true\r\nAccess-Control-Max-Age: 9\r\n\r\n"
        )
        answer = await client.answer()

        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert set(fields(answer)) == {
            "access-control-allow-origin",
            "access-control-expose-headers",
        }
        assert answer.headers["vary"] == "Origin"


async def test_any_page_but_never_with_credentials(tmp_path: Path) -> None:
    """G16: `*` is answered as `*`, which browsers refuse together with credentials."""
    async with configured(tmp_path, cors={"allowedOrigins": ["*"]}) as gate:
        client = await gate.rig.connect()
        for request in (preflight(OTHER), get(more=OTHER)):
            given = fields(await client.ask(request, "OPTIONS"))
            assert given["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in given


async def test_nothing_is_allowed_by_default_and_changes_are_followed(tmp_path: Path) -> None:
    """P23: no field at all without `cors`; a page that is added may ask from then on."""
    async with configured(tmp_path) as gate:
        client = await gate.rig.connect()
        answer = await client.ask(get(more=PAGE))
        assert fields(answer) == {}
        assert "vary" not in answer.headers
        gate.configure(cors=CORS)

        assert fields(await client.ask(get(more=PAGE)))


async def test_a_health_path_needs_no_token(tmp_path: Path) -> None:
    """G15: exactly this target, by GET or HEAD, is a 200 without a body."""
    async with configured(tmp_path, healthPath="/") as gate:
        client = await gate.rig.connect()
        for method in ("GET", "HEAD"):
            answer = await client.ask(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode(), method)
            assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
            assert await gate.rig.metrics.next() == ("", "-", 200)
        for target in ("/?a", "//", "/%2f", "/.", "/api/tags"):
            assert (await client.ask(get(target=target))).status == 401
        post_ = await client.ask(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "POST")
        assert post_.status == 401
        assert not gate.rig.upstream.connections


async def test_no_health_path_by_default(tmp_path: Path) -> None:
    """G15: it has to be asked for, and one that is taken back is closed again."""
    async with configured(tmp_path, healthPath="/healthz") as gate:
        client = await gate.rig.connect()
        assert (await client.ask(get(target="/healthz"))).status == 200
        gate.configure()

        assert (await client.ask(get(target="/healthz"))).status == 401


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/me"),
        ("POST", "/api/signout"),
        ("DELETE", "/api/user/keys/abc"),
        ("POST", "/api/experimental/web_search"),
        ("POST", "/api/experimental/web_fetch"),
    ],
)
async def test_without_a_way_out(tmp_path: Path, method: str, target: str) -> None:
    """Decision 12: what could only hang is answered at once, with what to do."""
    request = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n".encode()
    async with configured(tmp_path, egress=False) as gate:
        client = await gate.rig.connect()
        answer = await client.ask(request + bearer("root") + b"\r\n", method)
        remedy = "add it to spec.models, or open spec.networkPolicy.egress"
        assert (answer.status, remedy in json.loads(answer.body)["error"]) == (403, True)
        assert not gate.rig.upstream.connections
        gate.configure(egress=True)
        await client.send(request + bearer("root") + b"\r\n")
        await (await gate.rig.upstream.accept()).send(EMPTY)

        assert (await client.answer(method)).status == 200
