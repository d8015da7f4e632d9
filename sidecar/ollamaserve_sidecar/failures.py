"""Why a pull failed, read from Ollama's own words. Pure; any room may enter.

Ollama reports everything as text under HTTP 200 or 500, so the text is all there is to tell a
failure that may pass from one that won't. The words are those of Ollama v0.17.4
(`server/images.go`, `download.go`, `auth.go`), which component tests hear from a running one;
words that are not known count as passing: trying once more costs less than giving up on a network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

MESSAGE_LIMIT = 1000
"""Characters of Ollama's words that are passed on; a registry's whole error page is no message."""
_URL_SECRETS = re.compile(r"(?<=://)[^/@\s\"]+@|\?[^\s\"]+")


class Cause(StrEnum):
    """The reasons of the pull's termination message (docs/architecture.md)."""

    MODEL_NOT_FOUND = "ModelNotFound"
    PULL_DENIED = "PullDenied"
    DIGEST_MISMATCH = "DigestMismatch"
    DISK_FULL = "DiskFull"
    PULL_FAILED = "PullFailed"
    CREATE_FAILED = "CreateFailed"
    OLLAMA_UNREACHABLE = "OllamaUnreachable"
    INVALID_CONFIGURATION = "InvalidConfiguration"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed pull; `permanent` means that trying again can't help until somebody acts."""

    cause: Cause
    message: str
    model: str = ""
    permanent: bool = False


_PERMANENT: tuple[tuple[re.Pattern[str], Cause], ...] = (
    (re.compile(r"^pull model manifest: file does not exist"), Cause.MODEL_NOT_FOUND),
    (re.compile(r"no space left on device|disk quota exceeded"), Cause.DISK_FULL),
    (
        re.compile(r"^(pull model manifest: )?(40[13]\b|unauthorized|realm host )"),
        Cause.PULL_DENIED,
    ),
    (
        re.compile(r"^invalid model name|^insecure protocol http|gave HTTP response to HTTPS"),
        Cause.INVALID_CONFIGURATION,
    ),
    # Any other 4xx on the manifest ("requires a newer version of Ollama" is a 412), but for
    # 408 and 429, which ask to come back.
    (re.compile(r"^pull model manifest: 4(?!08|29)\d\d\b"), Cause.PULL_FAILED),
)


def classify_creation(status: int, words: str, model: str) -> Failure:
    """The failure to make `model` of another one: a 4xx is about what was asked for."""
    found = classify(words, model)
    if found.permanent or found.cause is not Cause.PULL_FAILED:
        return found
    return replace(found, cause=Cause.CREATE_FAILED, permanent=400 <= status < 500)  # noqa: PLR2004 HTTP's classes


def classify(words: str, model: str = "") -> Failure:
    """The failure that Ollama's `words` about `model` mean."""
    message = safe(words)
    for pattern, cause in _PERMANENT:
        if pattern.search(words):
            return Failure(cause, message, model, permanent=True)
    # A layer that doesn't hash to its name is thrown away by Ollama and fetched again.
    corrupt = words.startswith("digest mismatch")
    return Failure(Cause.DIGEST_MISMATCH if corrupt else Cause.PULL_FAILED, message, model)


def safe(words: str) -> str:
    """Ollama's words in one line of bounded length, without the credentials that URLs may carry."""
    return _URL_SECRETS.sub("", " ".join(words.split()))[:MESSAGE_LIMIT]
