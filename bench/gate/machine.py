"""What the figures hold for: processor, kernel, versions. No host names, no paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.gate.peers import litellm_proxy

PACKAGES = ("aiohttp", "uvloop", "prometheus-client")


def facts() -> dict[str, Any]:
    return {
        "processor": _first(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()),
        "cores": os.cpu_count(),
        "memory_gib": round(_memory() / (1 << 20), 1),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "nginx": _said(r"nginx/(\S+)", "nginx", "-v"),
        "compiler": _said(r"(\d+\.\d+\S*)", "cc", "-dumpfullversion"),
        **{package: version(package) for package in PACKAGES},
        "litellm": litellm_proxy.release(),
    }


def _memory() -> int:
    return int(_first(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()))


def _said(pattern: str, *words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return _first(pattern, done.stdout + done.stderr)


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1].strip() if found else ""
