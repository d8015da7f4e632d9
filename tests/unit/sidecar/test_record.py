"""The record of a request, and the line that it becomes."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar.errors import INVALID, WAITED
from ollamaserve_sidecar.record import PATH_LIMIT, Outcome, Record, line

ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
text = st.text(st.characters(codec="utf-8"), max_size=300)


def record(**told: object) -> Record:
    made = Record(10.0)
    for name, value in told.items():
        setattr(made, name, value)
    return made


def test_the_line() -> None:
    """Times are UTC to the millisecond, durations milliseconds; what isn't known isn't there."""
    made = record(
        id="id-1",
        token="ada",
        access="infer",
        method="GET",
        path="/api/tags",
        route="/api/tags",
        status=200,
        outcome=Outcome.SERVED,
        ended=10.0123,
        received=1,
        sent=2,
    )
    assert line(made, 1_800_000_000.0456) == (
        b'{"time":"2027-01-15T08:00:00.045Z","requestId":"id-1","token":"ada","access":"infer",'
        b'"method":"GET","route":"/api/tags","path":"/api/tags","status":200,'
        b'"durationMs":12.30,"bytesIn":1,"bytesOut":2,"outcome":"served"}\n'
    )


@given(path=text, model=text, client=text, named=st.booleans())
def test_any_text_is_one_line_of_json(path: str, model: str, client: str, *, named: bool) -> None:
    """Quotes, line ends and everything else are escaped; the line is ASCII."""
    made = record(path=path, model=model, client=client, token="ada" if named else "")
    written = line(made, 1.5)
    read = json.loads(written)

    assert written.isascii()
    assert written.count(b"\n") == 1
    assert read["path"] == (path if named else "")
    assert read.get("model", "") == model
    assert read.get("client", "") == client


@given(st.floats(0, 4e9))
def test_every_moment_is_a_date(now: float) -> None:
    """RFC 3339, whatever the fraction."""
    time = json.loads(line(record(), now))["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)


def test_new_ids_are_all_different() -> None:
    """And look like ids, so that another gate behind this one keeps them."""
    made = [record() for _ in range(100)]
    headers = {one.header() for one in made}

    assert len(headers) == 100
    assert all(ID.fullmatch(one.id) for one in made)
    assert made[0].header() == f"X-Request-Id: {made[0].id}\r\n".encode()


def test_refusals_say_why() -> None:
    """The cause where the code is shared by several, the code elsewhere."""
    made = record()
    made.refused(WAITED)
    assert (made.status, made.outcome, made.reason) == (429, Outcome.TIMED_OUT, "queue_timeout")
    made.refused(INVALID)
    assert (made.status, made.outcome, made.reason) == (401, Outcome.REFUSED, "invalid_token")


def test_a_line_is_short() -> None:
    """Whatever a client sends: a pipe has to take a line as a whole (POSIX: 512 bytes at least)."""
    made = record(
        id="x" * 64,
        token="t" * 63,
        access="manage",
        method="OPTIONS",
        path='"' * PATH_LIMIT,
        route="/api/experimental/model-recommendations",
        model="\U0001f600" * 256,
        reason="malformed_authorization",
        first=11.0,
        prompt=10**9,
        generated=10**9,
    )
    assert len(line(made, 1.8e9)) <= 4096
