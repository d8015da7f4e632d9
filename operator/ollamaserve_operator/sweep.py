"""Comparing the cache with the cluster: at the start, after each relist, and now and then.

A watch says what has come and gone, but not what went while it was down, and not that it has died.
So `fill` lists everything before the first reconcile (nothing is ever decided because something has
not been seen yet), and `run` compares versions, of metadata only: what the list no longer has is
forgotten, and what the watch should have shown long ago makes `dead` name the kind. Optional kinds
have no watch: they are listed whole each time, which also tells whether the cluster has them.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

from ollamaserve_operator import cache as caches
from ollamaserve_operator import kinds
from ollamaserve_operator.cache import Cache, Key, Ref
from ollamaserve_operator.cluster import Cluster, Page
from ollamaserve_operator.errors import Refused, Transient
from ollamaserve_operator.kinds import Kind

EVERY = 600.0
SETTLE = 5.0  # a relist shows up as a burst of events: compare after it
GRACE = 60.0  # a watch that lags more than this behind a list is dead

logger = logging.getLogger(__name__)


class Sweep:
    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        namespaces: Sequence[str],
        changed: Callable[[Key], None],
    ) -> None:
        """No `namespaces`: every one."""
        self._cluster = cluster
        self._cache = cache
        self._namespaces = namespaces or ("",)
        self._changed = changed
        self._asked: set[Kind] = set()
        self._wake = asyncio.Event()
        self.dead: frozenset[str] = frozenset()

    async def fill(self) -> None:
        """The first list of every kind, whole; raises what `Cluster.list` raises.

        But not for an optional kind: nothing is ever deleted for want of one, and while a CRD is
        being set up the API server refuses its lists ("storage is (re)initializing", v1.34).
        """
        for kind in kinds.WATCHED:
            async for _, page in self._pages(kind):
                for body in page.items:
                    self._cache.put(body)
        for kind in kinds.OPTIONAL:
            if not await self._survive(kind):
                self._asked.add(kind)
                self._wake.set()

    def relisted(self, kind: str) -> None:
        """A watch began anew: what went meanwhile was not told."""
        self._asked.add(kinds.BY_NAME[kind])
        self._wake.set()

    async def run(self) -> None:
        """Compare until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._wake.wait()
            await asyncio.sleep(SETTLE)
            self._wake.clear()
            asked, self._asked = self._asked or {*kinds.WATCHED, *kinds.OPTIONAL}, set()
            for kind in asked:
                await self._survive(kind)

    async def _survive(self, kind: Kind) -> bool:
        try:
            await (self.look(kind) if kind in kinds.OPTIONAL else self.compare(kind))
        except (Transient, Refused) as error:
            logger.warning("cannot compare with the cluster: %s", error, extra={"kind": kind.name})
            return False
        return True

    async def compare(self, kind: Kind) -> None:
        """Forget what is gone; then see that what is new arrives by the watch."""
        there: dict[Ref, int] = {}
        heard: dict[str, int] = {}
        async for namespace, page in self._pages(kind, metadata_only=True):
            heard[namespace] = page.resource_version
            there |= {
                caches.reference(item): int(item["metadata"]["resourceVersion"])
                for item in page.items
                if caches.owner(item) is not None
            }
        self._forget(kind, there, heard)
        if late := [ref for ref, version in there.items() if self._cache.version(ref) < version]:
            await asyncio.sleep(GRACE)
            late = [ref for ref in late if self._cache.version(ref) < there[ref]]
        self.dead = self.dead | {kind.name} if late else self.dead - {kind.name}

    async def look(self, kind: Kind) -> None:
        """List an optional kind; no list at all means that this cluster has no such kind."""
        there: set[Ref] = set()
        heard: dict[str, int] = {}
        async for namespace, page in self._pages(kind):
            heard[namespace] = page.resource_version
            for body in page.items:
                there.add(caches.reference(body))
                if (key := self._cache.put(body)) is not None:
                    self._changed(key)
        self._forget(kind, there, heard or {"": sys.maxsize})
        self._offer(kind, offered=bool(heard))

    def _offer(self, kind: Kind, *, offered: bool) -> None:
        """What has come or gone is news to every resource."""
        before, only = self._cache.offered, frozenset({kind.name})
        self._cache.offered = before | only if offered else before - only
        if self._cache.offered != before:
            logger.info("%s %s", "found" if offered else "no longer found", kind.name)
            for key in self._cache.resources():
                self._changed(key)

    async def _pages(
        self, kind: Kind, *, metadata_only: bool = False
    ) -> AsyncIterator[tuple[str, Page]]:
        """The pages of each namespace that is watched, with its name as it was asked for."""
        for namespace in self._namespaces:
            async for page in self._cluster.list(kind, namespace, metadata_only=metadata_only):
                yield namespace, page

    def _forget(self, kind: Kind, there: Collection[Ref], heard: Mapping[str, int]) -> None:
        """`heard` has the version of the list of each namespace, "" of all: what is newer stays."""
        everywhere = heard.get("", 0)
        for ref, version in list(self._cache.versions(kind.name)):
            if ref in there or version > heard.get(ref.namespace, everywhere):
                continue
            logger.info("gone unseen", extra={"kind": ref.kind, "object": ref.name})
            if (key := self._cache.remove(ref)) is not None:
                self._changed(key)
