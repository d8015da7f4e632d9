"""Ollama's client for JavaScript, from npm, with every checksum in a committed package-lock.json.

The lock names no registry: npm's own configuration says where packages come from. Only the tests
of clients enter.
"""

import shutil
from pathlib import Path

from ollamaserve_dev import cache, debian, progress

SOURCE = cache.CHECKOUT / "dev/javascript"
FILES = ("package.json", "package-lock.json")


def modules() -> Path:
    """The folder in which `node_modules` is; SetupError where Node.js is missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        debian.need("Ollama's client for JavaScript", "nodejs", "npm")
    return cache.entry(
        "javascript", cache.fingerprint(*(SOURCE / file for file in FILES)), _install
    )


def _install(into: Path) -> None:
    for file in FILES:
        shutil.copy(SOURCE / file, into)
    words = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    with progress.step("Ollama's client for JavaScript: install from npm"):
        progress.run(words, log="npm", cwd=into)
