"""Who may do what: one table of Ollama's routes, and the rules for paths (decision G10).

Pure. Ollama routes on the path decoded once (gin without UseRawPath), so this room decides on the
same; the bytes are forwarded as they came. A path that this version doesn't know needs `full`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator


class Access(StrEnum):
    """A token's tier; each includes the ones before it."""

    READ = "read"
    INFER = "infer"
    MANAGE = "manage"
    FULL = "full"

    def covers(self, needed: Access) -> bool:
        return _RANK[self] >= _RANK[needed]


_RANK = {access: rank for rank, access in enumerate(Access)}


@dataclass(frozen=True, slots=True)
class Allowed:
    """`label` names the route in metrics; there are as many as routes in the table, and `other`."""

    label: str


@dataclass(frozen=True, slots=True)
class Denied:
    """The token's access is too low: status 403."""

    label: str
    needs: Access


@dataclass(frozen=True, slots=True)
class BadTarget:
    """A request target that is refused: status 400, with the reason."""

    reason: str


# Ollama's routes up to v0.33.0 (server/routes.go, GenerateRoutes); a segment `:x` is any one.
TABLE: dict[Access, str] = {
    Access.READ: """
        GET /
        GET /api/version
        GET /api/status
        GET /api/tags
        GET /api/ps
        POST /api/show
        GET /v1/models
        GET /v1/models/:model
        HEAD /api/blobs/:digest
        GET /api/experimental/model-recommendations
    """,
    Access.INFER: """
        POST /api/generate
        POST /api/chat
        POST /api/embed
        POST /api/embeddings
        POST /v1/chat/completions
        POST /v1/completions
        POST /v1/embeddings
        POST /v1/responses
        POST /v1/messages
        POST /v1/audio/transcriptions
        POST /v1/images/generations
        POST /v1/images/edits
    """,
    Access.MANAGE: """
        POST /api/pull
        POST /api/push
        POST /api/create
        POST /api/copy
        DELETE /api/delete
        POST /api/blobs/:digest
    """,
    Access.FULL: """
        POST /api/me
        POST /api/signout
        DELETE /api/user/keys/:key
        POST /api/experimental/web_search
        POST /api/experimental/web_fetch
    """,
}


INFERENCE = frozenset(line.split()[1] for line in TABLE[Access.INFER].strip().split("\n"))
"""The labels of the routes that a model answers."""


def _labels(access: Access) -> frozenset[str]:
    return frozenset(line.split()[1] for line in TABLE[access].split("\n") if line.strip())


INFERENCE = _labels(Access.INFER)
"""The routes that make a model work, and so take a slot (decision G12)."""
UNLISTED = "other"
"""The label of whatever isn't in the table."""
OUTBOUND = frozenset({"/api/pull", "/api/push"}) | _labels(Access.FULL)
"""The routes that are of no use without a way out of the pod (decision 12)."""

# Visible ASCII without "#", "\\" and a "%" that no two hexadecimal digits follow.
_TARGET = re.compile(r"/(?:[!-\"$&-\[\]-~]|%[0-9A-Fa-f]{2})*", re.ASCII)
# What decoding must not bring about for a limited token: separators, a second decoding, NUL.
_SMUGGLED = re.compile(r"%(?:2[Ff]|25|00)")
_DOT_SEGMENT = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


@lru_cache(maxsize=256)  # clients ask the same few things; a target is 8 KiB long at most
def decide(access: Access, method: str, target: str) -> Allowed | Denied | BadTarget:
    """May a token with this access send `method` to `target` (path and query, as received)?"""
    if not _TARGET.fullmatch(target):
        return BadTarget(
            "the request target must begin with / and hold visible ASCII only,"
            " without #, backslash or a broken % escape"
        )
    path = target.partition("?")[0]
    decoded = unquote(path)
    if access is not Access.FULL and (
        _SMUGGLED.search(path) or "//" in path or _DOT_SEGMENT.search(decoded)
    ):
        return BadTarget("the path has an encoded / or %, an empty segment, or a dot segment")
    needs, label = _route(method, decoded)
    return Allowed(label) if access.covers(needs) else Denied(label, needs)


def _route(method: str, path: str) -> tuple[Access, str]:
    found = _EXACT.get((method, path)) or _parametrised(method, path)
    if found is None and method == "HEAD":
        return _route("GET", path)
    return found or (Access.FULL, UNLISTED)


def _parametrised(method: str, path: str) -> tuple[Access, str] | None:
    parent, _, last = path.rpartition("/")
    return _BY_PARENT.get((method, parent)) if last else None


def _rows() -> Iterator[tuple[str, str, Access]]:
    for access, lines in TABLE.items():
        for line in lines.split("\n"):
            if line.strip():
                method, path = line.split()
                yield method, path, access


_EXACT = {(method, path): (access, path) for method, path, access in _rows() if ":" not in path}
_BY_PARENT = {
    (method, path.rpartition("/:")[0]): (access, path)
    for method, path, access in _rows()
    if ":" in path
}
