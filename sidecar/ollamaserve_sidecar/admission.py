"""The verdict on a request's head: who asks, and may they.

Pure. `tokens` and `policy` know nothing of HTTP, and `gate` knows nothing of credentials.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ollamaserve_sidecar import allowance
from ollamaserve_sidecar.errors import (
    AMBIGUOUS,
    INVALID,
    MALFORMED,
    MISSING,
    STALE,
    UNSIGNED,
    Problem,
    bad_request,
    forbidden,
    unlisted,
)
from ollamaserve_sidecar.policy import UNLISTED, Allowed, Denied, decide
from ollamaserve_sidecar.signature import Fault, Signers, looks_signed

if TYPE_CHECKING:
    from ollamaserve_sidecar.tokens import Identity, TokenSet
    from ollamaserve_sidecar.wire import Request

_BEARER = re.compile(rb"bearer +([!-~]+)", re.IGNORECASE)
_API_KEY = re.compile(rb"([!-~]+)")


@dataclass(frozen=True, slots=True)
class Admitted:
    """`models` is not None where bodies are read; the rest is for metrics and logs."""

    token: str
    label: str
    models: frozenset[str] | None = None
    access: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """`token` is empty and `label` is `-` as far as they weren't found out."""

    problem: Problem
    token: str = ""
    label: str = "-"
    access: str = ""


def admit(request: Request, tokens: TokenSet, signers: Signers, now: float) -> Admitted | Refused:
    """Decide on the method, the raw target and the credentials, and on nothing else."""
    value = _presented(request)
    if value is MALFORMED:
        identity = _signed(request, signers, now)
    elif isinstance(value, Problem):
        return Refused(value)
    else:
        identity = tokens.find(value, now) or INVALID
    if isinstance(identity, Problem):
        return Refused(identity)
    match decide(identity.access, request.method, request.target):
        case Allowed(label):
            return _admitted(identity, label, request.target)
        case Denied(label, needs):
            access = identity.access
            problem = unlisted(access) if label == UNLISTED else forbidden(access, needs)
            return Refused(problem, identity.name, label, access)
        case bad:
            return Refused(bad_request(400, bad.reason), identity.name, access=identity.access)


def _admitted(identity: Identity, label: str, target: str) -> Admitted | Refused:
    if identity.models is not None:
        problem = allowance.refusal(identity.models, label, target)
        if problem:
            return Refused(problem, identity.name, label, identity.access)
    return Admitted(identity.name, label, identity.models, identity.access)


def _signed(request: Request, signers: Signers, now: float) -> Identity | Problem:
    """Who signed the request, where its one Authorization looks like a signature (G4, G9)."""
    values = request.fields.values(b"authorization")
    if not (values and looks_signed(values[0])):
        return MALFORMED
    if request.fields.values(b"x-api-key"):
        return AMBIGUOUS
    found = signers.find(values[0], request.method, request.target, now)
    return _FAULTS[found] if isinstance(found, Fault) else found


_FAULTS = {Fault.MALFORMED: MALFORMED, Fault.INVALID: UNSIGNED, Fault.STALE: STALE}


def _presented(request: Request) -> bytes | Problem:
    """The one value that was presented, whichever header it came in (decision G9)."""
    bearers = request.fields.values(b"authorization")
    keys = request.fields.values(b"x-api-key")
    if len(bearers) > 1 or len(keys) > 1:
        return AMBIGUOUS
    if not keys:
        return _only(_BEARER, bearers[0]) if bearers else MISSING
    key = _only(_API_KEY, keys[0])
    if not bearers:
        return key
    bearer = _only(_BEARER, bearers[0])
    if isinstance(key, Problem) or isinstance(bearer, Problem):
        return MALFORMED
    return key if key == bearer else AMBIGUOUS


def _only(form: re.Pattern[bytes], value: bytes) -> bytes | Problem:
    match = form.fullmatch(value)
    return match[1] if match else MALFORMED


def is_preflight(request: Request) -> bool:
    """A browser's question before a cross-origin request, without credentials (Fetch, 3.2.2)."""
    return (
        request.method == "OPTIONS"
        and bool(request.fields.values(b"origin"))
        and bool(request.fields.values(b"access-control-request-method"))
    )
