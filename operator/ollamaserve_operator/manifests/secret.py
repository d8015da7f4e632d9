"""The generated Secret: its wish holds no token, so that no apply can own or drop one."""

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests.metadata import Manifest, metadata
from ollamaserve_operator.observed import Observed


def secret(serve: OllamaServe, observed: Observed) -> Manifest | None:
    """None where the user brings a Secret."""
    if serve.auth.secret_name:
        return None
    issued = ",".join(issued_keys(observed) or wanted_keys(serve))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(
            serve, names.secret(serve.name), annotations={names.ISSUED_KEYS: issued}
        ),
        "type": "Opaque",
    }


def wanted_keys(serve: OllamaServe) -> tuple[str, ...]:
    return tuple(sorted(token.key for token in serve.auth.tokens))


def issued_keys(observed: Observed) -> tuple[str, ...]:
    """The keys that ever got a token: one that is gone since was revoked, and stays so."""
    if observed.secret is None:
        return ()
    recorded = observed.secret.annotations.get(names.ISSUED_KEYS, "").split(",")
    return tuple(sorted({key for key in (*recorded, *present_keys(observed)) if key}))


def present_keys(observed: Observed) -> frozenset[str]:
    """The keys that have a token now, without what rotation puts beside them."""
    data = (observed.secret.body.get("data") or {}) if observed.secret else {}
    return frozenset(
        key
        for key in data
        if key != names.REVISION_KEY and not key.endswith((names.NEXT, names.PREVIOUS))
    )
