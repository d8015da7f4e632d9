"""Comparing the cache with the cluster: at the start, after each relist, and now and then.

A watch says what has come and gone, but not what went while it was down, and not that it has died.
So `fill` lists everything before the first reconcile (nothing is ever decided because something has
not been seen yet), and `run` compares versions, of metadata only: what the list no longer has is
forgotten, and what the watch should have shown long ago makes `dead` name the kind.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from ollamaserve_operator import cache as caches
from ollamaserve_operator import kinds
from ollamaserve_operator.cache import Cache, Key, Ref
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.errors import Refused, Transient
from ollamaserve_operator.kinds import Kind

EVERY = 600.0
SETTLE = 5.0  # a relist shows up as a burst of events: compare after it
GRACE = 60.0  # a watch that lags more than this behind a list is dead

logger = logging.getLogger(__name__)


class Sweep:
    def __init__(
        self, cluster: Cluster, cache: Cache, namespace: str, changed: Callable[[Key], None]
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._namespace = namespace
        self._changed = changed
        self._asked: set[Kind] = set()
        self._wake = asyncio.Event()
        self.dead: frozenset[str] = frozenset()

    async def fill(self) -> None:
        """The first list of every kind, whole; raises what `Cluster.list` raises."""
        for kind in kinds.WATCHED:
            async for page in self._cluster.list(kind, self._namespace):
                for body in page.items:
                    self._cache.put(body)

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
            asked, self._asked = self._asked or set(kinds.WATCHED), set()
            for kind in asked:
                await self._survive(kind)

    async def _survive(self, kind: Kind) -> None:
        try:
            await self.compare(kind)
        except (Transient, Refused) as error:
            logger.warning("cannot compare with the cluster: %s", error, extra={"kind": kind.name})

    async def compare(self, kind: Kind) -> None:
        """Forget what is gone; then see that what is new arrives by the watch."""
        there: dict[Ref, int] = {}
        at = 0
        async for page in self._cluster.list(kind, self._namespace, metadata_only=True):
            at = page.resource_version
            there |= {
                caches.reference(item): int(item["metadata"]["resourceVersion"])
                for item in page.items
                if caches.owner(item) is not None
            }
        self._forget(kind, there, at)
        if late := [ref for ref, version in there.items() if self._cache.version(ref) < version]:
            await asyncio.sleep(GRACE)
            late = [ref for ref in late if self._cache.version(ref) < there[ref]]
        self.dead = self.dead | {kind.name} if late else self.dead - {kind.name}

    def _forget(self, kind: Kind, there: dict[Ref, int], at: int) -> None:
        held = list(self._cache.versions(kind.name))
        for ref in (ref for ref, version in held if ref not in there and version <= at):
            logger.info("gone unseen", extra={"kind": ref.kind, "object": ref.name})
            if (key := self._cache.remove(ref)) is not None:
                self._changed(key)
