"""The /status document says exactly what docs/architecture.md promises."""

from typing import Any

import pytest

from ollamaserve_sidecar.config import Creation, ExpectedModel
from ollamaserve_sidecar.failures import Cause, Failure
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.ollama import Installed, Running
from ollamaserve_sidecar.progress import Progress
from ollamaserve_sidecar.pull import Pull
from ollamaserve_sidecar.reload import TokenStatus
from ollamaserve_sidecar.status import VERSION, Device, Door, Reason, Sight, Status, Verdict, device

KEY = canonical("llama2:7b")


def status(**facts: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "mode": "serve",
        "verdict": Verdict(Reason.MODELS_MISSING, "llama2:7b is not there yet"),
        "sight": Sight(reachable=True, version="0.17.4", installed={}, running={}),
        "models": (ExpectedModel("llama2:7b", warm=True),),
        "pulls": {},
        "errors": {},
    }
    return Status(**(known | facts)).document()


def test_the_document_of_the_contract() -> None:
    """Every key of the architecture's example, in its types."""
    pulls = {KEY: Pull(Progress(37), running=True)}

    document = status(pulls=pulls, tokens=TokenStatus(("AUTH_TOKEN",), "", 0))

    assert document == {
        "mode": "serve",
        "version": VERSION,
        "ready": False,
        "reason": "ModelsMissing",
        "message": "llama2:7b is not there yet",
        "draining": False,
        "inFlight": 0,
        "queued": 0,
        "ollama": {"reachable": True, "version": "0.17.4"},
        "models": [
            {
                "name": "llama2:7b",
                "present": False,
                "digest": "",
                "sizeBytes": 0,
                "parameterSize": "",
                "quantization": "",
                "warm": True,
                "loaded": False,
                "vramBytes": 0,
                "pulledPercent": 37,
                "error": "",
                "failure": "",
                "givenUp": False,
            }
        ],
        "acceleration": {"device": "unknown", "vramBytes": 0},
        "tokens": {"names": ["AUTH_TOKEN"], "revision": "", "ignored": 0, "error": ""},
        "tls": {"enabled": False, "error": ""},
    }


def test_the_door() -> None:
    """G7: a certificate that can't be read shows, and how many wait for a slot."""
    document = status(door=Door(9, 2, 1, {"Refused": 1}, "no pair"))

    assert (document["queued"], document["tls"]) == (1, {"enabled": True, "error": "no pair"})


def test_a_model_in_memory() -> None:
    """Facts of /api/tags and /api/ps, under the name that the configuration gives the model."""
    sight = Sight(
        reachable=True,
        installed={KEY: Installed("a" * 64, 3_825_819_519, "7B", "Q4_0")},
        running={KEY: Running(5_000, 4_000), "someone/else:latest": Running(10, 10)},
        vram=4_010,
    )

    document = status(sight=sight, device=Device.PARTIAL)

    (model,) = document["models"]
    assert model == {
        "name": "llama2:7b",
        "present": True,
        "digest": f"sha256:{'a' * 64}",
        "sizeBytes": 3_825_819_519,
        "parameterSize": "7B",
        "quantization": "Q4_0",
        "warm": True,
        "loaded": True,
        "vramBytes": 4_000,
        "error": "",
        "failure": "",
        "givenUp": False,
    }
    assert document["acceleration"] == {"device": "partial", "vramBytes": 4_010}


def test_a_model_that_is_still_loading_is_not_called_loaded() -> None:
    """Ollama lists it in /api/ps from the beginning of its load."""
    sight = Sight(reachable=True, running={KEY: Running(5_000, 0)})

    (model,) = status(sight=sight, loading=frozenset({KEY}))["models"]

    assert not model["loaded"]


def test_what_went_wrong_with_a_model() -> None:
    """The pull's failure, or else the load's."""
    failed = {KEY: Pull(failure=Failure(Cause.DISK_FULL, "no space left on device"))}

    (model,) = status(pulls=failed)["models"]
    assert model["error"] == "no space left on device"
    assert (model["failure"], model["givenUp"]) == ("DiskFull", False)
    assert "pulledPercent" not in model
    failed[KEY].failure = Failure(Cause.DISK_FULL, "no space left on device", permanent=True)
    assert status(pulls=failed)["models"][0]["givenUp"]
    assert status(errors={KEY: "not enough memory"})["models"][0]["error"] == "not enough memory"


def test_a_custom_model_is_present_when_it_was_made_as_asked() -> None:
    """Another model under its name is not the model: the operator would take it as pulled."""
    wanted = Creation("tiny", "You are Ada.")
    sight = Sight(reachable=True, installed={KEY: Installed("a" * 64)})
    facts: dict[str, Any] = {
        "sight": sight,
        "models": (ExpectedModel("llama2:7b", create=wanted),),
    }

    assert not status(**facts)["models"][0]["present"]
    assert status(**facts, pulls={KEY: Pull(made=wanted)})["models"][0]["present"]


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ((), Device.UNKNOWN),
        ((Running(10, 10),), Device.GPU),
        ((Running(10, 4),), Device.PARTIAL),
        ((Running(10, 0),), Device.CPU),
        ((Running(10, 10), Running(10, 10)), Device.GPU),
        ((Running(10, 10), Running(10, 0)), Device.PARTIAL),
        ((Running(10, 0), Running(20, 0)), Device.CPU),
    ],
)
def test_the_device_is_told_from_bytes_in_vram(
    loads: tuple[Running, ...], expected: Device
) -> None:
    """Decision 5: all in VRAM is gpu, none is cpu, and anything between is partial."""
    assert expected is device(loads)
