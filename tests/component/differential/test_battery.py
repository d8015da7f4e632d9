"""The gate in front of Go's net/http: no bytes that the two read differently (G1, G9, G10).

Behind everything that is refused, and in every body, stands a whole request with a valid token: it
must never arrive.
"""

from hashlib import sha256

import pytest

from battery import REFUSED, REFUSED_CHUNKS, statuses
from component.differential.cases import (
    ACCEPTED_CREDENTIALS,
    BODY,
    FIELDS,
    FRAMING,
    FULL_TARGETS,
    IN_ONE_CHUNK,
    REFUSED_CREDENTIALS,
    REFUSED_TARGETS,
    TARGETS,
    TOKENS_IN_URLS,
    Case,
)
from component.differential.rig import BEARER, CANARY, HOST, Answer, Client, Rig, Trial

PATH = "/ok"
AGAIN = "/api/tags"
Arrived = list[tuple[str, str, str]]


def ask(client: Client, raw: bytes, *methods: str) -> list[Answer]:
    """Send; one answer for each method of the requests in `raw`."""
    client.send(raw)
    answers = [client.answer(method) for method in methods]
    assert None not in answers
    return [answer for answer in answers if answer]


def is_open(client: Client) -> bool:
    """Whether the connection takes another request; if not, it ends without another byte."""
    client.send(b"GET " + AGAIN.encode() + b" HTTP/1.1\r\n" + HOST + BEARER + b"\r\n")
    answer = client.answer()
    if answer is None:
        assert client.rest() == b""
        return False
    assert (answer.status, bool(answer.echo)) == (200, True)
    return True


def arrived(trial: Trial) -> Arrived:
    """What came through, but for the look whether the connection is open."""
    seen = [seen for seen in trial.requests.values() if seen.target != AGAIN]
    assert all(one.whole for one in seen)
    return [(one.method, one.target, one.sha256) for one in seen]


def refused(rig: Rig, raw: bytes, *expected: int) -> None:
    """One answer of the gate's own, then the end; nothing upstream."""
    with rig.connect() as client:
        (answer,) = ask(client, raw + CANARY, "GET")
        assert answer.status in expected
        assert not answer.echo
        assert answer.fields["content-type"] == "application/json"
        assert answer.fields["connection"] == "close"
        assert not is_open(client)
        trial = rig.trial([answer])
    trial.agree()
    assert not trial.requests


@pytest.mark.parametrize("case", REFUSED)
def test_refused_heads(rig: Rig, case: str) -> None:
    """G1: a head that two servers could read differently ends the connection, token or not."""
    refused(rig, REFUSED[case].replace(b"%b", HOST + BEARER), *statuses(case))


@pytest.mark.parametrize("case", REFUSED_TARGETS)
def test_refused_targets(either: Rig, case: str) -> None:
    """G10, A8: targets that can be read in two ways are refused whatever the token may do."""
    raw = b"GET " + REFUSED_TARGETS[case] + b" HTTP/1.1\r\n" + HOST + BEARER + b"\r\n"
    with either.connect() as client:
        (answer,) = ask(client, raw, "GET")
        assert (answer.status, answer.echo) == (400, "")
        trial = either.trial([answer])
    trial.agree()
    assert not trial.requests


@pytest.mark.parametrize("case", REFUSED_CHUNKS)
def test_refused_chunks(rig: Rig, case: str) -> None:
    """G1: a body that isn't chunks is never whole upstream, and ends both connections."""
    head = b"POST /ok HTTP/1.1\r\n" + HOST + BEARER + b"Transfer-Encoding: chunked\r\n\r\n"
    with rig.connect() as client:
        (answer,) = ask(client, head + REFUSED_CHUNKS[case] + CANARY, "POST")
        assert (answer.status, answer.echo) == (400, "")
        assert not is_open(client)
        trial = rig.trial([answer])
    trial.agree()
    assert not [seen for seen in trial.requests.values() if seen.whole]


@pytest.mark.parametrize("case", [*FRAMING, *FIELDS])
def test_served(either: Rig, case: str) -> None:
    """G1, P1, P17: what is served arrives once, with its own body, fields and path; no more."""
    wanted = (FRAMING | FIELDS)[case]
    served = serve(either, wanted)
    served.agree()

    expected = [(m, t.replace("%p", PATH), sha256(b).hexdigest()) for m, t, b in wanted.requests]
    assert arrived(served) == expected
    if wanted.fields is not None:
        passed = dict(next(iter(served.requests.values())).fields)
        assert without_own(passed) == wanted.fields


def serve(rig: Rig, case: Case) -> Trial:
    raw = case.raw.replace(b"%h", HOST + BEARER).replace(b"%p", PATH.encode())
    methods = [method for method, _, _ in case.requests]
    methods += ["GET"] * (len(case.statuses) - len(methods))
    with rig.connect() as client:
        answers = ask(client, raw, *methods)
        assert tuple(answer.status for answer in answers) == case.statuses
        assert is_open(client) is case.stays
        return rig.trial(answers)


