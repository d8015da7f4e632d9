"""Keeping models pulled: again where a try failed, later each time, and what `/status` shows of it.

One try is `attempt`'s. The pull command and the serving gate (where pods pull for themselves) both
come through here; the gate goes on for as long as it runs, but for what failed for good.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ollamaserve_sidecar.attempt import PATIENCE, attempt, satisfied
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.ollama import OllamaRefusedError, OllamaUnreachableError
from ollamaserve_sidecar.progress import Progress
from ollamaserve_sidecar.waiting import signalled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ollamaserve_sidecar.config import Creation, ExpectedModel, GateConfig, PullConfig
    from ollamaserve_sidecar.failures import Failure
    from ollamaserve_sidecar.ollama import Installed, Ollama

RETRY_DELAYS = (1.0, 4.0, 15.0)
"""Seconds between the attempts of one run; Ollama resumes what it has of a layer."""
_BACKGROUND_DELAYS = (10.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds between two looks of the serving gate, by the failures in a row."""
_LAST = len(_BACKGROUND_DELAYS) - 1
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Pull:
    """The pull of one model as `/status` shows it, while it runs and after.

    `made` is how this process has created it: what a name stood for before, nobody can tell.
    """

    progress: Progress = field(default_factory=Progress)
    failure: Failure | None = None
    running: bool = False
    made: Creation | None = None

    @property
    def percent(self) -> int | None:
        """0..100, or None where nothing is being pulled."""
        return self.progress.percent if self.running else None


class Puller:
    """Pulls models one after the other; `pulls` (by canonical name) is what it has done.

    `delays` and `patience` (with a registry that delivers nothing) are in seconds.
    """

    def __init__(
        self,
        ollama: Ollama,
        delays: Sequence[float] = RETRY_DELAYS,
        patience: float = PATIENCE,
    ) -> None:
        self._ollama = ollama
        self._delays, self._patience = delays, patience
        self.pulls: dict[str, Pull] = {}
        self.outcomes: Counter[str] = Counter()
        self._given_up: dict[str, tuple[ExpectedModel, PullConfig]] = {}
        self._wake = asyncio.Event()

    async def pull(self, model: ExpectedModel, *, insecure: bool) -> Failure | None:
        """Make `model` present with its digest, trying again what may pass; the failure, if any."""
        pull = self._begin(model)
        try:
            for delay in (*self._delays, None):
                pull.failure = await attempt(
                    self._ollama, model, pull, insecure=insecure, patience=self._patience
                )
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
        pull.made = previous.made if previous else None
        pull.running = True
        self.pulls[canonical(model.name)] = pull
        return pull

    def wake(self) -> None:
        """Look again now: the configuration has changed."""
        self._wake.set()

    async def follow(self, config: Callable[[], GateConfig]) -> None:
        """Keep what `config` expects present, for as long as it asks this gate to pull."""
        failures = 0
        while True:
            wanted = config()
            failed = wanted.pull is not None and await self._all(wanted.models, wanted.pull)
            failures = failures + 1 if failed else 0
            await signalled(self._wake, _BACKGROUND_DELAYS[min(failures, _LAST)])

    async def _all(self, models: Sequence[ExpectedModel], how: PullConfig) -> bool:
        """Pull what is missing; whether anything failed that is worth another try."""
        try:
            there = await self._ollama.installed()
        except (OllamaUnreachableError, OllamaRefusedError):
            return True
        failures = [await self._one(model, how) for model in self._missing(models, how, there)]
        for failure in filter(None, failures):
            _log.error("pulling %s failed: %s: %s", failure.model, failure.cause, failure.message)
        return any(failure and not failure.permanent for failure in failures)

    async def _one(self, model: ExpectedModel, how: PullConfig) -> Failure | None:
        """What failed for good is not tried again as it was asked for, whatever else changes."""
        failure = await self.pull(model, insecure=how.insecure)
        if failure and failure.permanent:
            self._given_up[canonical(model.name)] = model, how
        return failure

    def _missing(
        self, models: Sequence[ExpectedModel], how: PullConfig, there: Mapping[str, Installed]
    ) -> tuple[ExpectedModel, ...]:
        """What isn't there as it is wanted, and hasn't been given up."""
        missing = []
        for model in models:
            key = canonical(model.name)
            pull = self.pulls.get(key)
            if not satisfied(model, there, pull):
                missing += [model] if self._given_up.get(key) != (model, how) else []
            elif pull:  # perhaps somebody else has put it there
                pull.failure = None
                self._given_up.pop(key, None)
        return tuple(missing)
