"""An API server in memory, in the place of `connection.Connection`: `cluster` sends to it.

It keeps the rules that the operator leans on, as tried on a real one (tests/cluster does the same
against that): an apply with a uid or a resourceVersion creates nothing by accident, a POST never
replaces, preconditions hold, an equal write changes no version. Faults are injected by call.
"""

import base64
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ollamaserve_operator import names

Body = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    query: Mapping[str, str]
    content: str
    body: Body | None
    accept: str = "application/json"

    @property
    def writes(self) -> bool:
        return self.method != "GET"


Fault = Callable[[Call], Answer | None]


def refusal(code: int, reason: str = "", message: str = "", **details: Any) -> Answer:
    """A metav1.Status."""
    status = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return code, {}, json.dumps(status | {"details": details}).encode()


@dataclass
class FakeApi:
    """`before` may answer in the server's stead; `after` may lose the answer of a done write."""

    objects: dict[str, Body] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    before: Fault = lambda _call: None
    after: Fault = lambda _call: None
    forgotten: int = 0

    def __post_init__(self) -> None:
        self._versions = itertools.count(100)

    @property
    def writes(self) -> list[Call]:
        return [call for call in self.calls if call.writes]

    def forget(self) -> None:
        self.forgotten += 1

    async def send(
        self, method: str, path: str, *, headers: dict[str, str], body: bytes | None = None
    ) -> Answer:
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        content = headers.get("Content-Type", "")
        accept = headers.get("Accept", "")
        call = Call(method, parts.path, query, content, json.loads(body) if body else None, accept)
        self.calls.append(call)
        if (fault := self.before(call)) is not None:
            return fault
        answer = self._answer(call)
        return self.after(call) or answer

    def put(self, path: str, body: Body) -> Body:
        """Make an object, as somebody else would."""
        metadata = body["metadata"]
        number = next(self._versions)
        metadata.setdefault("uid", f"uid-{number}")
        metadata["resourceVersion"] = str(number)
        self.objects[path] = body
        return body

    def kinds(self) -> list[str]:
        return sorted(body["kind"] for body in self.objects.values())

    def _answer(self, call: Call) -> Answer:
        match call.method:
            case "GET" if call.path in self.objects:
                return _ok(self.objects[call.path])
            case "GET" if call.path.rsplit("/", 1)[1].endswith("s"):
                return self._list(call)
            case "POST":
                return self._create(call)
            case "PATCH":
                return self._patch(call)
            case "DELETE":
                return self._delete(call)
        return refusal(404, "NotFound")

    def _list(self, call: Call) -> Answer:
        plural = call.path.rsplit("/", 1)[1]
        within = f"{call.path}/" if "/namespaces/" in call.path else ""
        items = [
            body
            for path, body in self.objects.items()
            if path.split("/")[-2] == plural and path.startswith(within)
        ]
        if "labelSelector" in call.query:
            key, _, value = call.query["labelSelector"].partition("=")
            items = [i for i in items if (i["metadata"].get("labels") or {}).get(key) == value]
        start, size = int(call.query.get("continue", 0)), int(call.query["limit"])
        more = str(start + size) if start + size < len(items) else ""
        found = [
            {key: value for key, value in item.items() if key not in {"kind", "apiVersion"}}
            for item in items[start : start + size]
        ]
        metadata = {"resourceVersion": str(next(self._versions)), "continue": more}
        nothing: list[Any] | None = (
            None if "PartialObjectMetadataList" in call.accept else []
        )  # as v1.34 answers
        return _ok({"metadata": metadata, "items": found or nothing})

    def _create(self, call: Call) -> Answer:
        body = call.body or {}
        path = f"{call.path}/{body['metadata']['name']}"
        if path in self.objects:
            return refusal(409, "AlreadyExists")
        made = {key: value for key, value in body.items() if key != "stringData"}
        for key, value in body.get("stringData", {}).items():
            made.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()
        return _ok(self.put(path, made), 201)

    def _patch(self, call: Call) -> Answer:
        body, path = call.body or {}, call.path.removesuffix("/status")
        wanted = dict(body["metadata"])
        found = self.objects.get(path)
        if found is None:
            if call.path != path:
                return refusal(404, "NotFound")
            if "uid" in wanted:
                return refusal(409, "Conflict", "Precondition failed: UID in precondition")
            body["metadata"].pop("resourceVersion", None)
            return _ok(self.put(path, body), 201)
        there = found["metadata"]
        if wanted.get("uid", there["uid"]) != there["uid"]:
            causes = [{"field": "metadata.uid", "message": "field is immutable"}]
            return refusal(422, "Invalid", "metadata.uid: field is immutable", causes=causes)
        if wanted.pop("resourceVersion", there["resourceVersion"]) != there["resourceVersion"]:
            return refusal(409, "Conflict", "the object has been modified")
        if call.path != path:
            merged = found | {"status": body["status"]}
        else:
            merged = _merge(found, {k: v for k, v in body.items() if k != "stringData"})
            for key, value in body.get("stringData", {}).items():
                data = dict(merged.get("data") or {})
                merged["data"] = data | {key: base64.b64encode(value.encode()).decode()}
        if merged != found:
            self.put(path, json.loads(json.dumps(merged)))
        return _ok(self.objects[path])

    def _delete(self, call: Call) -> Answer:
        found = self.objects.get(call.path)
        if found is None:
            return refusal(404, "NotFound")
        if (call.body or {})["preconditions"]["uid"] != found["metadata"]["uid"]:
            return refusal(409, "Conflict", "Precondition failed: UID in precondition")
        del self.objects[call.path]
        return _ok({"kind": "Status", "status": "Success"})


def _ok(body: Body, code: int = 200) -> Answer:
    return code, {}, json.dumps(body).encode()


def _merge(old: Any, new: Any) -> Any:
    """RFC 7396: null removes."""
    if not isinstance(new, dict):
        return new
    there = old if isinstance(old, dict) else {}
    merged = there | {key: _merge(there.get(key), value) for key, value in new.items()}
    return {key: value for key, value in merged.items() if value is not None}


def resource(name: str = "llama", namespace: str = "team-a", **spec: Any) -> Body:
    """An OllamaServe as a user applies it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": namespace, "generation": 1},
        "spec": {"models": [{"name": "llama2:7b"}]} | spec,
    }
