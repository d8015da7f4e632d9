"""The gate with everything switched on, in front of the fake upstream; both are processes here.

`opened` starts and ends them. The configuration is a small team's: TLS, tokens of every kind, slots
and a queue that are too small for the crowd, and limits that refuse some of it.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ollamaserve_dev import cache, certificate, progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
PATIENCE = 30.0
SLOTS, QUEUE = 470, 6
"""Too few of both for the crowd, so that some wait all the time and some are sent away."""
TOKENS = {
    "ada": {"access": "infer"},
    "bob": {"access": "infer"},
    "cyd": {"access": "infer"},
    "limited": {"access": "infer", "models": ["soak"]},
    "root": {"access": "full"},
}


def secret(name: str) -> str:
    return f"token-of-{name}-for-the-soak"


@dataclass(frozen=True, slots=True)
class Rig:
    """`door` and `status` are ports of the gate, `upstream` the fake's; `folder` has its files."""

    folder: Path
    gate: subprocess.Popen[bytes]
    door: int
    status: int
    upstream: int

    @property
    def told(self) -> Path:
        return self.folder / "told.json"

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "tls.crt")

    def rotate(self) -> None:
        """One token has a new value, and the configuration a new content: the gate loads both."""
        (self.folder / "tokens/cyd").write_text(secret(f"cyd-{time.time_ns()}"))
        _configure(self.folder)


@contextmanager
def opened(folder: Path) -> Iterator[Rig]:
    """Both programs for the time of the block; their output goes to files in `folder`."""
    (folder / "tokens").mkdir()
    for name in TOKENS:
        (folder / "tokens" / name).write_text(secret(name))
    _certify(folder)
    _configure(folder)
    with _upstream() as line:
        upstream, door, status = int(line.rpartition(":")[2]), _free_port(), _free_port()
        environ = {
            "GATE_CONFIG": str(folder / "gate.json"),
            "GATE_TOKENS_DIR": str(folder / "tokens"),
            "GATE_LISTEN": f"127.0.0.1:{door}",
            "GATE_STATUS_LISTEN": f"127.0.0.1:{status}",
            "GATE_UPSTREAM": f"http://127.0.0.1:{upstream}",
            "GATE_TLS_CERT": str(folder / "tls.crt"),
            "GATE_TLS_KEY": str(folder / "tls.key"),
            "GATE_DRAIN_TIMEOUT": "6",
        }
        command = [sys.executable, str(HERE / "watched.py"), str(folder / "told.json")]
        with _gate(command, environ, folder / "gate.log") as gate:
            _await(status, gate, folder / "gate.log")
            yield Rig(folder, gate, door, status, upstream)


@contextmanager
def _upstream() -> Iterator[str]:
    """The fake; the line that it prints, which is its address."""
    with subprocess.Popen([_program()], stdout=subprocess.PIPE, text=True) as fake:
        try:
            yield fake.stdout.readline() if fake.stdout else ""
        finally:
            fake.terminate()


@contextmanager
def _gate(
    command: Sequence[str], environ: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, env=os.environ | environ, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()


def _program() -> Path:
    def make(into: Path) -> None:
        words = ("go", "build", "-trimpath", "-o", str(into / "upstream"), ".")
        progress.run(words, log="soak-upstream", cwd=HERE / "upstream", remedy="Go is needed.\n")

    return cache.entry("soak", cache.fingerprint(HERE / "upstream"), make) / "upstream"


def _configure(folder: Path) -> None:
    settings = {
        "tokens": TOKENS,
        "models": [{"name": "soak", "warm": True}],
        "limits": {
            "concurrentRequests": SLOTS,
            "queue": QUEUE,
            "queueWaitSeconds": 30,
            "requestsPerMinute": 6000,
        },
        "cors": {"allowedOrigins": ["https://app.example"]},
        "healthPath": "/healthz",
    }
    new = folder / "gate.json.new"
    new.write_text(json.dumps(settings))
    new.rename(folder / "gate.json")


def _certify(folder: Path) -> None:
    chain, key = certificate.pair("soak")
    (folder / "tls.crt").write_bytes(chain)
    (folder / "tls.key").write_bytes(key)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _await(port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and child.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the gate doesn't listen; the end of its log: {log.read_text()[-2000:]}")
