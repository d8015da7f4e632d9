"""What to know beside Ready: how a rotation goes, that an upgrade waits, that tokens can be seen.

Pure. Each notice is a condition of its own, there only while there is something to tell; none of
them touches the summary.
"""

from ollamaserve_operator import names, rotation
from ollamaserve_operator.api import OllamaServe, UpgradePolicy
from ollamaserve_operator.judgement import Finding, Status, bad, good
from ollamaserve_operator.manifests import Images
from ollamaserve_operator.observed import Observed
from ollamaserve_operator.reasons import ConditionType, Reason

_OUTWARDS = frozenset({"LoadBalancer", "NodePort"})


def notices(
    serve: OllamaServe, observed: Observed, images: Images | None
) -> dict[ConditionType, Finding]:
    """By condition; `images` are those of this release, None where nothing is known of them."""
    found = {
        ConditionType.TOKENS_ROTATED: tokens(serve, observed),
        ConditionType.UPGRADE_PENDING: upgrade(serve, observed, images) if images else None,
        ConditionType.UNENCRYPTED: unencrypted(serve),
    }
    return {kind: finding for kind, finding in found.items() if finding}


def tokens(serve: OllamaServe, observed: Observed) -> Finding | None:
    """How far the rotation is that the annotation asks for; None where it asks for none."""
    if not serve.rotate:
        return None
    if serve.auth.secret_name:
        return bad(
            Reason.NOT_OURS,
            f"the tokens are in your Secret {serve.auth.secret_name}, which the operator never "
            f"reads: rotate there, first <key>{names.NEXT}, then <key> and <key>{names.PREVIOUS}, "
            "as docs/operations.md has it",
        )
    secret = names.secret(serve.name)
    due = rotation.due(serve, observed)
    if due is None:
        grace = serve.auth.rotation_grace_period
        return good(
            Reason.ROTATED,
            f"Secret {secret} has the new tokens; those before them were good for another {grace} s"
            " (see its _PREVIOUS keys)",
        )
    waits = rotation.awaited(due, observed) if rotation.to_offer(serve, due) is None else ()
    whom = f": waits for {'; '.join(waits)} (about a minute)" if waits else ""
    return bad(
        Reason.ROTATING,
        f"the next tokens are being handed to the gates{whom}; clients keep the present ones",
    )


def upgrade(serve: OllamaServe, observed: Observed, images: Images) -> Finding | None:
    """Whether the pods run other images than this release brings (decision 9)."""
    always = serve.gate.upgrade_policy is UpgradePolicy.ALWAYS
    if observed.deployment is None or always:
        return None
    newest = images.chosen(serve)
    running = newest.recorded(observed.deployment.annotations)
    pairs = (("gate", running.gate, newest.gate), ("ollama", running.ollama, newest.ollama))
    newer = [f"{what} {new} (now {old})" for what, old, new in pairs if old != new]
    if not newer:
        return None
    return Finding(
        Status.TRUE,
        Reason.NEWER_IMAGES,
        f"newer images wait: {', '.join(newer)}; the pods get them with the next change of the "
        "spec that replaces them anyway, or with spec.gate.upgradePolicy: Always",
    )


def unencrypted(serve: OllamaServe) -> Finding | None:
    """G7: a door to outside the cluster, through which tokens go as they are."""
    if serve.service.type not in _OUTWARDS or serve.gate.tls.secret_name:
        return None
    return Finding(
        Status.TRUE,
        Reason.NO_TLS,
        f"Service {names.service(serve.name)} is a {serve.service.type} and the gate has no TLS: "
        "whoever sees the traffic sees tokens and prompts; set spec.gate.tls.secretName, unless "
        "what stands in front of it has TLS",
    )
