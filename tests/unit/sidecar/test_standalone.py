"""The standalone command's environment: what it refuses, and what it makes of the rest."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ollamaserve_sidecar import reload, standalone
from ollamaserve_sidecar.config import ConfigError, ExpectedModel

GIVEN = {"AUTH_TOKEN": "a-test-token", "OLLAMA_MODEL": "llama2:7b", "OLLAMA_BIN": sys.executable}


@pytest.mark.parametrize(
    ("changed", "named", "remedy"),
    [
        ({"AUTH_TOKEN": None}, "AUTH_TOKEN is missing", "set it to the token"),
        ({"AUTH_TOKEN": ""}, "AUTH_TOKEN is missing", "set it to the token"),
        ({"AUTH_TOKEN": "with a space"}, "token AUTH_TOKEN has other bytes", "8 to 512 letters"),
        ({"OLLAMA_MODEL": None}, "OLLAMA_MODEL is missing", "such as llama2:7b"),
        ({"OLLAMA_MODEL": ""}, "OLLAMA_MODEL is missing", "such as llama2:7b"),
        ({"OLLAMA_MODEL": "llama2,"}, "OLLAMA_MODEL is 'llama2,'", "such as llama2:7b"),
        ({"OLLAMA_BIN": "/nowhere/ollama"}, "OLLAMA_BIN is '/nowhere/ollama'", "install Ollama"),
        ({"PULL_INSECURE": "yes"}, "PULL_INSECURE is 'yes'", "write true or false"),
        ({"GATE_UPSTREAM": "http://10.0.0.1:11434"}, "GATE_UPSTREAM is", "127.0.0.1:PORT"),
        ({"GATE_UPSTREAM": "http://ollama:11434"}, "GATE_UPSTREAM is", "127.0.0.1:PORT"),
    ],
)
def test_it_refuses_to_start(changed: dict[str, str | None], named: str, remedy: str) -> None:
    """Exit status 2 and one line that names the variable and the remedy."""
    changes = GIVEN | changed
    environment = {name: value for name, value in os.environ.items() if name not in changes}
    environment |= {name: value for name, value in changes.items() if value is not None}
    ended = subprocess.run(
        [sys.executable, "-m", "ollamaserve_sidecar", "standalone"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"ollamaserve_sidecar: {named}")
    assert remedy in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "with a space" not in ended.stderr


def test_the_first_model_is_warm() -> None:
    """Spaces around commas are no part of a name."""
    wanted = standalone.settings(GIVEN | {"OLLAMA_MODEL": "llama2:7b, qwen3:4b"})

    assert wanted.gate.models == (
        ExpectedModel("llama2:7b", warm=True),
        ExpectedModel("qwen3:4b"),
    )


def test_ollamas_own_port_is_taken_where_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """11434, which people know; another where an Ollama of the machine's already has it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(standalone, "OLLAMA_PORT", port)
        elsewhere = standalone.settings(GIVEN)
    own = standalone.settings(GIVEN)

    assert own.gate.upstream.authority == own.environ["OLLAMA_HOST"] == f"127.0.0.1:{port}"
    assert elsewhere.gate.upstream.port not in (port, 0)
    assert elsewhere.gate.upstream.host == "127.0.0.1"


def test_what_ollama_is_told() -> None:
    """Partial pulls are kept and the cloud is off unless asked for; the token stays here (G11)."""
    plain = standalone.settings(GIVEN).environ
    asked = standalone.settings(GIVEN | {"OLLAMA_NO_CLOUD": "0", "OLLAMA_NUM_PARALLEL": "4"})

    assert (plain["OLLAMA_NOPRUNE"], plain["OLLAMA_NO_CLOUD"]) == ("1", "1")
    assert (asked.environ["OLLAMA_NO_CLOUD"], asked.environ["OLLAMA_NUM_PARALLEL"]) == ("0", "4")
    assert "AUTH_TOKEN" not in plain


def test_expected_models_beside_those_of_the_file(tmp_path: Path) -> None:
    """GATE_CONFIG's models are waited for too, before and after a reload."""
    file = tmp_path / "gate.json"
    file.write_text('{"tokens": {"AUTH_TOKEN": {"access": "full"}}, "models": [{"name": "other"}]}')
    live = reload.Live(standalone.settings(GIVEN | {"GATE_CONFIG": str(file)}).gate)

    assert [model.name for model in live.config.models] == ["llama2:7b", "other"]
    assert live.reload()
    assert [model.name for model in live.config.models] == ["llama2:7b", "other"]


def test_mounted_tokens_may_stand_for_the_variable() -> None:
    """GATE_TOKENS_DIR brings several tokens to the one container, too."""
    mounted = {name: value for name, value in GIVEN.items() if name != "AUTH_TOKEN"}

    assert standalone.settings(mounted | {"GATE_TOKENS_DIR": "/tokens"}).gate.tokens_dir
    with pytest.raises(ConfigError, match="AUTH_TOKEN"):
        standalone.settings(mounted)
