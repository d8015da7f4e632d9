"""How far a rotation of the tokens is (G6), read off our Secret: the one place that knows.

kubelet renews its copy of a Secret up to minutes later, node by node. So new values are first
offered beside the old ones (`<key>_NEXT`), which gates accept too, and take their place once every
gate has told that it has loaded them. What is remembered stands in the Secret's annotations.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from ollamaserve_operator import names
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.names import Component
from ollamaserve_operator.observed import Child, Observed

# By then kubelet has renewed the copy of a pod that is ready, many times over (it does so about
# once a minute; kubernetes.io, "Secrets": mounted Secrets are updated automatically).
PATIENCE = timedelta(minutes=10)


def due(serve: OllamaServe, observed: Observed) -> Child | None:
    """Our Secret, where it has not yet seen the rotation that the resource asks for."""
    secret = observed.secret
    if not serve.rotate or serve.auth.secret_name or secret is None:
        return None
    ours = secret.owner_uid == serve.identity.uid and not secret.deleting
    done = secret.annotations.get(names.ROTATED) == serve.rotate
    return secret if ours and not done else None


def to_offer(serve: OllamaServe, secret: Child) -> tuple[str, ...] | None:
    """The keys that lack their next token; None where all that there is to offer is there.

    A key that was revoked, and so isn't in the Secret, gets none.
    """
    data = secret.body.get("data") or {}
    keys = tuple(sorted(token.key for token in serve.auth.tokens if token.key in data))
    if secret.annotations.get(names.OFFERED) != serve.rotate:
        return keys
    return tuple(key for key in keys if key + names.NEXT not in data) or None


def awaited(secret: Child, observed: Observed) -> tuple[str, ...]:
    """Why the next tokens can't take their place yet, in words, one for each pod.

    A pod that isn't ready and doesn't answer serves nobody; a ready one that nobody can ask is
    waited for until PATIENCE is over.
    """
    return tuple(_behind(secret, observed))


def _behind(secret: Child, observed: Observed) -> Iterator[str]:
    wanted = secret.annotations.get(names.TOKEN_REVISION)
    patient = observed.at < _offered_at(secret, observed) + PATIENCE
    for pod in observed.of(Component.SERVER):
        report = observed.reports.get(pod.name)
        if report is None:
            if pod.ready and patient:
                yield f"pod {pod.name}, which doesn't answer on port {names.STATUS_PORT}"
        elif report.token_error:
            yield f"pod {pod.name}, which can't take them: {report.token_error}"
        elif report.revision != wanted:
            yield f"pod {pod.name}"


def _offered_at(secret: Child, observed: Observed) -> datetime:
    """Without a readable record, now: that waits longer, and loses nothing."""
    try:
        at = datetime.fromisoformat(secret.annotations.get(names.OFFERED_AT, ""))
    except ValueError:
        return observed.at
    return at if at.tzinfo else observed.at
