"""What the operator renders, read by the gate; what the gate reports, read by the operator.

The two programs import nothing of each other (docs/architecture.md, "Contracts"): here they meet.
"""

import json
from typing import Any

import pytest

from examples import IMAGES, NOW, parsed, resource, sample, stored
from ollamaserve_operator import api, models, names, report, trouble
from ollamaserve_operator.api import Access as ApiAccess
from ollamaserve_operator.manifests import children
from ollamaserve_operator.observed import Observed, observe
from ollamaserve_sidecar import config, failures, pulljob, status
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.ollama import Installed
from ollamaserve_sidecar.policy import Access
from ollamaserve_sidecar.reload import REVISION, TokenStatus
from ollamaserve_sidecar.tokens import NEXT, PREVIOUS

DIGEST = "a" * 64

ADA = {
    "name": "ada",
    "create": {"from": "a:1", "system": "s", "template": "t", "parameters": {"stop": ["x"]}},
}

CASES: dict[str, Any] = {
    "minimal": sample("minimal"),
    "cpu": sample("cpu"),
    "full": sample("full"),
    "ephemeral": resource(storage={"ephemeral": {}}, pull={"insecure": True}),
    "pinned": resource(models=[{"name": "a:1", "digest": f"sha256:{DIGEST}"}, {"name": "b"}]),
    "custom": resource(models=[ADA, {"name": "eva", "create": {"from": "b"}}]),
    "custom, in the pod": resource(models=[ADA], pull={"strategy": "InPod"}),
    "tokens": resource(
        auth={"tokens": [{"key": f"T-{access}", "access": access} for access in ApiAccess]}
    ),
}


def rendered(body: Any) -> dict[str, Any]:
    serve = parsed(body)
    claim = observe(stored(children(serve, IMAGES, Observed(at=NOW))), at=NOW).pvc
    return {m["kind"]: m for m in children(serve, IMAGES, Observed(at=NOW, pvc=claim))}


def gate_config(children: dict[str, Any]) -> config.GateConfig:
    return config.gate_config(json.loads(children["ConfigMap"]["data"]["gate.json"]))


def container(workload: Any, name: str) -> Any:
    pod = workload["spec"]["template"]["spec"]
    return next(c for c in pod["containers"] if c["name"] == name)


def environment(container: Any) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


@pytest.mark.parametrize("body", CASES.values(), ids=CASES.keys())
def test_gate_reads_what_the_operator_writes(body: Any) -> None:
    """gate.json arrives as it was meant: tokens with their access, models, acceleration, pull."""
    serve = parsed(body)
    read = gate_config(rendered(body))

    assert {n: i.access.value for n, i in read.tokens.items()} == {
        token.key: token.access.value for token in serve.auth.tokens
    }
    assert [(m.name, m.warm) for m in read.models] == [(m.name, m.warm) for m in serve.models]
    assert [m.digest for m in read.models] == [
        m.digest.removeprefix("sha256:") for m in serve.models
    ]
    assert read.require_acceleration == (serve.gpu.count > 0 and serve.gpu.require_acceleration)
    in_pod = "Job" not in rendered(body)
    assert [m.create for m in read.models] == [
        made(model.create) if in_pod else None for model in serve.models
    ]
    assert read.pull == (config.PullConfig(serve.pull.insecure) if in_pod else None)


@pytest.mark.parametrize("body", CASES.values(), ids=CASES.keys())
def test_gate_starts_with_its_environment(body: Any) -> None:
    """The variables of the gate's container are those that it reads, as it writes them."""
    workload = rendered(body)["Deployment"]
    gate = container(workload, "gate")
    read = config.load(environment(gate))
    mounts = {mount["name"]: mount["mountPath"] for mount in gate["volumeMounts"]}

    assert str(read.tokens_dir) == mounts["tokens"]
    assert str(read.gate_config) == f"{mounts['config']}/gate.json"
    assert (read.listen.host, read.listen.port) == (None, names.DOOR_PORT)
    assert (read.status_listen.host, read.status_listen.port) == (None, names.STATUS_PORT)
    assert read.drain_timeout == parsed(body).gate.drain_timeout
    assert read.upstream.authority == "127.0.0.1:11434"
    assert read.auth_token is None


