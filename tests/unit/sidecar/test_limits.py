"""The limits as configured, and the pace of requests (G12)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar.fields import ConfigError
from ollamaserve_sidecar.limits import Limits, Pace, limits


def test_defaults() -> None:
    """G12: 64 MiB, 128 at once, 256 waiting for 300 s at most, no pace."""
    assert limits({}) == Limits(64 << 20, 128, 0, 256, 300, 0, 4096)


def test_every_key_is_taken() -> None:
    """Each key of `limits` ends up in its own field."""
    keys = (
        "bodyBytes concurrentRequests concurrentRequestsPerToken queue queueWaitSeconds"
        " requestsPerMinute connections"
    )
    entry = {key: number for number, key in enumerate(keys.split(), start=1)}

    assert limits(entry) == Limits(1, 2, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"queue": -1}, "limits.queue is -1: write a whole number, 0 to"),
        ({"concurrentRequests": 0}, "limits.concurrentRequests is 0: write a whole number, 1 to"),
        ({"bodyBytes": "64Mi"}, "limits.bodyBytes is '64Mi': write a whole number"),
        ({"connections": True}, "limits.connections is True"),
        ({"requestsPerMinute": 1.5}, "limits.requestsPerMinute is 1.5"),
        ({"requestPerMinute": 1}, "limits has unknown keys: requestPerMinute"),
        ([], "limits is []: write a JSON object"),
    ],
)
def test_wrong_limits_are_refused(entry: object, words: str) -> None:
    """The error names the field, the value and the remedy."""
    with pytest.raises(ConfigError) as caught:
        limits(entry)

    assert words in str(caught.value)


def test_only_blobs_are_unlimited() -> None:
    """G12: a model's weights may be of any size; their route needs the access manage."""
    assert Limits().body("/api/blobs/:digest") is None
    assert Limits().body("/api/chat") == 64 << 20


@given(
    st.integers(1, 600),
    st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=200),
)
def test_the_pace_is_kept(per_minute: int, pauses: list[float]) -> None:
    """In any stretch of time no more than the burst and what it refills goes through."""
    pace, now, let_in = Pace(), 0.0, 0
    for pause in pauses:
        now += pause
        let_in += pace.wait("ada", per_minute, now) == 0

    assert let_in <= per_minute + now * per_minute / 60 + 1e-6


@given(st.integers(1, 600), st.integers(0, 700))
def test_the_wait_that_is_told_is_enough(per_minute: int, requests: int) -> None:
    """Who comes again after the time that was named is let in, and one token's pace is its own."""
    pace = Pace()
    waits = [pace.wait("ada", per_minute, 5.0) for _ in range(requests)]
    wait = waits[-1] if waits else 0.0
    if not wait:
        return

    assert waits.count(0.0) == per_minute
    assert pace.wait("bob", per_minute, 5.0) == 0
    assert pace.wait("ada", per_minute, 5.0 + wait + 1e-6) == 0


def test_no_pace_by_default() -> None:
    """0 requests per minute means that nobody counts."""
    pace = Pace()

    assert not any(pace.wait("ada", 0, 0.0) for _ in range(10_000))
