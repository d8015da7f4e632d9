"""The way to the API server: credentials, their age, and one exchange over a real socket."""

from collections.abc import AsyncIterator
from pathlib import Path

import kopf
import pytest
import yaml
from aiohttp import web

from ollamaserve_operator import connection
from ollamaserve_operator.connection import Connection


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Login:
    """Hands out a new token each time, as kubelet does."""

    def __init__(self, server: str = "http://127.0.0.1:1") -> None:
        self.server = server
        self.times = 0
        self.broken = False

    def __call__(self) -> kopf.ConnectionInfo:
        if self.broken:
            raise FileNotFoundError
        self.times += 1
        return kopf.ConnectionInfo(server=self.server, token=f"token-{self.times}")


@pytest.fixture
async def server() -> AsyncIterator[str]:
    async def echo(request: web.Request) -> web.Response:
        headers = {"X-Authorization": request.headers["Authorization"]}
        return web.Response(
            status=201, text=f"{request.method} {request.raw_path}", headers=headers
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/k8s/clusters/c-1/"
    await runner.cleanup()


async def test_a_request_arrives_as_written_with_the_token(server: str) -> None:
    """A path under the server's address isn't encoded again, and a prefix there is kept."""
    async with Connection(Login(server)) as found:
        code, headers, body = await found.send("PATCH", "/api/v1/x?a=b%3Dc", headers={})
    assert (code, body) == (201, b"PATCH /k8s/clusters/c-1/api/v1/x?a=b%3Dc")
    assert headers["x-authorization"] == "Bearer token-1"


def test_credentials_are_read_again_every_minute_and_after_401() -> None:
    """A service account's token is replaced in the file; the old one lives on while it can't be."""
    clock, login = Clock(), Login()
    found = Connection(login, clock=clock)
    assert found.info.token == "token-1"
    clock.now = 59
    assert found.info.token == "token-1"
    clock.now = 61
    assert found.info.token == "token-2"
    found.forget()
    assert found.info.token == "token-3"
    login.broken = True
    clock.now = 200
    assert found.info.token == "token-3"


def test_outside_a_cluster_the_kubeconfig_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No service account here: KUBECONFIG; and without either, one line."""
    named = {"name": "x"}
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(kopf.LoginError, match="set KUBECONFIG"):
        connection.login()
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "x",
                "clusters": [named | {"cluster": {"server": "https://there:1"}}],
                "users": [named | {"user": {"token": "t"}}],
                "contexts": [named | {"context": {"cluster": "x", "user": "x"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert (connection.login().server, connection.login().token) == ("https://there:1", "t")


async def test_outside_its_context_it_refuses() -> None:
    """A programming error, not an endless wait."""
    with pytest.raises(RuntimeError, match="outside its context"):
        await Connection(Login()).send("GET", "/", headers={})
