"""When each child of each resource was first seen to be there, by watches of our own.

They see metadata only, so that the observer costs little beside what it observes.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from bench.operator.api import Api
from ollamaserve_operator import kinds, names

WATCHED = tuple(kind for kind in kinds.CHILDREN if kind not in kinds.OPTIONAL)

Address = tuple[str, str]
"""Namespace and name."""


class Sightings:
    def __init__(self) -> None:
        self.at: dict[str, dict[Address, float]] = defaultdict(dict)
        """By kind, then by the object's address."""
        self._changed = asyncio.Event()

    def see(self, kind: str, namespace: str, name: str) -> None:
        self.at[kind].setdefault((namespace, name), time.monotonic())
        self._changed.set()

    async def until(self, wanted: Mapping[str, int], seconds: float) -> float:
        """When so many of each kind had been seen; TimeoutError after `seconds`."""
        async with asyncio.timeout(seconds):
            while any(len(self.at[kind]) < count for kind, count in wanted.items()):
                self._changed.clear()
                await self._changed.wait()
        return max(at for seen in self.at.values() for at in seen.values())


@asynccontextmanager
async def sightings(api: Api) -> AsyncIterator[Sightings]:
    """Watch every kind of child while inside."""
    found = Sightings()
    ready = [asyncio.Event() for _ in WATCHED]
    async with asyncio.TaskGroup() as tasks:
        watches = [
            tasks.create_task(_watch(api, kind, found, event))
            for kind, event in zip(WATCHED, ready, strict=True)
        ]
        await asyncio.gather(*(event.wait() for event in ready))
        yield found
        for watch in watches:
            watch.cancel()


async def _watch(api: Api, kind: kinds.Kind, found: Sightings, ready: asyncio.Event) -> None:
    async for event in api.watch(kind.path(), ready):
        metadata = event["object"]["metadata"]
        ours = names.INSTANCE in (metadata.get("labels") or {})
        if event["type"] == "ADDED" and ours:
            found.see(kind.name, metadata["namespace"], metadata["name"])
    raise RuntimeError(f"the watch of {kind.plural} has ended: what came after it wasn't seen")
