"""How each peer is started: its command, its configuration, its environment."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

from bench.gate.load import TOKEN
from bench.gate.peers import litellm_proxy
from bench.gate.peers.names import (
    DIRECT,
    GATE,
    GATE_INTERPRETED,
    LITELLM,
    NGINX,
    NGINX_LOGGED,
    PLAIN,
)
from bench.gate.process import Process, free_port, running
from ollamaserve_dev import compiled, debian

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
LOGGED = """
        access_log {folder}/access.log combined;
        log_by_lua_block {
            local counters = ngx.shared.counters
            counters:incr(ngx.var.request_method .. ngx.var.uri .. ngx.status, 1, 0)
        }
"""
WAKING = 0.5
# More than any row has under way at once: no peer is to queue or refuse. Blobs need `manage`.
GATE_CONFIG = {
    "tokens": {"AUTH_TOKEN": {"access": "manage"}},
    "limits": {"concurrentRequests": 4096, "connections": 8192},
}


@dataclass(frozen=True, slots=True)
class Peer:
    """A proxy that listens; `process` is None where nothing is between. `scrape` is its metrics.

    One that `rests` does something even when nobody asks it, on the core of all: it is stopped
    while others are measured.
    """

    name: str
    port: int
    process: Process | None = None
    scrape: Callable[[], None] | None = None
    rests: bool = False

    def rest(self) -> None:
        if self.rests and self.process:
            self.process.rest()

    @contextmanager
    def awake(self) -> Iterator[None]:
        if self.rests and self.process:
            self.process.wake()
            time.sleep(WAKING)
        try:
            yield
        finally:
            self.rest()


def install() -> None:
    """See that nginx is here, and the gate compiled; LiteLLM is made when it's started."""
    debian.need("the bench", "nginx", "libnginx-mod-http-lua")
    compiled.folder()


@contextmanager
def peer(name: str, upstream: int, folder: Path) -> Iterator[Peer]:
    if name == DIRECT:
        yield Peer(DIRECT, upstream)
        return
    own, port, status = folder / name, free_port(), free_port()
    own.mkdir()
    command, environ = _command(name, own, port, upstream, status)
    with running(command, port, environ, own / "log") as process:
        scrape = _scraper(status) if name == GATE else None
        yield Peer(name, port, process, scrape, rests=name == LITELLM)


def _command(
    name: str, folder: Path, port: int, upstream: int, status: int
) -> tuple[list[str | Path], dict[str, str]]:
    if name in (NGINX, NGINX_LOGGED):
        return _nginx(folder, port, upstream, logged=name == NGINX_LOGGED), {}
    if name == PLAIN:
        return [sys.executable, HERE / "plain.py", str(port), str(upstream), TOKEN], {}
    if name == LITELLM:
        return litellm_proxy.command(folder, port, upstream, TOKEN), {}
    source = compiled.SOURCE if name == GATE_INTERPRETED else compiled.folder()
    environ = _pod(folder, port, upstream, status) | {"PYTHONPATH": str(source)}
    if name in (GATE, GATE_INTERPRETED):
        return [sys.executable, "-m", "ollamaserve_sidecar", "serve"], environ
    return [sys.executable, HERE / "variants.py", name.removeprefix("gate-")], environ


def _nginx(folder: Path, port: int, upstream: int, *, logged: bool) -> list[str | Path]:
    values = {
        "logged": LOGGED if logged else "",
        "modules": "/usr/lib/nginx/modules",
        "folder": folder,
        "port": port,
        "upstream": upstream,
        "token": TOKEN,
    }
    text = (HERE / "nginx.conf").read_text()
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", folder, "-c", folder / "nginx.conf", "-g", "daemon off; user root;"]


def _pod(folder: Path, port: int, upstream: int, status: int) -> dict[str, str]:
    """What the operator gives the gate's container."""
    tokens = folder / "tokens"
    tokens.mkdir()
    (tokens / "AUTH_TOKEN").write_text(TOKEN)
    (folder / "gate.json").write_text(json.dumps(GATE_CONFIG))
    return {
        "GATE_LISTEN": f"127.0.0.1:{port}",
        "GATE_STATUS_LISTEN": f"127.0.0.1:{status}",
        "GATE_UPSTREAM": f"http://127.0.0.1:{upstream}",
        "GATE_TOKENS_DIR": str(tokens),
        "GATE_CONFIG": str(folder / "gate.json"),
        "PYTHONDONTWRITEBYTECODE": "",
    }


def _scraper(port: int) -> Callable[[], None]:
    def scrape() -> None:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            answer.read()

    return scrape
