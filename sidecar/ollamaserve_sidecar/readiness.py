"""Whether this pod should get requests: the latch of decision 5, as a pure state machine.

`Memory` is what is remembered of one run of Ollama. Each thing that happens (a look at Ollama, an
ended load, a restart) gives a new one, and `judge` reads the verdict off it. A pod becomes ready
once every model is there with its digest and the warm ones have loaded, in VRAM where that was
asked for; then it stays ready until Ollama restarts: clients unload and replace models as they
like, and endpoints must not flap with that. `observer` feeds this room from a real Ollama.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from ollamaserve_sidecar.failures import Cause
from ollamaserve_sidecar.models import canonical, digest_matches, prefixed
from ollamaserve_sidecar.status import Reason, Sight, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ollamaserve_sidecar.config import ExpectedModel, GateConfig
    from ollamaserve_sidecar.ollama import Running
    from ollamaserve_sidecar.pull import Pull

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Memory:
    """One run of Ollama, by canonical model names.

    `warmed` has the models that a load of ours brought up, `errors` those that it couldn't;
    `placed` says where each model went when it was last seen in memory.
    """

    run: int = 0
    connected: bool = False
    latched: bool = False
    sight: Sight = field(default_factory=Sight)
    warmed: frozenset[str] = frozenset()
    errors: Mapping[str, str] = field(default_factory=dict)
    placed: Mapping[str, Running] = field(default_factory=dict)


def connected(memory: Memory) -> Memory:
    """A connection to this run of Ollama stands; its end will be the end of the run."""
    return replace(memory, connected=True)


def ended(memory: Memory) -> Memory:
    """Ollama has gone: nothing that was known of it holds for the next run."""
    return Memory(run=memory.run + 1)


def seen(memory: Memory, sight: Sight) -> Memory:
    """A look at Ollama. An unanswered one only says so: a busy Ollama is no other Ollama."""
    if not sight.reachable:
        return replace(memory, sight=replace(memory.sight, reachable=False))
    changed = _changed(memory.sight, sight)
    return replace(
        memory,
        sight=sight,
        warmed=memory.warmed - changed,
        placed={**memory.placed, **(sight.running or {})},
    )


def _changed(before: Sight, now: Sight) -> frozenset[str]:
    """The names that stand for another model now: a load of the old one says nothing of it."""
    was = before.installed or {}
    found = (now.installed or {}).items()
    return frozenset(n for n, model in found if n in was and was[n].digest != model.digest)


def loaded(memory: Memory, run: int, name: str, place: Running | None) -> Memory:
    """A load that began in `run` has brought a model up, into `place`.

    One of an earlier run of Ollama tells nothing. None: it left again before it could be seen.
    """
    if run != memory.run:
        return memory
    key = canonical(name)
    return replace(
        memory,
        warmed=memory.warmed | {key},
        errors=_without(memory.errors, key),
        placed={**_without(memory.placed, key), **({key: place} if place else {})},
    )


def failed(memory: Memory, run: int, name: str, error: str) -> Memory:
    """A load that began in `run` has failed, in Ollama's words `error`."""
    if run != memory.run:
        return memory
    return replace(memory, errors={**memory.errors, canonical(name): error})


def latch(memory: Memory, config: GateConfig, pulls: Mapping[str, Pull]) -> Memory:
    """Remember that everything was right once."""
    return replace(memory, latched=True) if judge(memory, config, pulls).ready else memory


def to_load(
    memory: Memory, config: GateConfig, pulls: Mapping[str, Pull]
) -> tuple[ExpectedModel, ...]:
    """The warm models that are there and that no load of ours has brought up yet."""
    return tuple(
        model
        for model in config.models
        if model.warm
        and _there(memory, model, pulls)
        and canonical(model.name) not in memory.warmed
    )


def judge(memory: Memory, config: GateConfig, pulls: Mapping[str, Pull]) -> Verdict:
    """The verdict, with the first reason in the order in which things have to come right.

    Only warm models have to be in VRAM: nobody knows where one that never loaded would go.
    """
    warm = [model for model in config.models if model.warm]
    problems = (
        _unreachable(memory),
        *(_absent(memory, model, pulls) for model in config.models),
        *(_cold(memory, model) for model in warm),
        *(_slow(memory, model) for model in warm if config.require_acceleration),
    )
    problem = next(filter(None, problems), None)
    if memory.latched:
        later = f"serving; meanwhile: {problem.message}" if problem else "serving"
        return Verdict(Reason.READY, later)
    return problem or Verdict(Reason.READY, "serving")


def _unreachable(memory: Memory) -> Verdict | None:
    if memory.sight.reachable and memory.connected:
        return None
    return Verdict(Reason.OLLAMA_UNREACHABLE, "Ollama doesn't answer")


def _there(memory: Memory, model: ExpectedModel, pulls: Mapping[str, Pull]) -> bool:
    found = (memory.sight.installed or {}).get(canonical(model.name))
    pull = pulls.get(canonical(model.name))
    there = found is not None and digest_matches(model.digest, found.digest)
    return there and model.as_wanted(pull.made if pull else None)


def _absent(memory: Memory, model: ExpectedModel, pulls: Mapping[str, Pull]) -> Verdict | None:
    if _there(memory, model, pulls):
        return None
    pull = pulls.get(canonical(model.name))
    if pull and pull.running:
        return Verdict(Reason.PULLING, f"{model.name} is being pulled, {pull.progress.percent} %")
    if pull and pull.failure:
        mismatch = pull.failure.cause is Cause.DIGEST_MISMATCH
        reason = Reason.DIGEST_MISMATCH if mismatch else Reason.PULL_FAILED
        return Verdict(reason, f"{model.name}: {pull.failure.message}")
    found = (memory.sight.installed or {}).get(canonical(model.name))
    if found is None or digest_matches(model.digest, found.digest):
        return Verdict(Reason.MODELS_MISSING, f"{model.name} is not there yet")
    message = f"{model.name} is {prefixed(found.digest)}, {prefixed(model.digest)} was asked for"
    return Verdict(Reason.DIGEST_MISMATCH, message)


def _cold(memory: Memory, model: ExpectedModel) -> Verdict | None:
    key = canonical(model.name)
    if key in memory.warmed:
        return None
    if key in memory.errors:
        return Verdict(Reason.LOAD_FAILED, f"{model.name}: {memory.errors[key]}")
    return Verdict(Reason.LOADING, f"{model.name} is being loaded")


def _slow(memory: Memory, model: ExpectedModel) -> Verdict | None:
    placed = memory.placed.get(canonical(model.name))
    if placed is None:
        message = f"{model.name} left memory before it was seen there: raise keepAlive above 0"
    elif placed.vram > 0:
        return None
    else:
        message = f"{model.name} was loaded without any VRAM, and acceleration is required"
    return Verdict(Reason.NOT_ACCELERATED, message)


def _without(mapping: Mapping[str, _Value], key: str) -> dict[str, _Value]:
    return {other: value for other, value in mapping.items() if other != key}
