"""How a process starts that can't: one line, and exit status 2."""

import os
import socket
import subprocess
import sys

import pytest

OURS = ("AUTH_TOKEN", "GATE_TOKENS_DIR", "GATE_CONFIG", "PULL_MODELS")


def refusal(*arguments: str, **environment: str) -> str:
    """The one line that the refused command leaves."""
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    ended = subprocess.run(
        [sys.executable, "-m", "ollamaserve_sidecar", *arguments],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith("ollamaserve_sidecar: ")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


@pytest.mark.parametrize("arguments", [[], ["help"], ["serve", "--port"], ["pull", "llama2"]])
def test_another_command_is_told_the_usage(arguments: list[str]) -> None:
    """Configuration comes from the environment; there is nothing else to say here."""
    assert "serve|pull" in refusal(*arguments)


@pytest.mark.parametrize("environment", [{}, {"AUTH_TOKEN": ""}], ids=["none", "empty"])
def test_a_gate_without_a_token_refuses_to_start(environment: dict[str, str]) -> None:
    """A gate that would let everybody in, or nobody, says what to set."""
    assert "AUTH_TOKEN" in refusal("serve", **environment)


@pytest.mark.parametrize("name", ["GATE_LISTEN", "GATE_STATUS_LISTEN"])
def test_an_address_in_use_is_named(name: str) -> None:
    """Which of the two ports it was, and no traceback."""
    free = dict.fromkeys(("GATE_LISTEN", "GATE_STATUS_LISTEN"), "127.0.0.1:0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free[name] = f"127.0.0.1:{taken.getsockname()[1]}"

        assert f"{name} can't be listened on" in refusal("serve", AUTH_TOKEN="a-test-token", **free)


def test_a_wrong_pull_says_what_to_write() -> None:
    """The contract's exit status 2: the Job fails at once."""
    assert "PULL_MODELS: models[0].name" in refusal("pull", PULL_MODELS='[{"name": ""}]')
