"""The rights that deploy/ grants are those that the operator's table of calls names, exactly."""

from pathlib import Path
from typing import Any

import yaml

from ollamaserve_dev import install
from ollamaserve_operator import kinds, names

DEPLOY = Path(__file__).parents[2] / "deploy"

# Not a call: the admission plugin OwnerReferencesPermissionEnforcement, where it is on, asks for
# this right of whoever writes an ownerReference with blockOwnerDeletion.
OWNING = (names.GROUP, f"{names.PLURAL}/finalizers", "update")


def documents(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = yaml.safe_load_all(text)
    return {(body["kind"], body["metadata"]["name"]): body for body in found}


def granted(text: str = "", kind: str = "ClusterRole") -> set[tuple[str, str, str]]:
    role = documents(text or (DEPLOY / "operator.yaml").read_text())[kind, "ollamaserve-operator"]
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used() -> set[tuple[str, str, str]]:
    """`cluster` refuses every call that isn't in this table (tests/unit)."""
    calls = set()
    for kind in kinds.ALL:
        calls |= {(kind.group, kind.plural, verb.value) for verb in kind.verbs}
        for subresource, verbs in kind.subresources.items():
            calls |= {(kind.group, f"{kind.plural}/{subresource}", verb.value) for verb in verbs}
    return calls


def test_the_role_grants_exactly_what_is_used() -> None:
    """Least privilege, both ways."""
    assert granted() == used() | {OWNING}


def test_nothing_is_granted_by_wildcard_and_nothing_that_is_kept_is_deleted() -> None:
    """No rule grows by itself; what a user keeps can't be deleted by a mistake of ours."""
    assert not any("*" in part for grant in granted() for part in grant)
    assert {resource for _, resource, verb in granted() if verb == "delete"} == {
        *("jobs", "networkpolicies", "poddisruptionbudgets"),
        *("ingresses", "httproutes", "podmonitors"),
    }


def test_for_some_namespaces_it_has_the_same_rights_there_and_no_others() -> None:
    """`--namespace`: a Role with its binding in each, WATCH_NAMESPACE, nothing cluster-wide."""
    text = install.render(namespaces=("team-a", "team-b"))
    bodies = list(yaml.safe_load_all(text))
    within = {
        kind: [body["metadata"]["namespace"] for body in bodies if body["kind"] == kind]
        for kind in ("Role", "RoleBinding")
    }
    bindings = [body for body in bodies if body["kind"] == "RoleBinding"]
    pod = documents(text)["Deployment", "ollamaserve-operator"]["spec"]["template"]["spec"]
    environment = {v["name"]: v.get("value") for v in pod["containers"][0]["env"]}

    assert not [body for body in bodies if body["kind"].startswith("ClusterRole")]
    assert within == {"Role": ["team-a", "team-b"], "RoleBinding": ["team-a", "team-b"]}
    assert granted(text, "Role") == granted()
    assert {body["roleRef"]["kind"] for body in bindings} == {"Role"}
    assert {body["subjects"][0]["namespace"] for body in bindings} == {names.HOME}
    assert environment["WATCH_NAMESPACE"] == "team-a,team-b"


def test_the_operator_is_where_the_policies_look_for_it() -> None:
    """NetworkPolicies let its pods through to 7861 by namespace and label."""
    found = documents((DEPLOY / "operator.yaml").read_text())
    deployment = found["Deployment", "ollamaserve-operator"]
    template = deployment["spec"]["template"]
    (home,) = (v for v in template["spec"]["containers"][0]["env"] if v["name"] == "POD_NAMESPACE")

    assert deployment["metadata"]["namespace"] == names.HOME
    assert names.operator_labels().items() <= template["metadata"]["labels"].items()
    assert home["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}


def test_the_deployment_runs_as_the_account_that_the_role_is_bound_to() -> None:
    """One ServiceAccount, one binding, one Deployment that is restricted and alone."""
    found = documents((DEPLOY / "operator.yaml").read_text())
    binding = found["ClusterRoleBinding", "ollamaserve-operator"]
    deployment = found["Deployment", "ollamaserve-operator"]
    pod = deployment["spec"]["template"]["spec"]
    (subject,) = binding["subjects"]
    assert (subject["namespace"], subject["name"]) == (
        deployment["metadata"]["namespace"],
        pod["serviceAccountName"],
    )
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert {toleration["tolerationSeconds"] for toleration in pod["tolerations"]} == {30}
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_install_yaml_is_fresh_and_takes_other_images() -> None:
    """`make install-yaml` was run; each image name is replaced where it stands and nowhere else."""
    assert (DEPLOY / "install.yaml").read_text() == install.render()

    text = install.render(operator="o:9", gate="g:9", ollama="l:9", ollama_rocm="r:9")
    found = documents(text)
    assert ("CustomResourceDefinition", f"{names.PLURAL}.{names.GROUP}") in found
    pod = found["Deployment", "ollamaserve-operator"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "o:9"
    assert {v["name"]: v["value"] for v in container["env"] if "value" in v} == {
        "GATE_IMAGE": "g:9",
        "OLLAMA_IMAGE": "l:9",
        "OLLAMA_ROCM_IMAGE": "r:9",
        "WATCH_NAMESPACE": "",
    }


def test_install_yaml_fits_a_plain_apply() -> None:
    """`kubectl apply` keeps a copy of each object in an annotation, at most 262,144 bytes."""
    assert max(map(len, install.render().split("\n---\n"))) < 262_144 / 2
