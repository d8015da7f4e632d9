"""Ollama's words are told apart: what may pass, and what won't until somebody acts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar.failures import MESSAGE_LIMIT, Cause, classify, safe


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("pull model manifest: file does not exist", Cause.MODEL_NOT_FOUND),
        ("pull model manifest: unauthorized: access denied", Cause.PULL_DENIED),
        ("unauthorized: access denied", Cause.PULL_DENIED),
        ("pull model manifest: 401: who are you?", Cause.PULL_DENIED),
        ("pull model manifest: 403: forbidden", Cause.PULL_DENIED),
        ("403: forbidden", Cause.PULL_DENIED),
        (
            'pull model manifest: realm host "" does not match original host "r:5000"',
            Cause.PULL_DENIED,
        ),
        ("write /models/blobs/sha256-1-partial: no space left on device", Cause.DISK_FULL),
        ("max retries exceeded: write /m/x: disk quota exceeded", Cause.DISK_FULL),
        ("invalid model name", Cause.INVALID_CONFIGURATION),
        ("insecure protocol http", Cause.INVALID_CONFIGURATION),
        (
            'pull model manifest: Get "r": http: server gave HTTP response to HTTPS client',
            Cause.INVALID_CONFIGURATION,
        ),
        ("pull model manifest: 412: this model requires a newer version", Cause.PULL_FAILED),
        ("pull model manifest: 410", Cause.PULL_FAILED),
    ],
)
def test_what_will_not_pass_is_permanent(words: str, cause: Cause) -> None:
    """T5, T19: a permanent failure ends the Job at once instead of an endless row of pods."""
    failure = classify(words, "llama2")

    assert (cause, True, "llama2") == (failure.cause, failure.permanent, failure.model)
    assert failure.message == words


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("pull model manifest: 500: out of order", Cause.PULL_FAILED),
        ("pull model manifest: 429: slow down", Cause.PULL_FAILED),
        ("pull model manifest: 408: too slow", Cause.PULL_FAILED),
        ("max retries exceeded: unexpected EOF", Cause.PULL_FAILED),
        ("max retries exceeded: part 401: unexpected EOF", Cause.PULL_FAILED),
        (
            'pull model manifest: Get "https://r/v2/": dial tcp: lookup r: no such host',
            Cause.PULL_FAILED,
        ),
        ("file does not exist", Cause.PULL_FAILED),
        ("context deadline exceeded", Cause.PULL_FAILED),
        ("digest mismatch, file must be downloaded again: want a, got b", Cause.DIGEST_MISMATCH),
    ],
)
def test_what_may_pass_is_tried_again(words: str, cause: Cause) -> None:
    """A missing layer of an existing manifest, or a corrupt one, is a registry being repaired."""
    failure = classify(words)

    assert (cause, False) == (failure.cause, failure.permanent)


@given(st.text())
def test_unknown_words_may_pass(words: str) -> None:
    """Whatever Ollama says one day, there is an answer, on one bounded line."""
    failure = classify(words)

    assert failure.cause in Cause
    assert "\n" not in failure.message
    assert len(failure.message) <= MESSAGE_LIMIT


def test_credentials_in_addresses_are_not_passed_on() -> None:
    """A signed blob address in a network error never reaches a status, an event or a log."""
    words = 'Get "https://me:secret@r2.example/blob?X-Sig=abc&x=1": dial tcp: timeout'

    assert safe(words) == 'Get "https://r2.example/blob": dial tcp: timeout'
