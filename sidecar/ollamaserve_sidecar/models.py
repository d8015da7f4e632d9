"""How Ollama reads a model's name and its digest. Pure; any room may enter.

Two spellings of one model must compare equal, or a model that is there would be reported missing.
The rules are those of Ollama's `types/model/name.go` (v0.17.4).
"""

from functools import lru_cache

_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"


@lru_cache(maxsize=512)
def canonical(name: str) -> str:
    """`host/namespace/model:tag` in lower case, without a scheme.

    A tag is what follows a colon after the last slash; a colon before it belongs to a port.
    Ollama matches an existing model without regard to case (`getExistingName`).
    """
    path, tag = name, _TAG
    if name.rfind(":") > name.rfind("/"):
        path, _, tag = name.rpartition(":")
    path, _, model = path.rpartition("/")
    host, _, namespace = path.rpartition("/")
    host = host.rpartition("://")[2]
    return f"{host or _HOST}/{namespace or _NAMESPACE}/{model}:{tag}".lower()


def digest_matches(pin: str, digest: str) -> bool:
    """Whether `digest` (Ollama's: 64 hex digits) is the one asked for; no pin takes any."""
    return not pin or _hex(pin) == _hex(digest)


def prefixed(digest: str) -> str:
    """A digest as the status shows it: `sha256:` and 64 hex digits, or nothing."""
    return f"sha256:{_hex(digest)}" if digest else ""


def _hex(digest: str) -> str:
    return digest.lower().removeprefix("sha256:")
