"""The gate's configuration, `gate.json`: docs/architecture.md has its grammar."""

import json
from typing import Any

from ollamaserve_operator import names, pull
from ollamaserve_operator.api import AuthorizedKey, Model, OllamaServe, Token
from ollamaserve_operator.manifests.metadata import Manifest, metadata
from ollamaserve_operator.manifests.network_policy import open_outwards
from ollamaserve_operator.observed import Observed

KEY = "gate.json"


def config_map(serve: OllamaServe, observed: Observed) -> Manifest:
    """A changed model list is told to the gates only when it has been pulled (decision 4)."""
    confirmed = pull.key(serve, observed) if pull.pulled(serve, observed) else ""
    kept = _confirmed(serve, observed) if not confirmed else None
    if kept is not None:
        models, confirmed = kept
    else:
        models = [_model(model, serve) for model in serve.models]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(
            serve, names.config_map(serve.name), annotations={names.PULL_KEY: confirmed}
        ),
        "data": {KEY: json.dumps(_gate(serve, models), indent=1, sort_keys=True)},
    }


def _gate(serve: OllamaServe, models: list[Any]) -> dict[str, Any]:
    gate: dict[str, Any] = {
        "tokens": {token.key: _allowed(token) for token in serve.auth.tokens},
        "models": models,
        "requireAcceleration": serve.gpu.count > 0 and serve.gpu.require_acceleration,
        "egress": open_outwards(serve),
    }
    chosen = {
        "authorizedKeys": [
            {"name": key.name, "key": key.key} | _allowed(key) for key in serve.auth.authorized_keys
        ],
        "limits": _limits(serve),
        "cors": _cors(serve),
        "healthPath": serve.gate.health_path,
        "pull": _pull(serve) if serve.pulls_in_pod else {},
    }
    return gate | {key: value for key, value in chosen.items() if value}


def _allowed(who: Token | AuthorizedKey) -> dict[str, Any]:
    access: dict[str, Any] = {"access": who.access.value}
    return access | {"models": list(who.models)} if who.models else access


def _cors(serve: OllamaServe) -> dict[str, Any]:
    origins = list(serve.gate.cors.allowed_origins)
    return {"allowedOrigins": origins} if origins else {}


def _limits(serve: OllamaServe) -> dict[str, int]:
    wanted = serve.gate.limits
    numbers = {
        "bodyBytes": wanted.body_bytes,
        "concurrentRequests": wanted.concurrent_requests,
        "concurrentRequestsPerToken": wanted.concurrent_requests_per_token,
        "queue": wanted.queue,
        "queueWaitSeconds": wanted.queue_wait_seconds,
        "requestsPerMinute": wanted.requests_per_minute,
        "connections": wanted.connections,
    }
    return {key: number for key, number in numbers.items() if number is not None}


def _pull(serve: OllamaServe) -> dict[str, Any]:
    """Another value of the annotation is another configuration, and so another try."""
    retry = {"retry": serve.retry} if serve.retry else {}
    return {"insecure": serve.pull.insecure} | retry


def _model(model: Model, serve: OllamaServe) -> dict[str, Any]:
    """What it is made of is the business of whoever pulls it."""
    found = pull.entry(model) | {"warm": model.warm}
    return found if serve.pulls_in_pod else {k: v for k, v in found.items() if k != "create"}


def _confirmed(serve: OllamaServe, observed: Observed) -> tuple[list[Any], str] | None:
    """The list that the gates were given once it was pulled, with the key of that pull."""
    if observed.config_map is None or serve.pulls_in_pod:
        return None  # a gate that pulls by itself is told at once
    confirmed = observed.config_map.annotations.get(names.PULL_KEY, "")
    text = (observed.config_map.body.get("data") or {}).get(KEY, "")
    if not confirmed or not text:
        return None
    try:
        return json.loads(text)["models"], confirmed
    except (KeyError, TypeError, ValueError):  # edited by hand: it is written anew
        return None
