"""The condition Accepted: what it says of patches, and of kinds that the cluster lacks."""

from typing import Any

from examples import NOW, parsed, resource
from ollamaserve_operator import api, judgement
from ollamaserve_operator.aspects import accepted
from ollamaserve_operator.errors import NameConflict, PatchRefused, StepFailure
from ollamaserve_operator.judgement import Finding, Status
from ollamaserve_operator.observed import Observed
from ollamaserve_operator.reasons import ConditionType, Reason
from ollamaserve_operator.status import status

ROUTE: Any = {"httpRoute": {"parentRefs": [{"name": "gate"}]}}
MONITOR: Any = {"monitoring": {"podMonitor": {"enabled": True}}}
REFUSED = StepFailure("Service", "", PatchRefused(3, "Service", "it would change spec.selector"))


def found(*failures: StepFailure, offered: tuple[str, ...] = (), **spec: Any) -> Finding:
    seen = Observed(at=NOW, offered=frozenset(offered))
    return accepted(parsed(resource(**spec)), seen, failures)


def test_a_refused_patch_is_named_with_its_index_and_its_target() -> None:
    """Decision 16: which entry, which object, what is kept, and that nothing was applied."""
    finding = found(REFUSED)

    assert (finding.status, finding.reason) == (Status.FALSE, Reason.PATCH_REFUSED)
    assert finding.message.startswith("spec.patches[3] (Service): it would change spec.selector")
    assert "all stays as it was applied last" in finding.message
    assert judgement.stalled([finding]) is not None


def test_a_missing_kind_is_said_and_makes_nothing_false() -> None:
    """Decision 13: the endpoint serves; which CRDs are missing, and that this heals by itself."""
    finding = found(**ROUTE)

    assert (finding.status, finding.reason) == (Status.TRUE, Reason.KIND_MISSING)
    assert "spec.httpRoute is set" in finding.message
    assert "no httproutes.gateway.networking.k8s.io" in finding.message
    assert "within ten minutes" in finding.message


def test_each_missing_kind_is_said() -> None:
    """Both, one, none."""
    assert "podmonitors.monitoring.coreos.com" in found(**ROUTE, **MONITOR).message
    assert "httproutes" in found(**ROUTE, **MONITOR).message
    assert "httproutes" not in found(offered=("HTTPRoute",), **ROUTE, **MONITOR).message
    assert found(offered=("HTTPRoute", "PodMonitor"), **ROUTE, **MONITOR).reason == "Accepted"
    assert found().reason == "Accepted"


def test_a_conflict_outranks_a_missing_kind() -> None:
    """What a person must act on comes first."""
    conflict = StepFailure("Ingress", "llama", NameConflict("Ingress", "llama"))
    assert found(conflict, **ROUTE).reason is Reason.NAME_CONFLICT


def test_ready_repeats_what_is_missing() -> None:
    """`kubectl get` shows Ready's words: true, and not all."""
    serve = parsed(resource(**ROUTE, gpu={"count": 0}))
    current = status(serve, Observed(at=NOW), (), {})
    findings = {
        ConditionType.ACCEPTED: found(**ROUTE),
        ConditionType.STORAGE_READY: judgement.good(Reason.BOUND, ""),
        ConditionType.MODELS_PULLED: judgement.good(Reason.PULLED, ""),
        ConditionType.AVAILABLE: judgement.good(Reason.AVAILABLE, "1 of 1 pods ready"),
        judgement.ROLLOUT: judgement.good(Reason.AVAILABLE, ""),
    }
    ready = judgement.summary(findings)

    assert ready.status is Status.TRUE
    assert ready.message.startswith("1 of 1 pods ready; spec.httpRoute is set, but")
    assert current["conditions"][0]["reason"] == Reason.KIND_MISSING


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def test_a_spec_that_is_nested_too_deep_is_invalid() -> None:
    """What no schema bounds, a patch for one, ends here: other rooms walk it by recursion."""
    patch = {"target": "Service", "type": "merge", "patch": nested(5000)}
    found = api.parse(resource(patches=[patch]))
    assert isinstance(found, api.Invalid)
    assert found.errors == ("spec is nested deeper than 64: make it flatter",)

    patch = {"target": "Service", "type": "merge", "patch": nested(20)}
    assert isinstance(api.parse(resource(patches=[patch])), api.OllamaServe)
