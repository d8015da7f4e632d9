"""Ollama's own client for JavaScript, unmodified, through the gate."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from component.clients.conftest import TOKEN
from ollamaserve_dev import javascript

PROGRAM = Path(__file__).with_name("contract.mjs")
ANSWER = "The capital of France is Paris."
PATIENCE = 60


@pytest.fixture(scope="session")
def modules() -> Path:
    return javascript.modules()


def call(name: str, gate: str, modules: Path, token: str = TOKEN) -> Any:
    """What the client's call gives, or its error."""
    environment = os.environ | {"HOST": gate, "TOKEN": token, "MODULES": str(modules)}
    done = subprocess.run(
        ["node", PROGRAM, name],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return json.loads(done.stdout)


def test_list_and_show(gate: str, model: str, modules: Path) -> None:
    """What is there, and what it is."""
    assert f"{model}:latest" in call("list", gate, modules)
    assert call("show", gate, modules) == "llama"


@pytest.mark.usefixtures("model")
def test_answers(gate: str, modules: Path) -> None:
    """The model's learned answer, whole and streamed to its last line; vectors."""
    streamed = call("chat", gate, modules)

    assert call("generate", gate, modules) == ANSWER
    assert streamed["text"] == ANSWER
    assert streamed["done"] == [False] * (len(streamed["done"]) - 1) + [True]
    assert len(streamed["done"]) > 3
    assert call("embed", gate, modules) == 2


@pytest.mark.parametrize(("token", "words"), [("", "no token"), ("wrong-token", "isn't valid")])
def test_strangers(gate: str, modules: Path, token: str, words: str) -> None:
    """A4: the client tells the gate's own words."""
    refused = call("list", gate, modules, token)

    assert (refused["name"], refused["status"]) == ("ResponseError", 401)
    assert words in refused["error"]


@pytest.mark.usefixtures("model")
def test_abort(gate: str, status: str, modules: Path) -> None:
    """P10: `abort()` in mid-stream ends the request at the gate too."""
    assert call("abort", gate, modules)["name"] == "AbortError"
    with urllib.request.urlopen(f"{status}/status", timeout=PATIENCE) as answer:
        assert json.load(answer)["inFlight"] == 0
