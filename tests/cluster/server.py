"""A real API server and a namespace of a test's own on it, asked directly: no kubectl, no kopf."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollamaserve_operator import kinds, names
from ollamaserve_operator.cluster import Cluster
from ollamaserve_operator.connection import Connection

Body = dict[str, Any]

MERGE = "application/merge-patch+json"
PATHS = {kind.name: kind.path("{namespace}") for kind in kinds.ALL}
SERVES = PATHS[names.KIND]


@dataclass(frozen=True)
class Server:
    """An API server and a namespace of its own that admits restricted pods only."""

    connection: Connection
    cluster: Cluster
    namespace: str

    async def send(
        self, method: str, path: str, body: Any = None, content: str = "application/json"
    ) -> tuple[int, Body]:
        data = None if body is None else json.dumps(body).encode()
        code, _, answer = await self.connection.send(
            method,
            path.format(namespace=self.namespace),
            headers={"Content-Type": content},
            body=data,
        )
        return code, json.loads(answer)

    async def post(self, body: Mapping[str, Any], query: str = "") -> tuple[int, Body]:
        return await self.send("POST", PATHS[body["kind"]] + query, body)

    async def get(self, kind: str, name: str) -> Body:
        code, body = await self.send("GET", f"{PATHS[kind]}/{name}")
        assert code == 200, body
        return body


async def established(server: Server, path: str) -> None:
    async with asyncio.timeout(30):
        while True:
            _, crd = await server.send("GET", path)
            conditions = (crd.get("status") or {}).get("conditions") or []
            if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
                code, _ = await server.send("GET", SERVES)
                if code == 200:
                    return
            await asyncio.sleep(0.1)


def serve(name: str = "llama", **spec: Any) -> Body:
    wanted = {"models": [{"name": "llama2:7b"}], **spec}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": wanted,
    }
