"""The test registry with room for what is pushed: repositories whose name begins with `pushed`.

`python -m ollamaserve_dev.pushes` is `registry` and takes pushes besides, as far as Ollama's pusher
goes (server/upload.go of v0.17.4; OCI distribution specification, "Push"): uploads in pieces that
must join, mounts from other repositories, manifests whose blobs must be there. Digests are
verified. A piece can't be redirected elsewhere, and nobody is asked who they are.
"""

import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from aiohttp import web

from ollamaserve_dev.registry import MANIFEST, Blob, Registry, run

ROOM = "pushed"
REPOSITORY = f"/v2/{{namespace}}/{{model:{ROOM}[^/]*}}"


def refusal(error: type[web.HTTPError], code: str, message: str) -> web.HTTPError:
    """In the specification's shape ("Error Codes")."""
    text = json.dumps({"errors": [{"code": code, "message": message}]})
    return error(text=text, content_type="application/json")


def repository(request: web.Request) -> str:
    return f"{request.match_info['namespace']}/{request.match_info['model']}"


@dataclass(slots=True)
class Pushes(Registry):
    """`held` are the digests of each repository, `manifests` by repository and tag."""

    held: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    uploads: dict[str, bytearray] = field(default_factory=dict)
    manifests: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(f"{REPOSITORY}/manifests/{{tag}}", self.pushed)
        app.router.add_put(f"{REPOSITORY}/manifests/{{tag}}", self.settle)
        app.router.add_head(f"{REPOSITORY}/blobs/{{digest}}", self.stored)
        app.router.add_post(f"{REPOSITORY}/blobs/uploads/", self.begin)
        app.router.add_patch(f"{REPOSITORY}/blobs/uploads/{{upload}}", self.go_on)
        app.router.add_put(f"{REPOSITORY}/blobs/uploads/{{upload}}", self.end)
        self.serve(app)
        return app

    # Blobs.

    async def stored(self, request: web.Request) -> web.Response:
        if request.match_info["digest"] not in self.held[repository(request)]:
            raise web.HTTPNotFound
        return await self.size(request)

    async def begin(self, request: web.Request) -> web.Response:
        """201 where the blob can be mounted, else 202 and where to send it."""
        mount, source = request.query.get("mount", ""), request.query.get("from", "")
        if mount in self.blobs and source:
            self.held[repository(request)].add(mount)
            return web.Response(status=201, headers={"Docker-Content-Digest": mount})
        upload = f"{len(self.uploads) + 1}"
        self.uploads[upload] = bytearray()
        return self.accepted(request, upload)

    async def go_on(self, request: web.Request) -> web.Response:
        """A piece; it must begin where the last one has ended."""
        content = self.upload(request)
        first, _, last = request.headers.get("Content-Range", "").partition("-")
        piece = await request.read()
        if first != str(len(content)) or last != str(len(content) + len(piece) - 1):
            raise web.HTTPRequestRangeNotSatisfiable
        content += piece
        return self.accepted(request, request.match_info["upload"])

    async def end(self, request: web.Request) -> web.Response:
        content, digest = self.upload(request), request.query.get("digest", "")
        content += await request.read()
        blob = Blob("", bytes(content))
        if blob.digest != digest:
            raise refusal(web.HTTPBadRequest, "DIGEST_INVALID", f"the content is {blob.digest}")
        del self.uploads[request.match_info["upload"]]
        self.blobs[digest] = blob
        self.held[repository(request)].add(digest)
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})

    def upload(self, request: web.Request) -> bytearray:
        content = self.uploads.get(request.match_info["upload"])
        if content is None:
            raise refusal(web.HTTPNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no such upload")
        return content

    def accepted(self, request: web.Request, upload: str) -> web.Response:
        """Ollama takes the address as it stands, so it has to be absolute."""
        place = f"{request.url.origin()}/v2/{repository(request)}/blobs/uploads/{upload}"
        return web.Response(status=202, headers={"Location": place})

    # Manifests.

    async def settle(self, request: web.Request) -> web.Response:
        content = await request.read()
        missing = [digest for digest in _digests(content) if not self._has(request, digest)]
        if missing:
            raise refusal(web.HTTPBadRequest, "MANIFEST_BLOB_UNKNOWN", ", ".join(missing))
        self.manifests[repository(request), request.match_info["tag"]] = content
        digest = f"sha256:{sha256(content).hexdigest()}"
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})

    async def pushed(self, request: web.Request) -> web.Response:
        content = self.manifests.get((repository(request), request.match_info["tag"]))
        if content is None:
            raise refusal(web.HTTPNotFound, "MANIFEST_UNKNOWN", "nothing was pushed here")
        return web.Response(body=content, content_type=MANIFEST)

    def _has(self, request: web.Request, digest: str) -> bool:
        return digest in self.held[repository(request)]


def _digests(manifest: bytes) -> list[str]:
    try:
        document: dict[str, Any] = json.loads(manifest)
        return [blob["digest"] for blob in (document["config"], *document["layers"])]
    except (ValueError, KeyError, TypeError):
        raise refusal(web.HTTPBadRequest, "MANIFEST_INVALID", "this is no manifest") from None


if __name__ == "__main__":
    run(Pushes, os.environ)
