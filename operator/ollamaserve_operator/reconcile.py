"""The one loop body: observe, parse, desired, plan, apply, status, requeue.

Level-triggered: it looks at everything that is there and does what is missing, so it doesn't matter
why it was called, or where an earlier call was killed. The queue calls it, one key at a time.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ollamaserve_operator import api, kinds, manifests, observed, plan, status
from ollamaserve_operator.answers import Outdated
from ollamaserve_operator.api import Invalid, OllamaServe
from ollamaserve_operator.cache import Cache, Key, Ref
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.errors import NameConflict, Refused, StepFailure, Transient
from ollamaserve_operator.manifests import Images
from ollamaserve_operator.observed import Observed
from ollamaserve_operator.plan import Apply, Create, Delete, Issue, Step
from ollamaserve_operator.reports import Reports

Body = dict[str, Any]

ROUNDS = 4
CONFLICT = 20.0  # seconds: no watch tells when an object that isn't ours goes away

logger = logging.getLogger(__name__)


class Reconciler:
    def __init__(
        self,
        *,
        cache: Cache,
        cluster: Cluster,
        reports: Reports,
        images: Images,
        again: Callable[[Key], None],
        timed: Callable[[str, float], None] = lambda *_: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cache = cache
        self._cluster = cluster
        self._reports = reports
        self._images = images
        self._again = again
        self._timed = timed
        self._clock = clock

    async def __call__(self, key: Key) -> float | None:
        """Seconds until the next look, None for a resource that is gone; raises Transient."""
        begun = asyncio.get_running_loop().time()
        outcome = "error"
        try:
            delay = await self._reconcile(key)
            outcome = "gone" if delay is None else "ok"
        except Transient:
            outcome = "failed"
            raise
        finally:
            self._timed(outcome, asyncio.get_running_loop().time() - begun)
        return delay

    async def _reconcile(self, key: Key) -> float | None:
        body = self._cache.resource(key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            return None
        serve = api.parse(body)
        failures = await self._carry_out(key, serve) if isinstance(serve, OllamaServe) else ()
        delay = await self._tell(key, serve, failures, body.get("status") or {})
        for failure in failures:
            if isinstance(failure.error, Transient):
                raise failure.error
        conflict = any(isinstance(failure.error, NameConflict) for failure in failures)
        return min(delay, CONFLICT) if conflict else delay

    def _observe(self, key: Key) -> Observed:
        seen = observed.observe(self._cache.bodies(key), at=self._clock())
        reports = self._reports.of(seen.pods, lambda: self._again(key))
        return replace(seen, reports=reports)

    async def _carry_out(self, key: Key, serve: OllamaServe) -> tuple[StepFailure, ...]:
        """Every step, each on its own: one that fails stops no other.

        A step can make the next one possible (the Job waits for the claim's uid), and no event
        tells of our own writes: so plan again, until nothing is left that wasn't tried.
        """
        failures: dict[Ref, StepFailure] = {}
        for _ in range(ROUNDS):
            seen = self._observe(key)
            steps = plan.plan(manifests.children(serve, self._images, seen), seen, serve)
            fresh = [(ref, step) for step in steps if (ref := _ref(key, step)) not in failures]
            if not fresh:
                break
            for ref, step in fresh:
                if (failure := await self._try(key, ref, step)) is not None:
                    failures[ref] = failure
        return tuple(failures.values())

    async def _try(self, key: Key, ref: Ref, step: Step) -> StepFailure | None:
        try:
            await self._take(key, ref, step)
        except (Transient, Refused, NameConflict) as error:
            if isinstance(error, Outdated):
                await self._look(ref)
            return StepFailure(ref.kind, ref.name, error)
        logger.info(
            "%s %s %s", _WORDS[type(step)], ref.kind, ref.name, extra={"key": "/".join(key)}
        )
        return None

    async def _take(self, key: Key, ref: Ref, step: Step) -> None:
        body: Body | None = None
        match step:
            case Create():
                body = await self._cluster.create(step)
            case Apply():
                body = await self._cluster.apply(step)
            case Issue():
                body = await self._cluster.issue(key.namespace, step)
            case Delete():
                await self._cluster.delete(key.namespace, step)
                await self._look(ref)
        if body is not None:
            self._cache.put(body)

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

    async def _tell(
        self,
        key: Key,
        serve: OllamaServe | Invalid,
        failures: Sequence[StepFailure],
        previous: Body,
    ) -> float:
        """One status write at the end, only if it says something new; events only after it."""
        seen = self._observe(key)
        current = status.status(serve, seen, failures, previous)
        if current != previous:
            written = await self._cluster.write_status(serve.identity, current)
            if written is not None:
                self._cache.put(written)
                await self._announce(serve, previous, dict(current), seen.at)
        return status.requeue(serve, current)

    async def _announce(
        self, serve: OllamaServe | Invalid, previous: Body, current: Body, at: datetime
    ) -> None:
        for event in status.flips(previous, current):
            key = f"{serve.identity.namespace}/{serve.identity.name}"
            logger.info("%s: %s", event.reason, event.message, extra={"key": key})
            try:
                await self._cluster.post_event(serve.identity, event, at)
            except (Transient, Refused) as error:
                logger.warning("event not posted: %s", error, extra={"key": key})


_WORDS = {Create: "created", Apply: "applied", Issue: "issued tokens in", Delete: "deleted"}


def _ref(key: Key, step: Step) -> Ref:
    match step:
        case Create(manifest=manifest) | Apply(manifest=manifest):
            return Ref(manifest["kind"], key.namespace, manifest["metadata"]["name"])
        case Issue(name=name):
            return Ref("Secret", key.namespace, name)
        case Delete(kind=kind, name=name):
            return Ref(kind, key.namespace, name)
