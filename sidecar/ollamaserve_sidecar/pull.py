"""Pulling models through Ollama's `/api/pull`, until they are there with the digest asked for.

A pull has succeeded only when its stream ended in `status: success` *and* `/api/tags` shows the
model with the right digest: Ollama answers HTTP 200 to pulls that fail. The pull command and the
serving gate (ephemeral storage) both come through here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ollamaserve_sidecar.failures import Cause, Failure, classify
from ollamaserve_sidecar.models import canonical, digest_matches
from ollamaserve_sidecar.ollama import OllamaRefusedError, OllamaUnreachableError
from ollamaserve_sidecar.progress import Progress
from ollamaserve_sidecar.waiting import signalled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ollamaserve_sidecar.config import ExpectedModel, GateConfig
    from ollamaserve_sidecar.ollama import Installed, Ollama

RETRY_DELAYS = (1.0, 4.0, 15.0)
"""Seconds between the attempts of one run; Ollama resumes what it has of a layer."""
_BACKGROUND_DELAYS = (10.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds between two looks of the serving gate, by the failures in a row."""
_LAST = len(_BACKGROUND_DELAYS) - 1
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Pull:
    """The pull of one model as `/status` shows it, while it runs and after."""

    progress: Progress = field(default_factory=Progress)
    failure: Failure | None = None
    running: bool = False

    @property
    def percent(self) -> int | None:
        """0..100, or None where nothing is being pulled."""
        return self.progress.percent if self.running else None


class Puller:
    """Pulls models one after the other; `pulls` (by canonical name) is what it has done."""

    def __init__(self, ollama: Ollama, delays: Sequence[float] = RETRY_DELAYS) -> None:
        self._ollama = ollama
        self._delays = delays
        self.pulls: dict[str, Pull] = {}
        self.outcomes: Counter[str] = Counter()
        self._wake = asyncio.Event()

    async def pull(self, model: ExpectedModel, *, insecure: bool) -> Failure | None:
        """Make `model` present with its digest, trying again what may pass; the failure, if any."""
        pull = self._begin(model)
        try:
            for delay in (*self._delays, None):
                pull.failure = await self._attempt(model, pull.progress, insecure=insecure)
                if pull.failure is None or pull.failure.permanent or delay is None:
                    break
                _log.warning(
                    "pulling %s: %s; again in %g s", model.name, pull.failure.message, delay
                )
                await asyncio.sleep(delay)
        finally:
            pull.running = False
        self.outcomes[pull.failure.cause if pull.failure else "Success"] += 1
        return pull.failure

    def _begin(self, model: ExpectedModel) -> Pull:
        """The pull to show: a failed one goes on, so that its percentage never falls."""
        previous = self.pulls.get(canonical(model.name))
        pull = previous if previous and previous.failure else Pull()
        pull.running = True
        self.pulls[canonical(model.name)] = pull
        return pull

    async def _attempt(
        self, model: ExpectedModel, progress: Progress, *, insecure: bool
    ) -> Failure | None:
        try:
            if satisfied(model, await self._ollama.installed()):
                return None
            progress.succeeded = False
            async with aclosing(self._ollama.pull(model.name, insecure=insecure)) as events:
                async for event in events:
                    progress.see(event)
            return _outcome(model, progress, await self._ollama.installed())
        except OllamaRefusedError as error:
            return classify(str(error), model.name)
        except OllamaUnreachableError as error:
            return Failure(Cause.OLLAMA_UNREACHABLE, str(error), model.name)

    def wake(self) -> None:
        """Look again now: the configuration has changed."""
        self._wake.set()

    async def follow(self, config: Callable[[], GateConfig]) -> None:
        """Keep what `config` expects present, for as long as it asks this gate to pull."""
        failures = 0
        while True:
            wanted = config()
            failed = wanted.pull is not None and await self._all(wanted)
            failures = failures + 1 if failed else 0
            await signalled(self._wake, _BACKGROUND_DELAYS[min(failures, _LAST)])

    async def _all(self, wanted: GateConfig) -> bool:
        """Pull what is missing; whether anything failed."""
        try:
            there = await self._ollama.installed()
        except (OllamaUnreachableError, OllamaRefusedError):
            return True
        missing = [model for model in wanted.models if not satisfied(model, there)]
        insecure = wanted.pull is not None and wanted.pull.insecure
        failures = [await self.pull(model, insecure=insecure) for model in missing]
        for failure in filter(None, failures):
            _log.error("pulling %s failed: %s: %s", failure.model, failure.cause, failure.message)
        return any(failures)


def satisfied(model: ExpectedModel, there: Mapping[str, Installed]) -> bool:
    """Whether `model` is among what is `there`, with its digest where one is pinned."""
    found = there.get(canonical(model.name))
    return found is not None and digest_matches(model.digest, found.digest)


def _outcome(
    model: ExpectedModel, progress: Progress, there: Mapping[str, Installed]
) -> Failure | None:
    found = there.get(canonical(model.name))
    if not progress.succeeded:
        return Failure(Cause.PULL_FAILED, "the pull ended without a success", model.name)
    if found is None:
        message = "pulled, yet Ollama doesn't list it"
        return Failure(Cause.PULL_FAILED, message, model.name)
    if not digest_matches(model.digest, found.digest):
        message = f"the registry has sha256:{found.digest}, sha256:{model.digest} was asked for"
        return Failure(Cause.DIGEST_MISMATCH, message, model.name, permanent=True)
    return None