@pytest.mark.parametrize("name", ["minimal", "full", "pinned", "custom"])
def test_pull_reads_what_the_operator_writes(name: str) -> None:
    """The Job's variables are those that the `pull` command reads."""
    serve = parsed(CASES[name])
    read = pulljob.settings(environment(container(rendered(CASES[name])["Job"], "pull")))

    assert [m.name for m in read.models] == [m.name for m in serve.models]
    assert [m.digest for m in read.models] == [
        m.digest.removeprefix("sha256:") for m in serve.models
    ]
    assert [m.create for m in read.models] == [made(model.create) for model in serve.models]
    assert read.insecure == serve.pull.insecure


def made(create: api.Create | None) -> config.Creation | None:
    """What the gate has to read of it."""
    if create is None:
        return None
    return config.Creation(create.from_, create.system, create.template, create.parameters)


def test_permanent_exit_statuses_fail_the_job() -> None:
    """The podFailurePolicy names exactly the statuses after which another try is no use."""
    rule = rendered(CASES["minimal"])["Job"]["spec"]["podFailurePolicy"]["rules"][0]

    assert set(rule["onExitCodes"]["values"]) == {
        pulljob.Exit.CONFIGURATION.value,
        pulljob.Exit.PERMANENT.value,
    }


def test_mounted_keys_are_those_that_the_gate_knows() -> None:
    """Beside a token's key, the values of a rotation are projected and nothing else."""
    volumes = rendered(CASES["minimal"])["Deployment"]["spec"]["template"]["spec"]["volumes"]
    source = next(v["secret"] for v in volumes if v["name"] == "tokens")

    assert [item["key"] for item in source["items"]] == [
        "AUTH_TOKEN",
        f"AUTH_TOKEN{PREVIOUS}",
        f"AUTH_TOKEN{NEXT}",
        REVISION,
    ]
    assert (names.PREVIOUS, names.NEXT, names.REVISION_KEY) == (PREVIOUS, NEXT, REVISION)


SPELLINGS = (
    *("llama2", "llama2:latest", "library/llama2", "registry.ollama.ai/library/LLAMA2"),
    *("llama2:7b", "Llama2:7B", "x/llama2:7b", "registry.ollama.ai/x/llama2:7b"),
    *("hf.co/x/y:Q4", "h:5000/library/t", "http://h:5000/library/t:latest", "h:5000/x/t"),
)


@pytest.mark.parametrize("one", SPELLINGS)
def test_one_model_is_one_model_to_both(one: str) -> None:
    """Names that the gate takes as equal are refused as duplicates, and no others."""
    to_the_gate = [canonical(one) == canonical(other) for other in SPELLINGS]

    assert [api.canonical(one) == api.canonical(other) for other in SPELLINGS] == to_the_gate


def test_access_levels_are_the_same() -> None:
    """What the API accepts, the gate enforces."""
    assert {access.value for access in ApiAccess} == {access.value for access in Access}


def test_every_reason_of_the_gate_is_understood() -> None:
    """Each reason in /status has its words for people; Ready needs none."""
    assert set(trouble.REPORTED) == {r.value for r in status.Reason} - {status.Reason.READY.value}


def test_every_cause_of_a_failed_pull_is_understood() -> None:
    """Each reason in a termination message has its remedy."""
    assert set(models.FAILURES) == {cause.value for cause in failures.Cause}


def test_operator_reads_what_the_gate_reports() -> None:
    """The document of /status comes out as the facts that went in."""
    name = "llama2:7b"
    installed = Installed(digest=DIGEST, size=7, parameter_size="7B", quantization="Q4_0")
    document = status.Status(
        mode="serve",
        verdict=status.Verdict(status.Reason.NOT_ACCELERATED, "no model is in VRAM"),
        sight=status.Sight(reachable=True, installed={canonical(name): installed}, running={}),
        models=(config.ExpectedModel(name, warm=True), config.ExpectedModel("absent")),
        pulls={},
        errors={canonical("absent"): "why"},
        device=status.Device.CPU,
        tokens=TokenStatus(("AUTH_TOKEN",), "", 0),
    ).document()
    read = report.parse(json.loads(json.dumps(document)))
    there, absent = read.models

    assert (read.mode, read.ready, read.reason) == ("serve", False, "NotAccelerated")
    assert (read.message, read.device) == ("no model is in VRAM", "cpu")
    assert (there.name, there.present, there.warm, there.size_bytes) == (name, True, True, 7)
    assert there.digest.removeprefix("sha256:") == DIGEST
    assert (there.parameter_size, there.quantization) == ("7B", "Q4_0")
    assert (absent.present, absent.error) == (False, "why")
