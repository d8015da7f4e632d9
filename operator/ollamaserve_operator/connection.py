"""The way to the API server: where it is, who we are, and one pool of connections.

kopf finds the credentials (service account, else kubeconfig), and uses the same ones for its
watches; `cluster` is the only other room that comes here. A service account's token is replaced by
kubelet before its hour is over, so it is read again every minute.
"""

import dataclasses
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import aiohttp
import kopf
from yarl import URL

Login = Callable[[], kopf.ConnectionInfo]

TOKEN_SECONDS = 60.0
POOL = 64
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)


def login(api_server: str = "") -> kopf.ConnectionInfo:
    """The credentials of this process; in a pod, `api_server` replaces the name that needs DNS."""
    settings = kopf.OperatorSettings()
    if (info := kopf.login_with_service_account(settings=settings)) is not None:
        return dataclasses.replace(info, server=api_server or info.server)
    if (info := kopf.login_with_kubeconfig(settings=settings)) is not None:
        return info
    raise kopf.LoginError("neither a service account nor a kubeconfig: set KUBECONFIG")


class Connection:
    """An async context manager around one `aiohttp.ClientSession`."""

    def __init__(self, login: Login, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._login = login
        self._clock = clock
        self._info = login()
        self._read_at = clock()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=POOL, ssl=self._info.as_ssl_context()),
            timeout=TIMEOUT,
            proxy=self._info.proxy_url,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def info(self) -> kopf.ConnectionInfo:
        """The credentials, at most a minute old; the last good ones while they can't be read."""
        if self._clock() - self._read_at >= TOKEN_SECONDS:
            self._read_at = self._clock()
            try:
                self._info = self._login()
            except (OSError, kopf.LoginError):
                return self._info
        return self._info

    def forget(self) -> None:
        """The API server answered 401: read the credentials again before the next call."""
        self._read_at = float("-inf")

    async def send(
        self, method: str, path: str, *, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One exchange: status, headers (keys in lower case), body.

        Raises what aiohttp raises.
        """
        if self._session is None:
            raise RuntimeError("the connection is used outside its context")
        info = self.info
        url = URL(info.server.rstrip("/") + path, encoded=True)
        headers = info.as_http_headers() | headers
        options: Any = {"headers": headers, "data": body, "allow_redirects": False}
        async with self._session.request(method, url, **options) as response:
            found = {key.lower(): value for key, value in response.headers.items()}
            return response.status, found, await response.read()
