"""The `pull` command: what the pull Job's container runs beside its Ollama.

Waits for Ollama, pulls what is missing, tells how far it is on the status port, and ends with the
exit status and the termination message that docs/architecture.md promises to the Job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ollamaserve_sidecar import config
from ollamaserve_sidecar.failures import Cause, Failure
from ollamaserve_sidecar.health import Port
from ollamaserve_sidecar.metrics import Facts, Metrics
from ollamaserve_sidecar.ollama import Ollama, OllamaRefusedError, OllamaUnreachableError
from ollamaserve_sidecar.pull import Puller
from ollamaserve_sidecar.status import Reason, Sight, Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ollamaserve_sidecar.config import ExpectedModel

PATIENCE = 300.0
"""Seconds that Ollama may take to come up."""
TERMINATION_LOG = Path("/dev/termination-log")
TERMINATION_LIMIT = 4096
MODEL_LIMIT = 600
"""Characters; Ollama's longest name, of host, namespace, model and tag, has 593."""
_log = logging.getLogger(__name__)


class Exit(IntEnum):
    """Exit statuses; the Job's podFailurePolicy tells 2 and 3 from the rest."""

    DONE = 0
    TRANSIENT = 1
    CONFIGURATION = 2
    PERMANENT = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """The `pull` command's part of the environment."""

    models: tuple[ExpectedModel, ...]
    insecure: bool = False


def insecure(environ: Mapping[str, str]) -> bool:
    """PULL_INSECURE: may a registry be asked over plain HTTP?"""
    value = environ.get("PULL_INSECURE") or "false"
    if value not in ("true", "false"):
        raise config.ConfigError(f"PULL_INSECURE is {value!r}: write true or false")
    return value == "true"


def settings(environ: Mapping[str, str]) -> Settings:
    """Parse PULL_MODELS and PULL_INSECURE; ConfigError names what is wrong with them."""
    try:
        wanted = json.loads(environ.get("PULL_MODELS") or "[]")
        models = config.gate_config({"models": wanted}).models
    except (ValueError, config.ConfigError) as error:
        raise config.ConfigError(f"PULL_MODELS: {error}") from None
    if not models:
        raise config.ConfigError(
            'PULL_MODELS is empty: write a list such as [{"name":"llama2:7b"}]'
        )
    return Settings(models, insecure(environ))


class Job:
    """One run of the command; also what its status port speaks for."""

    def __init__(self, wanted: Settings, ollama: Ollama, puller: Puller) -> None:
        self._wanted, self._ollama, self._puller = wanted, ollama, puller
        self._sight = Sight()
        self._verdict = Verdict(Reason.OLLAMA_UNREACHABLE, "waiting for Ollama to come up")
        self._metrics = Metrics(lambda: Facts(self._status(), puller.outcomes))

    async def run(self, patience: float = PATIENCE) -> Failure | None:
        """Pull every model, one after the other, up to the first failure."""
        failure = await self._wait(patience) or await self._pull()
        if failure:
            self._verdict = Verdict(_reason(failure), f"{failure.model}: {failure.message}")
        return failure

    async def _wait(self, patience: float) -> Failure | None:
        try:
            async with asyncio.timeout(patience):
                while not await self._look():  # noqa: ASYNC110 an Ollama that comes up tells nobody
                    await asyncio.sleep(1)
        except TimeoutError:
            return Failure(Cause.OLLAMA_UNREACHABLE, self._verdict.message)
        return None

    async def _look(self) -> bool:
        """See what Ollama has; whether it answers."""
        try:
            version = await self._ollama.version()
            self._sight = Sight(
                reachable=True, version=version, installed=await self._ollama.installed()
            )
        except (OllamaUnreachableError, OllamaRefusedError) as error:
            self._sight = replace(self._sight, reachable=False)
            self._verdict = Verdict(Reason.OLLAMA_UNREACHABLE, str(error))
        return self._sight.reachable

    async def _pull(self) -> Failure | None:
        for model in self._wanted.models:
            self._verdict = Verdict(Reason.PULLING, f"{model.name} is being pulled")
            failure = await self._puller.pull(model, insecure=self._wanted.insecure)
            if failure:
                return failure
            await self._look()
            _log.info("%s is there", model.name)
        self._verdict = Verdict(Reason.READY, "every model is there")
        return None

    def verdict(self) -> Verdict:
        return self._verdict

    def document(self) -> dict[str, Any]:
        return self._status().document()

    def _status(self) -> Status:
        return Status(
            mode="pull",
            verdict=self._verdict,
            sight=self._sight,
            models=self._wanted.models,
            pulls=self._puller.pulls,
            errors={},
        )

    def exposition(self) -> bytes:
        return self._metrics.exposition()

    async def drained(self) -> bool:
        """Nothing is ever in flight here."""
        return True


async def command(environ: Mapping[str, str]) -> Exit:
    """Run the `pull` command; ConfigError where the environment is wrong."""
    parsed, wanted = config.load(environ), settings(environ)
    async with Ollama(f"http://{parsed.upstream.authority}") as ollama:
        job = Job(wanted, ollama, Puller(ollama))
        port = Port(job, parsed.status_listen)
        await port.start()
        try:
            failure = await _until_stopped(job)
        finally:
            await port.close()
    if failure:
        _log.error("%s: %s: %s", failure.cause, failure.model, failure.message)
    return end(failure)


async def _until_stopped(job: Job) -> Failure | None:
    """The job's end, or a failure that may pass where a signal comes first."""
    loop, running = asyncio.get_running_loop(), asyncio.ensure_future(job.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        return Failure(Cause.PULL_FAILED, "stopped by a signal before the end")


def end(failure: Failure | None) -> Exit:
    """Leave the termination message, and say how to exit."""
    if failure is None:
        return Exit.DONE
    with suppress(OSError):
        if TERMINATION_LOG.parent.is_dir():
            TERMINATION_LOG.write_bytes(message(failure))
    if failure.cause is Cause.INVALID_CONFIGURATION:
        return Exit.CONFIGURATION
    return Exit.PERMANENT if failure.permanent else Exit.TRANSIENT


def message(failure: Failure) -> bytes:
    """The termination message: one line of JSON, of at most 4,096 bytes (kubelet cuts there)."""
    model = failure.model[:MODEL_LIMIT]
    line = {"reason": failure.cause, "model": model, "message": failure.message}
    encoded = json.dumps(line, ensure_ascii=False).encode()
    if len(encoded) <= TERMINATION_LIMIT:
        return encoded
    return message(replace(failure, message=failure.message[: len(failure.message) // 2]))


def _reason(failure: Failure) -> Reason:
    match failure.cause:
        case Cause.DIGEST_MISMATCH:
            return Reason.DIGEST_MISMATCH
        case Cause.OLLAMA_UNREACHABLE:
            return Reason.OLLAMA_UNREACHABLE
    return Reason.PULL_FAILED
