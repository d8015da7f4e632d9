"""The gate's configuration, `gate.json`: docs/architecture.md has its grammar."""

import json
from typing import Any

from ollamaserve_operator import names, pull
from ollamaserve_operator.api import Ephemeral, Model, OllamaServe
from ollamaserve_operator.manifests.metadata import Manifest, metadata
from ollamaserve_operator.observed import Observed

KEY = "gate.json"


def config_map(serve: OllamaServe, observed: Observed) -> Manifest:
    """A changed model list is told to the gates only when it has been pulled (decision 4)."""
    confirmed = pull.key(serve, observed) if pull.pulled(serve, observed) else ""
    kept = _confirmed(serve, observed) if not confirmed else None
    if kept is not None:
        models, confirmed = kept
    else:
        models = [_model(model) for model in serve.models]
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
        "tokens": {token.key: {"access": token.access.value} for token in serve.auth.tokens},
        "models": models,
        "requireAcceleration": serve.gpu.count > 0 and serve.gpu.require_acceleration,
    }
    if isinstance(serve.storage, Ephemeral):
        gate["pull"] = {"insecure": serve.pull.insecure}
    return gate


def _model(model: Model) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": model.name, "warm": model.warm}
    return entry | {"digest": model.digest} if model.digest else entry


def _confirmed(serve: OllamaServe, observed: Observed) -> tuple[list[Any], str] | None:
    """The list that the gates were given once it was pulled, with the key of that pull."""
    if observed.config_map is None or isinstance(serve.storage, Ephemeral):
        return None  # a gate that pulls by itself is told at once
    confirmed = observed.config_map.annotations.get(names.PULL_KEY, "")
    text = (observed.config_map.body.get("data") or {}).get(KEY, "")
    if not confirmed or not text:
        return None
    try:
        return json.loads(text)["models"], confirmed
    except (KeyError, TypeError, ValueError):  # edited by hand: it is written anew
        return None
