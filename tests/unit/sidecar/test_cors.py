"""Which origins can be configured, and what headers may be asked for (P23, G16)."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar import wire
from ollamaserve_sidecar.cors import Cors, cors
from ollamaserve_sidecar.fields import ConfigError
from ollamaserve_sidecar.wire import Request

LISTED = Cors(frozenset({b"https://app.example"}))


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def request(loop: asyncio.AbstractEventLoop, *fields: str) -> Request:
    lines = "".join(field + "\r\n" for field in fields)
    parsed = wire.request(f"OPTIONS / HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode(), loop)
    assert isinstance(parsed, Request)
    return parsed


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example",
        "http://localhost:3000",
        "http://[::1]:8080",
        "chrome-extension://abcdefghijklmnop",
        "app://obsidian.md",
        "*",
    ],
)
def test_origins(origin: str) -> None:
    """What browsers send as Origin can be written, and `*`."""
    assert cors({"allowedOrigins": [origin]}) == Cors(frozenset({origin.encode()}))


@pytest.mark.parametrize(
    "origin",
    [
        "app.example",
        "https://app.example/",
        "https://app.example:443",
        "http://app.example:80",
        "https://App.example",
        "https://*.example",
        "http://localhost:*",
        "null",
        "",
        "https://a b",
        "https://a\r\nSet-Cookie: b",
        7,
    ],
)
def test_origins_that_never_match_are_refused(origin: object) -> None:
    """A typo would deny silently, so it is an error that says how origins are written."""
    with pytest.raises(ConfigError, match=r"cors.allowedOrigins\[0\] is .*: write scheme://host"):
        cors({"allowedOrigins": [origin]})


def test_unknown_keys_are_refused() -> None:
    """`allowCredentials`, say: there is no such thing here (G16)."""
    with pytest.raises(ConfigError, match="cors has unknown keys: allowCredentials"):
        cors({"allowedOrigins": [], "allowCredentials": True})


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40))
def test_only_the_exact_origin_is_allowed(loop: asyncio.AbstractEventLoop, origin: str) -> None:
    """Whatever Origin is sent: it is allowed only if it is in the list, byte for byte."""
    given_lines = LISTED.lines(request(loop, f"Origin: {origin}"))

    assert (b"Access-Control-Allow-Origin" in given_lines) == (origin == "https://app.example")


@given(st.text(st.sampled_from("xX-stainlessST,; *a1\t"), max_size=300))
def test_preflights_grant_no_other_headers(loop: asyncio.AbstractEventLoop, asked: str) -> None:
    """Whatever is asked for: one line of known names, and `x-stainless-` ones of letters."""
    page = "Origin: https://app.example"
    plain = LISTED.preflight(request(loop, page))
    more = LISTED.preflight(request(loop, page, f"Access-Control-Request-Headers: {asked.strip()}"))
    known, granted = names(plain), names(more)

    assert granted[: len(known)] == known
    assert all(
        name.removeprefix("x-stainless-").replace("-", "a").isalpha()
        and name.startswith("x-stainless-")
        for name in granted[len(known) :]
    )
    assert len(more.split(b"\r\n")) == len(plain.split(b"\r\n"))


def names(lines: bytes) -> list[str]:
    (line,) = [line for line in lines.split(b"\r\n") if b"Allow-Headers" in line]
    return line.decode().partition(": ")[2].split(", ")
