"""What a spec may hold, well-formed, and still can't be served: the CRD's rules once more.

An object may be older than its CRD, and CEL can't look into a patch. Each error names the field,
its value and the remedy. Only `parsing` enters; other rooms see `Invalid`.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ollamaserve_operator.api.spec import (
    Access,
    AccessMode,
    PatchType,
    Strategy,
    Token,
    UpdateStrategy,
)

Block = Mapping[str, Any]

RESERVED_ENV = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        "HOME",
        "NVIDIA_VISIBLE_DEVICES",
        "OLLAMA_CONTEXT_LENGTH",
        "OLLAMA_FLASH_ATTENTION",
        "OLLAMA_HOST",
        "OLLAMA_KEEP_ALIVE",
        "OLLAMA_KV_CACHE_TYPE",
        "OLLAMA_LOAD_TIMEOUT",
        "OLLAMA_MAX_LOADED_MODELS",
        "OLLAMA_MAX_QUEUE",
        "OLLAMA_MODELS",
        "OLLAMA_NOPRUNE",
        "OLLAMA_NO_CLOUD",
        "OLLAMA_NUM_PARALLEL",
        "ROCR_VISIBLE_DEVICES",
    }
)
PROXY_ENV = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"})
CERTIFICATES_ENV = "SSL_CERT_DIR"
LONGEST_MODELS = 120_000
"""Bytes of `spec.models`: the Job gets it as one variable, and Linux takes 131,072 (execve(2))."""
_CAN_NAME_MODELS = (Access.MANAGE, Access.FULL)


def errors(spec: Block) -> Iterator[str]:
    """Everything that is wrong with it; raises what an ill-formed spec makes Python raise."""
    storage = spec.get("storage", {"persistent": {}})
    yield from _models(spec.get("models") or ())
    yield from _storage(spec, storage)
    yield from _pull(spec, storage)
    yield from _env(spec)
    yield from _auth(spec)
    yield from _patches(spec.get("patches", ()))


def canonical(name: str) -> str:
    """One spelling for all that Ollama takes as one: tag and library default, case is nothing.

    As in Ollama's `types/model/name.go`; the gate has the same rule (held by a contract test).
    """
    rest = name.lower().rpartition("://")[2]
    tagged = rest if rest.rfind(":") > rest.rfind("/") else f"{rest}:latest"
    return tagged.removeprefix("registry.ollama.ai/").removeprefix("library/")


def _models(models: Any) -> Iterator[str]:
    if not models:
        yield "spec.models is empty: name at least one model"
    size = len(json.dumps(models, ensure_ascii=False).encode())
    if size > LONGEST_MODELS:
        yield (
            f"spec.models has {size} bytes, {LONGEST_MODELS} at most: shorten create.system, "
            "create.template and create.parameters, or use two resources"
        )
    seen: dict[str, str] = {}
    for model in models:
        name, create = model["name"], model.get("create")
        if (other := seen.setdefault(canonical(name), name)) != name:
            yield f"spec.models has {other} and {name}, which are one model: keep one of them"
        if create is not None and model.get("digest"):
            yield f"spec.models has {name} with create and digest: remove digest, it has none yet"
        if create is not None and canonical(create["from"]) == canonical(name):
            yield f"spec.models has {name}, created from itself: give it another name"


def _storage(spec: Block, storage: Block) -> Iterator[str]:
    if len(storage) != 1:
        yield (
            f"spec.storage has {sorted(storage)}: give exactly one of persistent, "
            "existingClaim and ephemeral"
        )
    claim = storage.get("persistent", {"accessMode": ""})
    once = claim.get("accessMode", AccessMode.READ_WRITE_ONCE) == AccessMode.READ_WRITE_ONCE
    rolling = spec.get("updateStrategy") == UpdateStrategy.ROLLING_UPDATE
    several = spec.get("replicas", 1) > 1
    if once and several:
        yield (
            f"spec.replicas is {spec['replicas']} on a ReadWriteOnce volume, which one node can "
            "use at a time: set spec.storage.persistent.accessMode: ReadWriteMany, or replicas: 1"
        )
    if once and rolling:
        yield (
            "spec.updateStrategy is RollingUpdate on a ReadWriteOnce volume, which the old and the "
            "new pod can't share: leave it at Auto"
        )
    if several and "existingClaim" in storage and not rolling:
        yield (
            f"spec.replicas is {spec['replicas']} on spec.storage.existingClaim: if that claim is "
            "ReadWriteMany, say so with updateStrategy: RollingUpdate, else write replicas: 1"
        )


def _pull(spec: Block, storage: Block) -> Iterator[str]:
    strategy = spec.get("pull", {}).get("strategy")
    if strategy == Strategy.JOB and "ephemeral" in storage:
        yield "spec.pull.strategy is Job with ephemeral storage, which no Job reaches: remove it"
    shared = "ephemeral" not in storage
    if strategy == Strategy.IN_POD and shared and spec.get("replicas", 1) > 1:
        yield (
            f"spec.pull.strategy is InPod and spec.replicas is {spec['replicas']}, which would "
            "write the same files: use Job, storage.ephemeral, or replicas: 1"
        )


def _env(spec: Block) -> Iterator[str]:
    names, pull = {entry["name"] for entry in spec.get("env", ())}, spec.get("pull", {})
    for name in sorted(names & RESERVED_ENV):
        yield f"spec.env sets {name}, which the operator owns: remove it (see spec.ollama)"
    if pull.get("proxy") is not None:
        for name in sorted(names & PROXY_ENV):
            yield f"spec.env sets {name}, and spec.pull.proxy is there too: remove one of them"
    if pull.get("caBundle") is not None and CERTIFICATES_ENV in names:
        yield f"spec.env sets {CERTIFICATES_ENV}, which spec.pull.caBundle needs: remove one"


def _auth(spec: Block) -> Iterator[str]:
    auth = spec.get("auth", {})
    tokens, keys = auth.get("tokens", ({"key": Token().key},)), auth.get("authorizedKeys", ())
    names = [(f"spec.auth.tokens ({entry['key']})", entry) for entry in tokens]
    names += [(f"spec.auth.authorizedKeys ({entry['name']})", entry) for entry in keys]
    for where, entry in names:
        if "models" in entry and entry.get("access") in _CAN_NAME_MODELS:
            yield f"{where} has models and the access {entry['access']}: write infer or read"
    for name in sorted({token["key"] for token in tokens} & {key["name"] for key in keys}):
        yield f"spec.auth has {name} as a token and as a key: rename the key"
    for entry in keys:
        if entry.get("access") in _CAN_NAME_MODELS and not spec.get("gate", {}).get("tls"):
            yield (
                f"spec.auth.authorizedKeys ({entry['name']}) has the access {entry['access']} "
                "without TLS: set spec.gate.tls.secretName, or write infer"
            )


def _patches(patches: Any) -> Iterator[str]:
    shapes = {PatchType.JSON: (list, "a list of operations"), PatchType.MERGE: (dict, "an object")}
    for index, entry in enumerate(patches):
        shape, words = shapes[PatchType(entry["type"])]
        if not isinstance(entry["patch"], shape):
            yield f"spec.patches[{index}].patch is no {entry['type']} patch: write {words}"
