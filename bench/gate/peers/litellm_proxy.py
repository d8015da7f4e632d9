"""LiteLLM's proxy, in a virtual environment of its own: its packages are none of the bench's.

It reads each event's JSON and writes another, so what it answers is compared token by token.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from ollamaserve_dev import cache, progress

if TYPE_CHECKING:
    from pathlib import Path

LOCK = cache.CHECKOUT / "requirements/litellm.txt"
REMEDY = "LiteLLM's proxy is left out of the rows that it has a part in.\n"
# Nothing of the caller's environment, in which it would look for keys of providers.
ENVIRON = {
    "PATH": "/usr/bin:/bin",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    # What else it would fetch when it starts.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
}


def release() -> str:
    """The version that is locked."""
    found = re.search(r"^litellm\S*==(\S+)", LOCK.read_text(), re.MULTILINE)
    return found[1] if found else ""


def python() -> Path:
    """The interpreter of its environment, made on first use. SetupError where that can't be."""

    def make(into: Path) -> None:
        venv = into / "venv"
        _uv("venv", "--relocatable", "--python", sys.executable, venv)
        _uv("pip", "install", "--python", venv / "bin/python", "--require-hashes", "-r", LOCK)

    name = cache.fingerprint(LOCK, sys.version, sys.executable)
    return cache.entry("bench-litellm", name, make) / "venv/bin/python"


def _uv(*words: str | Path) -> None:
    try:
        progress.run(("uv", *words), log="bench-litellm", remedy=REMEDY)
    except FileNotFoundError as missing:
        raise progress.SetupError(f"uv is not on PATH. {REMEDY}") from missing


def command(folder: Path, port: int, upstream: int, token: str) -> list[str | Path]:
    """One worker and no database, as the bench's other peers have none."""
    config = folder / "config.json"  # JSON is YAML too
    config.write_text(json.dumps(_config(upstream, token)))
    environ = ENVIRON | {"HOME": str(folder)}
    return [
        *("env", "--ignore-environment", *(f"{name}={value}" for name, value in environ.items())),
        *(python(), "-m", "litellm.proxy.proxy_cli", "--config", config),
        *("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"),
    ]


def _config(upstream: int, token: str) -> dict[str, object]:
    model = {
        "model": "openai/llama2:7b",
        "api_base": f"http://127.0.0.1:{upstream}/v1",
        "api_key": "none",
    }
    return {
        "model_list": [{"model_name": "llama2:7b", "litellm_params": model}],
        "general_settings": {
            "master_key": token,
            "forward_client_headers_to_llm_api": True,  # of them X-Bench, the plan
        },
    }
