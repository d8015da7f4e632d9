"""The latch of decision 5, under every order of events."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_sidecar import readiness
from ollamaserve_sidecar.config import Creation, ExpectedModel, GateConfig
from ollamaserve_sidecar.failures import Cause, Failure
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.ollama import Installed, Running
from ollamaserve_sidecar.progress import Progress
from ollamaserve_sidecar.pull import Pull
from ollamaserve_sidecar.readiness import Memory
from ollamaserve_sidecar.status import Reason, Sight

GOOD, BAD = "a" * 64, "b" * 64
ON_GPU, ON_CPU, PARTLY = Running(100, 100), Running(100, 0), Running(100, 40)
LLAMA, OTHER = canonical("llama2"), canonical("other")

Event = Callable[[Memory], Memory]


def config(*, acceleration: bool = False, digest: str = "", other: bool = False) -> GateConfig:
    models = (ExpectedModel("llama2", digest, warm=True),)
    more = (ExpectedModel("other"),) if other else ()
    return GateConfig(tokens={}, models=models + more, require_acceleration=acceleration)


def sight(*names: str, digest: str = GOOD, running: dict[str, Running] | None = None) -> Sight:
    installed = {name: Installed(digest) for name in names}
    return Sight(reachable=True, version="0.17.4", installed=installed, running=running or {})


def after(wanted: GateConfig, *events: Event, memory: Memory | None = None) -> Memory:
    """The memory after the events, latched whenever it can be, as the observer does it."""
    memory = memory or Memory()
    for event in events:
        memory = readiness.latch(event(memory), wanted, {})
    return memory


def saw(look: Sight) -> Event:
    return lambda memory: readiness.seen(memory, look)


def loaded(place: Running | None = ON_GPU, run: int | None = None, name: str = "llama2") -> Event:
    return lambda m: readiness.loaded(m, m.run if run is None else run, name, place)


def failed(error: str) -> Event:
    return lambda memory: readiness.failed(memory, memory.run, "llama2", error)


UP: tuple[Event, ...] = (readiness.connected, saw(sight(LLAMA)), loaded())
events = st.one_of(
    st.just(readiness.connected),
    st.just(readiness.ended),
    st.just(saw(Sight())),
    st.builds(
        lambda names, digest, running: saw(sight(*names, digest=digest, running=running)),
        st.sets(st.sampled_from([LLAMA, OTHER])),
        st.sampled_from([GOOD, BAD]),
        st.dictionaries(st.just(LLAMA), st.sampled_from([ON_GPU, ON_CPU, PARTLY])),
    ),
    st.builds(loaded, st.sampled_from([None, ON_GPU, ON_CPU, PARTLY]), st.sampled_from([None, 0])),
    st.builds(failed, st.just("not enough memory")),
)


@given(st.lists(events), st.booleans(), st.sampled_from(["", GOOD]), st.booleans())
def test_ready_only_after_everything_was_right_and_until_ollama_ends(
    happened: list[Event], acceleration: bool, digest: str, other: bool
) -> None:
    """Decision 5: the latch closes only on a sound state, and opens only when Ollama ends."""
    wanted = config(acceleration=acceleration, digest=digest, other=other)
    memory = Memory()
    for event in happened:
        before, memory = memory, after(wanted, event, memory=memory)

        if before.latched:
            assert memory.latched is (memory.run == before.run)
        elif memory.latched:
            there = memory.sight.installed or {}
            assert memory.connected
            assert memory.sight.reachable
            assert all(canonical(model.name) in there for model in wanted.models)
            assert digest in ("", there[LLAMA].digest)
            assert LLAMA in memory.warmed
            assert not acceleration or memory.placed[LLAMA].vram > 0
        assert memory.latched is readiness.judge(memory, wanted, {}).ready


@given(st.lists(events))
def test_a_new_run_of_ollama_inherits_nothing(happened: list[Event]) -> None:
    """Decision 5: after a restart the models have to be there and to load again."""
    memory = readiness.ended(after(config(), *happened))

    assert memory == Memory(run=memory.run)
    assert readiness.judge(memory, config(), {}).reason is Reason.OLLAMA_UNREACHABLE


def test_a_load_of_an_earlier_run_tells_nothing() -> None:
    """A load that was answered just before the crash doesn't make the next Ollama warm."""
    memory = after(
        config(), *UP, readiness.ended, readiness.connected, saw(sight(LLAMA)), loaded(run=0)
    )

    assert not memory.latched
    assert readiness.judge(memory, config(), {}).reason is Reason.LOADING