def without_own(fields: dict[bytes, list[bytes]]) -> dict[bytes, list[bytes]]:
    own = {b"content-length", b"x-request-id"}
    return {name: values for name, values in fields.items() if name not in own}


@pytest.mark.parametrize("case", [*TARGETS, *FULL_TARGETS])
def test_targets(either: Rig, case: str) -> None:
    """G10: a target that may pass is forwarded byte for byte."""
    target = (TARGETS | FULL_TARGETS)[case].replace("%p", PATH)
    raw = f"GET {target} HTTP/1.1\r\n".encode() + HOST + BEARER + b"\r\n"
    with either.connect() as client:
        trial = either.trial(ask(client, raw, "GET"))
    trial.agree()
    assert [seen.target for seen in trial.requests.values()] == [target]


@pytest.mark.parametrize("case", FULL_TARGETS)
def test_limited_tokens_get_no_ambiguous_paths(limited: Rig, case: str) -> None:
    """G10: what decodes to another path than it seems is 400, or decided on as decoded."""
    target = FULL_TARGETS[case].replace("%p", "/api")
    limited.echo.forget()
    with limited.connect() as client:
        raw = f"POST {target} HTTP/1.1\r\n".encode() + HOST + BEARER + b"\r\n"
        (answer,) = ask(client, raw, "POST")
        trial = limited.trial([answer])

    assert answer.status == (403 if case == "encoded letters" else 400)
    assert not trial.requests
    limited.serves()


@pytest.mark.parametrize("case", ACCEPTED_CREDENTIALS)
def test_accepted_credentials(either: Rig, case: str) -> None:
    """A4, G9: either header, any case of the scheme; and the token stays with the gate."""
    raw = b"GET /ok HTTP/1.1\r\n" + HOST + ACCEPTED_CREDENTIALS[case] + b"\r\n\r\n"
    with either.connect() as client:
        trial = either.trial(ask(client, raw, "GET"))
    trial.agree()
    assert arrived(trial) == [("GET", "/ok", sha256().hexdigest())]


@pytest.mark.parametrize("case", REFUSED_CREDENTIALS)
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "DELETE"])
def test_refused_credentials(either: Rig, case: str, method: str) -> None:
    """A3, A4, G9: whoever doesn't present exactly one valid token reaches nothing."""
    credentials, status = REFUSED_CREDENTIALS[case]
    head = f"{method} /canary HTTP/1.1\r\nContent-Length: {len(BODY)}\r\n".encode()
    with either.connect() as client:
        (answer,) = ask(client, head + HOST + credentials + b"\r\n\r\n" + BODY, "GET")
        trial = either.trial([answer])

    assert (answer.status, answer.echo) == (status, "")
    assert not trial.requests


UNWANTED = {
    "no token": (b"POST /canary HTTP/1.1\r\n", 401),
    "not allowed": (b"POST /api/pull HTTP/1.1\r\n" + BEARER, 403),
    "a bad target": (b"POST /api//x HTTP/1.1\r\n" + BEARER, 400),
}


@pytest.mark.parametrize("case", UNWANTED)
@pytest.mark.parametrize("framing", ["whole", "chunked", "in two writes", "never whole"])
def test_bodies_of_the_refused(limited: Rig, case: str, framing: str) -> None:
    """G1: what follows a refused head is its body, or nothing; never a request."""
    start, status = UNWANTED[case]
    chunked = framing == "chunked"
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(BODY)
    body = IN_ONE_CHUNK if chunked else BODY
    parts = {"in two writes": [b"", body], "never whole": [body[: len(CANARY)]]}
    limited.echo.forget()
    with limited.connect() as client:
        first, *others = parts.get(framing, [body])
        (answer,) = ask(client, start + HOST + length + b"\r\n\r\n" + first, "POST")
        for part in others:
            client.send(part)
        stays = is_open(client)
        trial = limited.trial([answer])
    trial.agree()

    assert (answer.status, answer.echo) == (status, "")
    assert stays is (framing == "whole")
    assert {seen.target for seen in trial.requests.values()} <= {AGAIN}


@pytest.mark.parametrize("name", TOKENS_IN_URLS)
def test_no_token_in_urls(either: Rig, name: str) -> None:
    """A6: a token in the query is none."""
    raw = b"GET /canary?%b=a-token-of-the-tests HTTP/1.1\r\n" % name.encode() + HOST + b"\r\n"
    with either.connect() as client:
        (answer,) = ask(client, raw, "GET")
        trial = either.trial([answer])

    assert (answer.status, answer.echo) == (401, "")
    assert not trial.requests


def test_an_upload_without_a_token_is_cut(rig: Rig) -> None:
    """P8: 64 MiB of a body that nobody asked for aren't taken; the 401 arrives nevertheless."""
    head = b"POST /canary HTTP/1.1\r\nContent-Length: 67108864\r\n" + HOST + b"\r\n"
    with rig.connect() as client:
        client.send(head)
        answer = client.answer("POST")
        assert answer
        assert answer.status == 401
        sent = client.send_until_cut(bytes(1 << 16), 64 << 20)
        trial = rig.trial([answer])

    assert sent < 64 << 20
    assert not trial.requests
