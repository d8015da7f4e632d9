"""The `standalone` command: Ollama, its models and the gate, without Kubernetes.

What the nginx + Lua image did that this project descends from: AUTH_TOKEN and OLLAMA_MODEL, and the
door on 7860. Ollama's end ends it; a signal lets what is in flight end before Ollama is stopped.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ollamaserve_sidecar import config, pulljob, reload, serve
from ollamaserve_sidecar.child import Child, EndedError
from ollamaserve_sidecar.config import ConfigError, ExpectedModel, Upstream
from ollamaserve_sidecar.health import Port
from ollamaserve_sidecar.ollama import Ollama
from ollamaserve_sidecar.preparation import Preparation, PullFailedError
from ollamaserve_sidecar.serve import Serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from ollamaserve_sidecar.config import Config
    from ollamaserve_sidecar.gate import Gate

FAILED = 1
OLLAMA_PORT = 11434
LOOPBACK = "127.0.0.1"
# An interrupted pull goes on where it was; nothing of ollama.com unless it is asked for (G11).
_DEFAULTS = {"OLLAMA_NOPRUNE": "1", "OLLAMA_NO_CLOUD": "1"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What only this command is told. `environ` is the child's."""

    gate: Config
    program: str
    environ: Mapping[str, str]
    insecure: bool


def settings(environ: Mapping[str, str]) -> Settings:
    """The environment, checked; ConfigError names the variable and the remedy."""
    if not (environ.get("AUTH_TOKEN") or environ.get("GATE_TOKENS_DIR")):
        raise ConfigError(
            "AUTH_TOKEN is missing or empty: set it to the token that clients have to send,"
            " 8 to 512 visible ASCII characters"
        )
    gate = replace(
        config.load(environ),
        models=_models(environ.get("OLLAMA_MODEL", "")),
        upstream=_own(environ),
    )
    inherited = {name: value for name, value in environ.items() if name != "AUTH_TOKEN"}
    return Settings(
        gate,
        _program(environ),
        _DEFAULTS | inherited | {"OLLAMA_HOST": gate.upstream.authority},
        pulljob.insecure(environ),
    )


def _models(names: str) -> tuple[ExpectedModel, ...]:
    """The comma-separated names; the first one is loaded before it is asked for."""
    listed = [name.strip() for name in names.split(",")]
    if not all(listed):
        raise ConfigError(
            f"OLLAMA_MODEL is {names!r}: set it to the model to serve, such as llama2:7b,"
            " or to several with commas between them"
            if names
            else "OLLAMA_MODEL is missing or empty: set it to the model to serve, such as llama2:7b"
        )
    return tuple(ExpectedModel(name, warm=i == 0) for i, name in enumerate(listed))


def _own(environ: Mapping[str, str]) -> Upstream:
    """Where Ollama is to listen: GATE_UPSTREAM, else 11434, else any free port of loopback."""
    if not environ.get("GATE_UPSTREAM"):
        return Upstream(LOOPBACK, _free_port())
    chosen = config.load(environ).upstream
    try:
        loopback = ip_address(chosen.host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"GATE_UPSTREAM is {environ['GATE_UPSTREAM']!r}: Ollama listens on loopback only here;"
            f" write http://{LOOPBACK}:PORT, or unset it"
        )
    return chosen


def _free_port() -> int:
    try:
        socket.create_server((LOOPBACK, OLLAMA_PORT)).close()
    except OSError:
        with socket.create_server((LOOPBACK, 0)) as probe:
            return int(probe.getsockname()[1])
    return OLLAMA_PORT


def _program(environ: Mapping[str, str]) -> str:
    wanted = environ.get("OLLAMA_BIN") or "ollama"
    found = shutil.which(wanted, path=environ.get("PATH"))
    if found is None:
        raise ConfigError(
            f"OLLAMA_BIN is {wanted!r}, and there is no such program: install Ollama on PATH,"
            " or set OLLAMA_BIN to where it is"
        )
    return found


async def command(environ: Mapping[str, str]) -> int:
    """Run until a signal, or until Ollama ends; the exit status. ConfigError before any start."""
    wanted = settings(environ)
    live = reload.Live(wanted.gate)
    async with Ollama(f"http://{wanted.gate.upstream.authority}") as ollama:
        serving = Serving(wanted.gate, live, ollama)
        preparation = Preparation(
            wanted.gate.models, ollama, serving.puller, insecure=wanted.insecure
        )
        gate = serving.gate(preparation.closed)
        port = Port(serving, wanted.gate.status_listen)
        stop = serve.signals()
        try:
            await serve.bind("GATE_LISTEN", gate.start())
            await serve.bind("GATE_STATUS_LISTEN", port.start())
            async with _ollama(wanted) as child:
                return await _run(serving, preparation, gate, child, stop)
        finally:
            await gate.close()
            await serving.close()
            await port.close()


@asynccontextmanager
async def _ollama(wanted: Settings) -> AsyncIterator[Child]:
    """A running Ollama, which doesn't outlive the block."""
    _log.info("starting %s on %s", wanted.program, wanted.gate.upstream.authority)
    try:
        child = await Child.start(wanted.program, wanted.environ)
    except OSError as error:
        raise ConfigError(f"OLLAMA_BIN is {wanted.program!r}, and can't be run: {error}") from None
    try:
        yield child
    finally:
        await child.kill()


async def _run(
    serving: Serving, preparation: Preparation, gate: Gate, child: Child, stop: asyncio.Queue[int]
) -> int:
    loops = asyncio.create_task(_follow(serving, preparation, child))

    async def leave() -> None:
        await serve.finish(serving.drain, gate)
        loops.cancel()
        await asyncio.wait((loops,))
        if not loops.cancelled():  # what ended them counts, though it came after the signal
            loops.result()
        await child.stop()

    status = FAILED
    try:
        status = await serve.until_stopped(stop, loops, leave)
    except* (EndedError, PullFailedError) as reasons:
        for reason in reasons.exceptions:
            _log.error("%s", reason)
    finally:
        loops.cancel()
    return status


async def _follow(serving: Serving, preparation: Preparation, child: Child) -> None:
    """Everything that runs beside the door; the errors that end it, as a group."""
    async with asyncio.TaskGroup() as loops:
        loops.create_task(child.watch())
        loops.create_task(child.reap())
        loops.create_task(serving.follow())
        loops.create_task(preparation.run())
