"""Standalone mode's start: the models are pulled, and the door says how far that is.

Pulls go through `pull`, one model after the other; a model that is there needs no registry. Until
the last one is there, inference routes are closed; a pull that can't succeed ends the process.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from ollamaserve_sidecar.errors import Problem
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.ollama import OllamaRefusedError, OllamaUnreachableError
from ollamaserve_sidecar.policy import INFERENCE

if TYPE_CHECKING:
    from ollamaserve_sidecar.config import ExpectedModel
    from ollamaserve_sidecar.failures import Failure
    from ollamaserve_sidecar.ollama import Ollama
    from ollamaserve_sidecar.pull import Pull, Puller

POLL = 0.1
"""Seconds between two looks for an Ollama that is starting."""
REPORT = 5.0
"""Seconds between two lines of progress on the log, at least."""
AGAIN = 30.0
"""Seconds until a failed pull, after its own attempts, is begun again."""
_log = logging.getLogger(__name__)


class PullFailedError(Exception):
    """A pull failed for good; the text has the model and Ollama's own words."""


class Preparation:
    """From the start until every model is there."""

    def __init__(
        self, models: tuple[ExpectedModel, ...], ollama: Ollama, puller: Puller, *, insecure: bool
    ) -> None:
        self._models, self._ollama, self._puller = models, ollama, puller
        self._insecure = insecure
        self._waiting_for: ExpectedModel | None = None
        self.ended = False

    async def run(self) -> None:
        """Return when every model is there; PullFailedError where one never will be."""
        await self._up()
        for model in self._models:
            self._waiting_for = model
            reports = asyncio.create_task(self._report(model))
            try:
                await self._fetch(model)
            finally:
                reports.cancel()
            _log.info("%s is there", model.name)
        self.ended = True

    def closed(self, label: str) -> Problem | None:
        """Why a request of the route `label` has to wait, if it has to."""
        if self.ended or label not in INFERENCE:
            return None
        return Problem(503, "model_not_ready", self._words(), ("Retry-After: 10",))

    def _words(self) -> str:
        model = self._waiting_for
        if model is None:
            return "Ollama is starting: try again soon"
        so_far = f"{model.name} is being pulled, {self._percent(model)} %"
        pull = self._pull(model)
        if pull and pull.failure:
            return f"{so_far}; the last attempt failed: {pull.failure.message}"
        return f"{so_far}: try again soon"

    def _percent(self, model: ExpectedModel) -> int:
        pull = self._pull(model)
        return pull.progress.percent if pull else 0

    def _pull(self, model: ExpectedModel) -> Pull | None:
        return self._puller.pulls.get(canonical(model.name))

    async def _up(self) -> None:
        """Wait for Ollama to answer, for as long as it lives."""
        while True:
            with suppress(OllamaUnreachableError, OllamaRefusedError):
                _log.info("Ollama %s is up", await self._ollama.version())
                return
            await asyncio.sleep(POLL)

    async def _fetch(self, model: ExpectedModel) -> None:
        while failure := await self._puller.pull(model, insecure=self._insecure):
            if failure.permanent:
                raise PullFailedError(_told(failure))
            _log.error("%s; again in %g s", _told(failure), AGAIN)
            await asyncio.sleep(AGAIN)

    async def _report(self, model: ExpectedModel) -> None:
        shown = None
        while True:
            await asyncio.sleep(REPORT)
            percent = self._percent(model)
            if percent != shown:
                _log.info("pulling %s: %d %%", model.name, percent)
            shown = percent


def _told(failure: Failure) -> str:
    return f"pulling {failure.model} failed: {failure.cause}: {failure.message}"
