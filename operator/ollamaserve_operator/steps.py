"""Taking the steps of a plan: each by itself, what it wrote in the cache, its outcome a value.

`reconcile` enters. Nothing is raised for a step that fails, for it stops no other.
"""

import logging
from dataclasses import dataclass

from ollamaserve_operator import kinds
from ollamaserve_operator.answers import Outdated
from ollamaserve_operator.cache import Cache, Key, Ref
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.errors import NameConflict, Refused, StepFailure, Transient
from ollamaserve_operator.plan import Apply, Create, Delete, Issue, Offer, Promote, Step

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Neither done nor a failure: the namespace goes away, and nothing is left to do in it."""

    done: bool
    failure: StepFailure | None = None


class Steps:
    def __init__(self, cluster: Cluster, cache: Cache) -> None:
        self._cluster = cluster
        self._cache = cache

    async def take(self, key: Key, step: Step) -> Outcome:
        ref = address(key, step)
        try:
            done = await self._write(key, ref, step)
        except (Transient, Refused, NameConflict) as error:
            if isinstance(error, Outdated):
                await self._look(ref)
            return Outcome(done=False, failure=StepFailure(ref.kind, ref.name, error))
        if done:
            what = f"{_WORDS[type(step)]} {ref.kind} {ref.name}"
            logger.info(what, extra={"key": "/".join(key)})
        return Outcome(done)

    async def _write(self, key: Key, ref: Ref, step: Step) -> bool:
        match step:
            case Create():
                body = await self._cluster.create(step)
            case Apply():
                body = await self._cluster.apply(step)
            case Issue():
                body = await self._cluster.issue(key.namespace, step)
            case Offer():
                body = await self._cluster.offer(key.namespace, step)
            case Promote():
                body = await self._cluster.promote(key.namespace, step)
            case Delete():
                await self._cluster.delete(key.namespace, step)
                await self._look(ref)
                return True
        if body is not None and isinstance(step, Create | Apply):
            self._cache.made(body)
        elif body is not None:
            self._cache.put(body)
        return body is not None

    async def _look(self, ref: Ref) -> None:
        """Replace what is known of an object by what a live read finds."""
        try:
            live = await self._cluster.get(kinds.BY_NAME[ref.kind], ref.namespace, ref.name)
        except (Transient, Refused):
            return  # the next look will tell
        if live is None:
            self._cache.remove(ref)
        else:
            self._cache.put(live)


_WORDS = {
    Create: "created",
    Apply: "applied",
    Issue: "issued tokens in",
    Offer: "offered the next tokens in",
    Promote: "promoted the next tokens in",
    Delete: "deleted",
}


def address(key: Key, step: Step) -> Ref:
    """The object that a step is about."""
    match step:
        case Create(manifest=manifest) | Apply(manifest=manifest):
            return Ref(manifest["kind"], key.namespace, manifest["metadata"]["name"])
        case Issue(name=name) | Offer(name=name) | Promote(name=name):
            return Ref("Secret", key.namespace, name)
        case Delete(kind=kind, name=name):
            return Ref(kind, key.namespace, name)
