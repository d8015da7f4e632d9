"""What Ollama 0.17.4 makes of each fault of the registry: the gate's puller goes by these words.

| fault                        | last line of `/api/pull` (the HTTP status is 200 throughout)      |
|------------------------------|-------------------------------------------------------------------|
| no such model                | `pull model manifest: file does not exist`                        |
| 401, and the token is no use | `pull model manifest: unauthorized: access denied`                |
| 500                          | `pull model manifest: 500: <the registry's text>`                 |
| nobody listens               | `pull model manifest: Get "<url>": dial tcp <address>: connect: …`|
| TLS asked of a plain server  | `pull model manifest: Get "<url>": http: server gave HTTP …`      |
| wrong bytes                  | `digest mismatch, file must be downloaded again: want …, got …`   |
| cut in mid-layer, then well  | success: it goes on where it was, after 1 s, 2 s, 4 s…            |
| cut in mid-layer, always     | `max retries exceeded: unexpected EOF`, after 6 attempts in 63 s  |

All pulls start at once; the last one takes a minute, which is Ollama's own. Seen too, by hand:

| fault                        | last line                                                         |
|------------------------------|-------------------------------------------------------------------|
| 401 without a challenge      | `pull model manifest: realm host "" does not match original host…`|
| 403, 412, 429, 503           | `pull model manifest: 403: <text>`, and so on                     |
| the token is refused: 403    | `pull model manifest: 403: <text>`                                |
| a manifest that isn't JSON   | `pull model manifest: invalid character '<' looking for…`         |
| an empty manifest            | `pull model manifest: EOF`                                        |
| a layer's HEAD: 404, 500     | `file does not exist`, `500: `                                    |
| a layer's GET: 500           | `context deadline exceeded`, after 30 s                           |
| a layer's bytes: 404, 500    | `max retries exceeded: EOF`, after 63 s                           |
| a reset in mid-layer, always | `max retries exceeded: read tcp …: connection reset by peer`, 63 s|
| a layer without a redirect   | `http: no Location header in response`                            |
| no answer to the manifest    | none: Ollama waits as long as its client does                     |
| no more bytes of a layer     | none: it asks again every 30 s, without counting                  |
"""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from http.client import HTTPResponse
from typing import Any

import pytest

from ollamaserve_dev.registry import Settings

Lines = list[dict[str, Any]]
HEALTHY = ("library/tiny", "library/tiny2", "slow/tiny", "broken/tiny")
WORDS = {
    "missing/tiny": "pull model manifest: file does not exist",
    "library/other": "pull model manifest: file does not exist",
    "denied/tiny": "pull model manifest: unauthorized: access denied",
    "failing/tiny": "pull model manifest: 500: the registry is out of order",
    "corrupt/tiny": r"digest mismatch, file must be downloaded again: "
    r"want sha256:[0-9a-f]{64}, got sha256:[0-9a-f]{64}",
    "alwaysbroken/tiny": "max retries exceeded: unexpected EOF",
}
PADDING = Settings().padding


@contextmanager
def call(url: str, body: dict[str, Any] | None = None) -> Iterator[HTTPResponse]:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=120) as response:
        yield response


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    with call(url, body) as response:
        return json.loads(response.read() or "null")


def pull(server: str, model: str, *, insecure: bool = True) -> Lines:
    body = {"model": model, "insecure": insecure}
    with call(f"{server}/api/pull", body) as response:
        assert response.status == 200
        return [json.loads(line) for line in response]


def digests(server: str) -> dict[str, str]:
    """Digest by model, without the registry and the tag."""
    models = ask(f"{server}/api/tags")["models"]
    return {m["name"].split("/", 1)[1].removesuffix(":latest"): m["digest"] for m in models}


def downloads(registry: str, name: str) -> list[str]:
    """The ranges asked for of the padding, in order: it is the first blob of the name."""
    asked = ask(f"{registry}/_requests")
    paths = [r["path"] for r in asked if r["path"].startswith(f"/data/{name}/")]
    return [r["range"] for r in asked if r["path"] == paths[0]]


