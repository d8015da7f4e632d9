"""What the watches have shown, by resource: slim bodies, as compact JSON, and nothing derived.

`handlers` and `reconcile` put bodies in (events, and the answers to our own writes), `reconcile`
takes a resource's bodies out. Versions decide, not order of arrival: an older body never replaces a
newer one, and a deletion only removes what it deletes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ollamaserve_operator import names, observed


class Key(NamedTuple):
    """An OllamaServe's address: what is enqueued and reconciled."""

    namespace: str
    name: str


class Ref(NamedTuple):
    """An object's address."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class _Entry:
    uid: str
    version: int
    key: Key
    data: bytes


GONE_LIMIT = 4096


class Cache:
    def __init__(self) -> None:
        self._entries: dict[Ref, _Entry] = {}
        self._refs: dict[Key, set[Ref]] = {}
        self._gone: dict[str, int] = {}
        """The versions at which objects were seen to go, by uid; the latest GONE_LIMIT of them."""
        self._made: dict[Ref, int] = {}
        """The versions that were answered to our own writes, where nothing newer is known."""
        self.offered: frozenset[str] = frozenset()
        """Those of `kinds.OPTIONAL`, by name, that this cluster has, as `sweep` found them last."""

    def put(self, body: Mapping[str, Any]) -> Key | None:
        """Keep a body; the resource that it changes, or None where it is old news or nobody's."""
        ref, uid, version = _identity(body)
        known = self._entries.get(ref)
        if known is not None and known.version >= version:
            return None
        if self._gone.get(uid, 0) >= version:
            return None  # a live read that its deletion has overtaken
        if (key := owner(body)) is None:
            return self._forget(ref)  # what was somebody's is so no more
        data = json.dumps(observed.slim(body), separators=(",", ":")).encode()
        self._forget(ref)
        self._entries[ref] = _Entry(uid, version, key, data)
        self._refs.setdefault(key, set()).add(ref)
        return key

    def made(self, body: Mapping[str, Any]) -> None:
        """Keep the answer to an apply of ours: what the server has made of it is no drift."""
        self.put(body)
        ref, _, version = _identity(body)
        if self.version(ref) == version:
            self._made[ref] = version

    def settled(self, key: Key) -> frozenset[str]:
        """The uids of a resource's objects that nobody has written to since we did."""
        refs = (ref for ref in self._refs.get(key, ()) if ref in self._made)
        return frozenset(self._entries[ref].uid for ref in refs)

    def drop(self, body: Mapping[str, Any]) -> Key | None:
        """Forget a deleted object; None where a newer one of its name is known.

        A watch says deleted also of what has lost its label, and that may come again, newer.
        """
        ref, uid, version = _identity(body)
        self._gone[uid] = version
        if len(self._gone) > GONE_LIMIT:
            del self._gone[next(iter(self._gone))]
        known = self._entries.get(ref)
        if known is None or (known.uid != uid and known.version > version):
            return None
        return self._forget(ref)

    def remove(self, ref: Ref) -> Key | None:
        """Forget what a live read did not find."""
        return self._forget(ref)

    def resource(self, key: Key) -> dict[str, Any] | None:
        entry = self._entries.get(Ref(names.KIND, *key))
        return None if entry is None else _parsed(entry)

    def bodies(self, key: Key) -> list[dict[str, Any]]:
        """The children and pods of a resource, in a stable order."""
        refs = sorted(self._refs.get(key, ()))
        return [_parsed(self._entries[ref]) for ref in refs if ref.kind != names.KIND]

    def resources(self) -> list[Key]:
        return [Key(ref.namespace, ref.name) for ref in self._entries if ref.kind == names.KIND]

    def versions(self, kind: str) -> Iterator[tuple[Ref, int]]:
        """What is held of a kind, with the version of each object."""
        return ((ref, entry.version) for ref, entry in self._entries.items() if ref.kind == kind)

    def version(self, ref: Ref) -> int:
        """The version held, 0 where there is none."""
        entry = self._entries.get(ref)
        return 0 if entry is None else entry.version

    def __len__(self) -> int:
        return len(self._entries)

    def _forget(self, ref: Ref) -> Key | None:
        entry = self._entries.pop(ref, None)
        self._made.pop(ref, None)
        if entry is None:
            return None
        refs = self._refs[entry.key]
        refs.discard(ref)
        if not refs:
            del self._refs[entry.key]
        return entry.key


def owner(body: Mapping[str, Any]) -> Key | None:
    """The resource that an object belongs to: itself, or its `names.instance`."""
    metadata = body["metadata"]
    instance = metadata["name"] if body["kind"] == names.KIND else names.instance(body)
    return Key(metadata["namespace"], instance) if instance else None


def reference(body: Mapping[str, Any]) -> Ref:
    metadata = body["metadata"]
    return Ref(body["kind"], metadata["namespace"], metadata["name"])


def _identity(body: Mapping[str, Any]) -> tuple[Ref, str, int]:
    """Address, uid, and version.

    Versions of one kind may be compared as integers: so say the API concepts ("Resource versions")
    since Kubernetes 1.35, and it has always been so with etcd behind.
    """
    metadata = body["metadata"]
    return reference(body), metadata["uid"], int(metadata["resourceVersion"])


def _parsed(entry: _Entry) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(entry.data)
    return parsed
