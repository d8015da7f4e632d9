"""One try to put a model there, through Ollama's `/api/pull` and `/api/create`, up to its outcome.

A pull has succeeded only when its stream ended in `status: success` *and* `/api/tags` shows the
model with the right digest: Ollama answers HTTP 200 to pulls that fail. A custom model is made once
the one that it is made of is there. `pull` enters.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ollamaserve_sidecar.config import ExpectedModel
from ollamaserve_sidecar.failures import Cause, Failure, classify, classify_creation
from ollamaserve_sidecar.models import canonical, digest_matches
from ollamaserve_sidecar.ollama import OllamaRefusedError, OllamaUnreachableError
from ollamaserve_sidecar.pinning import pinned

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from ollamaserve_sidecar.config import Creation
    from ollamaserve_sidecar.ollama import Installed, Ollama
    from ollamaserve_sidecar.progress import Progress
    from ollamaserve_sidecar.pull import Pull

PATIENCE = 600.0


async def attempt(
    ollama: Ollama, model: ExpectedModel, pull: Pull, *, insecure: bool, patience: float = PATIENCE
) -> Failure | None:
    """Make `model` present as it is wanted; `pull` shows how far that is, and what was made.

    `patience` is for how many seconds the registry may deliver nothing.
    """
    try:
        if satisfied(model, await ollama.installed(), pull):
            return None
        return await _there(_Attempt(ollama, pull.progress, insecure, patience), model, pull)
    except OllamaRefusedError as error:
        return classify(str(error), model.name)
    except OllamaUnreachableError as error:
        return Failure(Cause.OLLAMA_UNREACHABLE, str(error), model.name)


async def _there(here: _Attempt, model: ExpectedModel, pull: Pull) -> Failure | None:
    if model.create is None:
        return await here.fetch(model)
    pull.made = None
    failure = await here.source(model, model.create) or await here.make(model, model.create)
    if failure is None:
        pull.made = model.create
    return failure


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The steps; each raises OllamaUnreachableError, and returns what Ollama refused."""

    ollama: Ollama
    progress: Progress
    insecure: bool
    patience: float

    async def fetch(self, model: ExpectedModel) -> Failure | None:
        async with pinned(self.ollama, model):
            try:
                await self._delivered(self.ollama.pull(model.name, insecure=self.insecure))
            except OllamaRefusedError as error:
                return classify(str(error), model.name)
            except TimeoutError:
                message = f"the registry has delivered nothing for {self.patience:g} seconds"
                return Failure(Cause.PULL_FAILED, message, model.name)
            return await self._outcome(model)

    async def source(self, model: ExpectedModel, wanted: Creation) -> Failure | None:
        """What `model` is made of, pulled if it isn't there; its failure is the model's."""
        source = ExpectedModel(wanted.source)
        there = satisfied(source, await self.ollama.installed())
        failure = None if there else await self.fetch(source)
        if failure is None:
            return None
        return replace(failure, model=model.name, message=f"{source.name}: {failure.message}")

    async def make(self, model: ExpectedModel, wanted: Creation) -> Failure | None:
        """Made anew even where the name is there: a name doesn't tell what it was made of.

        What is the same already, Ollama only looks at.
        """
        try:
            await self._follow(self.ollama.create(model.name, _body(wanted)))
        except OllamaRefusedError as error:
            return classify_creation(error.status, str(error), model.name)
        return await self._outcome(model)

    async def _delivered(self, events: AsyncGenerator[Mapping[str, Any]]) -> None:
        """Follow a pull; TimeoutError where the registry stalls.

        Ollama v0.17.4 itself asks again for a layer every 30 s, and waits for a manifest, without
        end. While it checks and writes what came it says nothing, and may take as long as it takes.
        """
        loop, awaited = asyncio.get_running_loop(), self.progress.awaited
        self.progress.succeeded = False
        async with asyncio.timeout(self.patience) as clock, aclosing(events):
            async for event in events:
                self.progress.see(event)
                if self.progress.awaited != awaited:
                    awaited = self.progress.awaited
                    clock.reschedule(loop.time() + self.patience if awaited else None)

    async def _follow(self, events: AsyncGenerator[Mapping[str, Any]]) -> None:
        self.progress.succeeded = False
        async with aclosing(events):
            async for event in events:
                self.progress.see(event)

    async def _outcome(self, model: ExpectedModel) -> Failure | None:
        found = (await self.ollama.installed()).get(canonical(model.name))
        if not self.progress.succeeded:
            return Failure(Cause.PULL_FAILED, "the pull ended without a success", model.name)
        if found is None:
            message = "pulled, yet Ollama doesn't list it"
            return Failure(Cause.PULL_FAILED, message, model.name)
        if not digest_matches(model.digest, found.digest):
            message = f"the registry has sha256:{found.digest}, sha256:{model.digest} was asked for"
            return Failure(Cause.DIGEST_MISMATCH, message, model.name, permanent=True)
        return None


def satisfied(
    model: ExpectedModel, there: Mapping[str, Installed], pull: Pull | None = None
) -> bool:
    """Whether `model` is among what is `there`, with its digest where one is pinned, and made so.

    `pull` is what this process has done about it.
    """
    found = there.get(canonical(model.name))
    made = pull.made if pull else None
    there_so = found is not None and digest_matches(model.digest, found.digest)
    return there_so and model.as_wanted(made)


def _body(wanted: Creation) -> dict[str, Any]:
    """Of `/api/create`; what was left out is the source's."""
    body = {
        "from": wanted.source,
        "system": wanted.system,
        "template": wanted.template,
        "parameters": dict(wanted.parameters) or None,
    }
    return {key: value for key, value in body.items() if value is not None}