@pytest.mark.parametrize(
    ("happened", "wanted", "reason", "words"),
    [
        ((), config(), Reason.OLLAMA_UNREACHABLE, "doesn't answer"),
        (UP[:1], config(), Reason.OLLAMA_UNREACHABLE, "doesn't answer"),
        ((readiness.connected, saw(sight())), config(), Reason.MODELS_MISSING, "llama2 is not"),
        (UP[:2], config(digest=BAD), Reason.DIGEST_MISMATCH, f"sha256:{BAD} was asked for"),
        (UP[:2], config(), Reason.LOADING, "llama2 is being loaded"),
        ((*UP[:2], failed("no memory")), config(), Reason.LOAD_FAILED, "llama2: no memory"),
        ((*UP[:2], failed("no memory"), loaded()), config(), Reason.READY, "serving"),
        ((*UP[:2], loaded(ON_CPU)), config(), Reason.READY, "serving"),
        (
            (*UP[:2], loaded(ON_CPU)),
            config(acceleration=True),
            Reason.NOT_ACCELERATED,
            "without any VRAM",
        ),
        ((*UP[:2], loaded(None)), config(acceleration=True), Reason.NOT_ACCELERATED, "keepAlive"),
        ((*UP[:2], loaded(PARTLY)), config(acceleration=True), Reason.READY, "serving"),
        (
            (*UP[:2], loaded(ON_CPU), saw(sight(LLAMA, running={LLAMA: ON_GPU}))),
            config(acceleration=True),
            Reason.READY,
            "serving",
        ),
        (UP, config(other=True), Reason.MODELS_MISSING, "other is not there yet"),
    ],
)
def test_the_first_thing_that_is_not_right_yet_is_named(
    happened: tuple[Event, ...], wanted: GateConfig, reason: Reason, words: str
) -> None:
    """Decisions 5 and 17: one reason and one sentence, for who looks at 3 a.m."""
    verdict = readiness.judge(after(wanted, *happened), wanted, {})

    assert reason is verdict.reason
    assert words in verdict.message


@pytest.mark.parametrize(
    "loss",
    [
        saw(sight()),
        saw(sight(LLAMA, digest=BAD)),
        saw(sight(LLAMA, running={LLAMA: ON_CPU})),
        saw(Sight()),
    ],
    ids=["deleted", "replaced", "on the CPU", "busy"],
)
def test_a_later_loss_is_told_but_takes_no_pod_out(loss: Event) -> None:
    """Decision 5: clients may delete, replace and unload models; endpoints don't flap with it."""
    wanted = config(acceleration=True, digest=GOOD)

    verdict = readiness.judge(after(wanted, *UP, loss), wanted, {})

    assert verdict.ready
    assert verdict.message.startswith("serving; meanwhile: ")


def test_a_model_added_later_takes_no_pod_out() -> None:
    """Decision 4: the longer list is awaited behind a closed latch."""
    memory = after(config(), *UP)

    verdict = readiness.judge(memory, config(other=True), {})

    assert verdict.ready
    assert verdict.message == "serving; meanwhile: other is not there yet"


def test_warm_models_are_loaded_once_in_a_run() -> None:
    """A model that a client unloads is not loaded again behind its back; a restart loads it."""
    present = after(config(), *UP[:2])
    warmed = after(config(), *UP)
    again = after(config(), *UP, readiness.ended, *UP[:2])

    assert [model.name for model in readiness.to_load(present, config(), {})] == ["llama2"]
    assert readiness.to_load(warmed, config(), {}) == ()
    assert [model.name for model in readiness.to_load(again, config(), {})] == ["llama2"]
    assert readiness.to_load(present, config(digest=BAD), {}) == ()


def test_a_name_that_stands_for_another_model_is_loaded_again() -> None:
    """A changed custom model: no pod turns unready, and the first request needn't wait for it."""
    memory = after(config(), *UP, saw(sight(LLAMA, digest=BAD)))

    assert readiness.judge(memory, config(), {}).ready
    assert [model.name for model in readiness.to_load(memory, config(), {})] == ["llama2"]


def test_a_custom_model_is_there_when_this_gate_has_made_it() -> None:
    """Decision 4: what an older spec made under the name is neither loaded nor served as it."""
    wanted = Creation("llama2", "You are Ada.")
    made = GateConfig(tokens={}, models=(ExpectedModel("ada", warm=True, create=wanted),))
    ada = canonical("ada")
    memory = after(made, readiness.connected, saw(sight(ada)), loaded(name="ada"))
    other = {ada: Pull(made=Creation("llama2", "You are Eva."))}

    for pulls in ({}, other):
        verdict = readiness.judge(memory, made, pulls)
        assert (verdict.reason, verdict.message) == (Reason.MODELS_MISSING, "ada is not there yet")
        assert readiness.to_load(Memory(sight=sight(ada)), made, pulls) == ()
    assert readiness.judge(memory, made, {ada: Pull(made=wanted)}).ready


@pytest.mark.parametrize(
    ("pull", "reason", "words"),
    [
        (Pull(Progress(37), running=True), Reason.PULLING, "llama2 is being pulled, 37 %"),
        (
            Pull(failure=Failure(Cause.DISK_FULL, "no space left on device")),
            Reason.PULL_FAILED,
            "llama2: no space left on device",
        ),
        (
            Pull(failure=Failure(Cause.DIGEST_MISMATCH, "the registry has another")),
            Reason.DIGEST_MISMATCH,
            "llama2: the registry has another",
        ),
    ],
)
def test_a_pull_of_our_own_explains_what_is_missing(pull: Pull, reason: Reason, words: str) -> None:
    """With ephemeral storage the gate pulls, and says how far it is or why it failed."""
    memory = after(config(), readiness.connected, saw(sight()))

    verdict = readiness.judge(memory, config(), {LLAMA: pull})

    assert (reason, words) == (verdict.reason, verdict.message)
