"""One OllamaServe under test: applied, awaited and asked as a user would."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from ollamaserve_dev import installation
from ollamaserve_dev.kubectl import Body, Kubectl, until

CPU = {"count": 0}


@dataclass(frozen=True)
class Serve:
    kubectl: Kubectl
    name: str

    def apply(self, models: Sequence[str | Body], **spec: Any) -> None:
        """Apply the resource; `models`: names in the test registry (`tiny`), or whole entries."""
        self.kubectl.apply(
            {
                "apiVersion": "ollamaserve.dev/v1alpha1",
                "kind": "OllamaServe",
                "metadata": {"name": self.name, "namespace": self.kubectl.namespace},
                "spec": {
                    "models": [
                        {"name": installation.registry_model(m)} if isinstance(m, str) else m
                        for m in models
                    ],
                    "pull": {"insecure": True},
                    "gpu": CPU,
                    "storage": {"persistent": {"size": "1Gi"}},
                    **spec,
                },
            }
        )

    def body(self) -> Body:
        return self.kubectl.get("ollamaserve", self.name) or {}

    def status(self) -> Body:
        found: Body = self.body().get("status", {})
        return found

    def condition(self, kind: str) -> Body:
        conditions = self.status().get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def until(self, what: str, look: Callable[[], Any], seconds: float = 180) -> Any:
        """Wait for `look`; what goes wrong is told with the status that was seen last."""
        try:
            return until(what, look, seconds=seconds)
        except AssertionError as late:
            late.add_note(json.dumps(self.status(), indent=1))
            late.add_note(self.kubectl.run("get", "pods,jobs,pvc,events", "--output=wide"))
            raise

    def until_ready(self, seconds: float = 180) -> Body:
        """The status once Ready is True for the generation that was applied last."""

        def ready() -> Body | None:
            body = self.body()
            status: Body = body.get("status", {})
            settled = status.get("observedGeneration") == body["metadata"]["generation"]
            wanted = {"type": "Ready", "status": "True"}.items()
            good = any(wanted <= c.items() for c in status.get("conditions", []))
            return status if settled and good else None

        found: Body = self.until(f"{self.name} Ready", ready, seconds)
        return found

    def until_reason(self, kind: str, reason: str, seconds: float = 180) -> Body:
        """The condition `kind` once its reason is `reason`."""

        def there() -> Body | None:
            condition = self.condition(kind)
            return condition if condition.get("reason") == reason else None

        found: Body = self.until(f"{kind} with reason {reason}", there, seconds)
        return found

    def token(self) -> str:
        secret = self.kubectl.get("secret", f"{self.name}-auth") or {}
        return base64.b64decode(secret["data"]["AUTH_TOKEN"]).decode()

    @contextmanager
    def door(self) -> Iterator[str]:
        """The gate's URL while it is open, through the resource's Service."""
        with self.kubectl.port_forward(f"service/{self.name}", 7860) as port:
            yield f"http://127.0.0.1:{port}"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


async def ask(
    url: str, path: str, body: Any = None, *, token: str | None = None, header: str | None = None
) -> Answer:
    """GET `path`, or POST `body` as JSON; `header` is a whole Authorization value."""
    value = header or (f"Bearer {token}" if token else None)
    headers = {"Authorization": value} if value else {}
    method = "GET" if body is None else "POST"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url + path, json=body, headers=headers) as response,
    ):
        found = {k.lower(): v for k, v in response.headers.items()}
        return Answer(response.status, found, await response.text())
