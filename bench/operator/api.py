"""The few calls that the benchmark makes itself, as an administrator of its own control plane."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

Body = dict[str, Any]

METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
APPLY = "application/apply-patch+yaml"
LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Api:
    session: aiohttp.ClientSession
    server: str

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> Body:
        """The answer's body; an answer that isn't 2xx is an error with the server's words."""
        url, content = self.server + path, None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} | headers
        async with self.session.request(method, url, data=content, headers=headers) as answer:
            text = await answer.read()
            if not answer.ok:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
            found: Body = json.loads(text)
            return found

    async def post(self, path: str, body: Mapping[str, Any]) -> Body:
        return await self.send("POST", path, body)

    async def apply(self, path: str, body: Mapping[str, Any]) -> Body:
        """A server-side apply, as `kubectl apply --server-side` sends it."""
        query = "?fieldManager=plain-writer&force=true"
        return await self.send("PATCH", path + query, body, **{"Content-Type": APPLY})

    async def watch(self, path: str, ready: asyncio.Event) -> AsyncIterator[Body]:
        """Events with the metadata of each object; `ready` once nothing later can be missed."""
        listed = await self.send("GET", f"{path}?limit=1", Accept=METADATA.format("List"))
        version = listed["metadata"]["resourceVersion"]
        url = f"{self.server}{path}?watch=1&resourceVersion={version}"
        headers = {"Accept": METADATA.format("")}
        async with self.session.get(url, headers=headers) as answer:
            answer.raise_for_status()
            ready.set()
            async for line in answer.content:
                yield json.loads(line)


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Api]:
    """The API of the only cluster in a kubeconfig that `ollamaserve_dev` wrote."""
    config = json.loads(await asyncio.to_thread(kubeconfig.read_text))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    connector = aiohttp.TCPConnector(limit=0, ssl=context)
    async with aiohttp.ClientSession(
        connector=connector,
        headers={"Authorization": f"Bearer {user['token']}"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        read_bufsize=LONGEST_LINE,
    ) as session:
        yield Api(session, cluster["server"])