@pytest.fixture(scope="module")
def pulls(ollama_server: str, registry: str) -> Iterator[Callable[[str], Lines]]:
    """The lines of a pull, of all those that the module began."""
    with ThreadPoolExecutor(16) as pool:
        begun: dict[str, Future[Lines]] = {
            name: pool.submit(pull, ollama_server, f"{registry}/{name}")
            for name in (*HEALTHY, *WORDS)
        }
        yield lambda name: begun[name].result(120)


@pytest.mark.parametrize("name", HEALTHY)
def test_pull_succeeds(pulls: Callable[[str], Lines], name: str) -> None:
    """A healthy, a slow and a registry that recovers all end in success."""
    assert pulls(name)[-1] == {"status": "success"}


@pytest.mark.parametrize("name", WORDS)
def test_pull_fails_in_these_words(
    pulls: Callable[[str], Lines], ollama_server: str, name: str
) -> None:
    """Each failure is the last line of an answer with status 200, and no model is there."""
    last = pulls(name)[-1]

    assert list(last) == ["error"]
    assert re.fullmatch(WORDS[name], last["error"])
    assert name not in digests(ollama_server)


def test_refused_connection_and_plain_http(ollama_server: str, registry: str) -> None:
    """Nobody there, and TLS where there is none (`insecure` is false): Go's own words."""
    (*_, refused) = pull(ollama_server, "http://127.0.0.1:1/library/tiny")
    (*_, plain) = pull(ollama_server, f"{registry}/library/tiny", insecure=False)

    assert refused["error"].startswith('pull model manifest: Get "http://127.0.0.1:1/v2/')
    assert refused["error"].endswith("connect: connection refused")
    assert plain["error"].startswith('pull model manifest: Get "https://127.0.0.1:')
    assert plain["error"].endswith("http: server gave HTTP response to HTTPS client")


def test_digest_is_the_manifests(
    pulls: Callable[[str], Lines], ollama_server: str, registry: str
) -> None:
    """`/api/tags` says the SHA-256 of the registry's manifest, and each name has its own."""
    names = ("library/tiny", "library/tiny2")
    for name in names:
        pulls(name)
        with call(f"{registry}/v2/{name}/manifests/latest") as manifest:
            assert digests(ollama_server)[name] == sha256(manifest.read()).hexdigest()

    assert len({digests(ollama_server)[name] for name in names}) == 2


def test_progress_rises(pulls: Callable[[str], Lines]) -> None:
    """A slow layer's `completed` rises in many small steps."""
    lines = pulls("slow/tiny")
    seen = [line.get("completed", 0) for line in lines if line.get("total") == PADDING]

    assert seen == sorted(seen)
    assert len(set(seen)) > 10


def test_broken_pull_goes_on_where_it_was(pulls: Callable[[str], Lines], registry: str) -> None:
    """After a cut Ollama asks for the rest alone: half of it, then half of that."""
    pulls("broken/tiny")
    starts = [0, PADDING // 2, PADDING // 4 * 3]

    assert downloads(registry, "broken/tiny") == [f"bytes={s}-{PADDING - 1}" for s in starts]


def test_interrupted_pull_goes_on_where_it_was(ollama_server: str, registry: str) -> None:
    """A client that leaves stops the pull; the next pull begins beyond the bytes that it has."""
    name = "slow/tiny-interrupted"
    body = {"model": f"{registry}/{name}", "insecure": True}
    with call(f"{ollama_server}/api/pull", body) as response:
        next(line for line in response if json.loads(line).get("completed", 0) > PADDING // 4)
    for _ in range(5):  # Ollama may still be about to end the first, and then says so
        last = pull(ollama_server, f"{registry}/{name}")[-1]
        if last != {"error": "context canceled"}:
            break

    first, *others = (int(r.split("=")[1].split("-")[0]) for r in downloads(registry, name))
    assert last == {"status": "success"}
    assert first == 0
    assert others
    assert min(others) > PADDING // 4


def test_moved_tag(ollama_server: str, registry: str) -> None:
    """A name that moved has another digest after the next pull."""
    name = "moved/tiny"
    pull(ollama_server, f"{registry}/{name}")
    before = digests(ollama_server)[name]
    ask(f"{registry}/_move", {"name": name})
    pull(ollama_server, f"{registry}/{name}")

    assert digests(ollama_server)[name] != before
