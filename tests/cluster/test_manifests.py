"""Everything that is applied by us or by a user of deploy/, against the real API server's schemas.

Twice: the server itself, with strict field validation and Pod Security, and kubeconform, with JSON
schemas made of the OpenAPI document that the same server publishes, its CRD included.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ollamaserve_dev import cache, install, tools
from ollamaserve_dev.kubectl import Kubectl, KubectlError, until
from ollamaserve_dev.localoperator import LocalOperator

pytestmark = pytest.mark.cluster

GOLDEN = sorted((cache.CHECKOUT / "tests/unit/golden").glob("*.yaml"))
DEPLOY = sorted(install.DEPLOY.rglob("*.yaml"))
FILES = [
    pytest.param(path, id=str(path.relative_to(cache.CHECKOUT))) for path in (*GOLDEN, *DEPLOY)
]
OPTIONAL = {"HTTPRoute", "PodMonitor"}
"""Kinds of CRDs that a cluster may lack, as this one does."""

STRICTLY = ("--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict")

Body = dict[str, Any]


@pytest.fixture(scope="module")
def server(control_plane: Path, operator: LocalOperator) -> Iterator[Kubectl]:
    """kubectl in a namespace that refuses, and warns of, pods that aren't restricted."""
    name, admin = "manifests", Kubectl(control_plane)
    levels = ("enforce", "warn")
    labels = {f"pod-security.kubernetes.io/{level}": "restricted" for level in levels}
    metadata = {"name": name, "labels": labels}
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    yield admin.within(name)
    admin.run("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def schemas(server: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a JSON schema for each kind, named as kubeconform asks for them."""

    def published() -> dict[str, Body]:
        found: dict[str, Body] = json.loads(server.run("get", "--raw=/openapi/v2"))["definitions"]
        return found if any(name.endswith(".OllamaServe") for name in found) else {}

    definitions = until("the CRD's schema is published", published, seconds=60)
    closed = {name: _closed(definition) for name, definition in definitions.items()}
    folder = tmp_path_factory.mktemp("schemas")
    (folder / "all.json").write_text(json.dumps({"definitions": closed}))
    for name, definition in definitions.items():
        for found in definition.get("x-kubernetes-group-version-kind", []):
            parts = (found["kind"], found["group"].partition(".")[0], found["version"])
            file = "-".join(part.lower() for part in parts if part)
            reference = {"$ref": f"all.json#/definitions/{name}"}
            (folder / f"{file}.json").write_text(json.dumps(reference))
    return folder


def _closed(schema: Body) -> Body:
    """As JSON Schema, where an unknown field is an error; OpenAPI 2 can't say int-or-string."""
    if schema.get("format") == "int-or-string":
        return {"type": ["string", "integer"]}
    found = dict(schema)
    if "$ref" in found:
        found["$ref"] = found["$ref"].replace("#/definitions", "all.json#/definitions")
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = _closed(found[key])
    if "properties" in found:
        found["properties"] = {name: _closed(each) for name, each in found["properties"].items()}
        found.setdefault("additionalProperties", False)
    return found


def documents(path: Path) -> list[Body]:
    return [body for body in yaml.safe_load_all(path.read_text()) if body]


@pytest.mark.parametrize("path", FILES)
def test_the_api_server_accepts_it_strictly(server: Kubectl, path: Path) -> None:
    """T22: no unknown or doubled field, no warning, under Pod Security `restricted`."""
    bodies = [body for body in documents(path) if body["kind"] not in OPTIONAL]
    for body in bodies:
        body["metadata"].pop("ownerReferences", None)  # of a resource that isn't there
        if path in GOLDEN:
            body["metadata"]["namespace"] = server.namespace
    text = yaml.safe_dump_all(bodies)
    there = {body["metadata"].get("namespace", "") for body in bodies} - {""}
    within = server.within(there.pop()) if there else server
    within.run("apply", *STRICTLY, "--warnings-as-errors", "--filename=-", stdin=text)


def test_the_api_server_is_strict(server: Kubectl) -> None:
    """The test above could fail: a misspelled field is refused."""
    body = next(body for body in documents(GOLDEN[0]) if body["kind"] == "Deployment")
    body["metadata"] = {"name": "typo"}
    body["spec"]["replica"] = 1
    with pytest.raises(KubectlError, match="replica"):
        server.run("apply", *STRICTLY, "--filename=-", stdin=yaml.safe_dump(body))


def conform(schemas: Path, *paths: Path) -> Body:
    location = f"{schemas}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
    options = ("-strict", "-summary", "-output=json", f"-skip={','.join(sorted(OPTIONAL))}")
    command = [
        str(tools.path("kubeconform")),
        *options,
        f"-schema-location={location}",
        *map(str, paths),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: Body = json.loads(done.stdout)
    return found


def test_kubeconform_accepts_everything(schemas: Path) -> None:
    """Every manifest has a schema and obeys it; only the optional kinds are left out."""
    paths = (*GOLDEN, *DEPLOY)
    found = conform(schemas, *paths)
    bodies = [body for path in paths for body in documents(path)]
    left_out = sum(body["kind"] in OPTIONAL for body in bodies)

    assert found.get("resources") == [], found
    valid, skipped = found["summary"]["valid"], found["summary"]["skipped"]
    assert (valid, skipped) == (len(bodies) - left_out, left_out)


def test_kubeconform_is_strict(schemas: Path, tmp_path: Path) -> None:
    """The test above could fail: a misspelled field of a sample is found."""
    typo = tmp_path / "typo.yaml"
    typo.write_text((install.DEPLOY / "samples/minimal.yaml").read_text().replace("spec:", "spek:"))

    assert conform(schemas, typo)["summary"]["invalid"] == 1
