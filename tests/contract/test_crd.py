"""The CRD against the code that reads it: the same fields, the same defaults, every bound set."""

import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from examples import CRD, SAMPLES, parsed, resource, with_identity
from ollamaserve_operator import api, judgement, names, reasons

Schema = dict[str, Any]

BODY = yaml.safe_load(CRD.read_text())
VERSION = BODY["spec"]["versions"][0]
ROOT: Schema = VERSION["schema"]["openAPIV3Schema"]
SPEC: Schema = ROOT["properties"]["spec"]
STATUS: Schema = ROOT["properties"]["status"]

# Blocks that are handed through as Kubernetes has them: their inner fields are no dataclass's.
RAW = {
    *("resources", "env", "tolerations", "nodeSelector", "annotations", "labels", "parentRefs"),
    *("affinity", "topologySpreadConstraints", "from", "egress", "parameters", "patch"),
}


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from walk(schema["additionalProperties"], f"{path}{{}}")


EVERY = dict(walk(ROOT))


def defaulted(schema: Schema, value: Any) -> Any:
    """`value` with the schema's defaults, as the API server applies them (structural schemas)."""
    if isinstance(value, Mapping) and "properties" in schema:
        given = dict(value)
        for name, inner in schema["properties"].items():
            if name not in given and "default" in inner:
                given[name] = inner["default"]
            if name in given:
                given[name] = defaulted(inner, given[name])
        return given
    if isinstance(value, list) and "items" in schema:
        return [defaulted(schema["items"], item) for item in value]
    return value


BARE: dict[str, Schema] = {
    "models only": {},
    "empty blocks": {"pull": {}, "gpu": {}, "image": {}, "ollama": {}, "auth": {}, "gate": {}},
    "empty service": {"service": {}, "scheduling": {}, "networkPolicy": {}},
    "empty others": {"podDisruptionBudget": {}, "monitoring": {}},
    "monitoring": {"monitoring": {"podMonitor": {}}},
    "a CA bundle": {"pull": {"caBundle": {"name": "ca"}}},
    "an existing claim": {"storage": {"existingClaim": {"name": "mine"}}},
    "an authorized key": {"auth": {"authorizedKeys": [{"name": "ada", "key": "ssh-ed25519 A"}]}},
    "persistent": {"storage": {"persistent": {}}},
    "ephemeral": {"storage": {"ephemeral": {}}},
    "a token": {"auth": {"tokens": [{"key": "A"}]}},
}


@pytest.mark.parametrize("spec", BARE.values(), ids=BARE.keys())
def test_defaults_are_the_same(spec: Schema) -> None:
    """What the API server would fill in is what parse fills in."""
    bare = resource(**spec)
    filled = with_identity({**bare, "spec": defaulted(SPEC, bare["spec"])})

    assert parsed(filled) == parsed(bare)


def test_every_default_of_the_schema_is_tried() -> None:
    """The cases above reach each `default` in the CRD."""
    fields = {path for path, schema in walk(SPEC) if "default" in schema}
    reached = set()
    for spec in BARE.values():
        filled = defaulted(SPEC, {"models": [{"name": "a"}], **spec})
        reached |= {path for path in fields if present(filled, path)}

    assert fields == reached


def present(value: Any, path: str) -> bool:
    for part in path.strip(".").replace("[]", ".[]").split("."):
        if part == "[]":
            value = value[0] if value else None
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None:
            return False
    return True


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def fields(kind: Any, path: str) -> Iterator[str]:
    """The paths that a dataclass reads, in the CRD's spelling."""
    for field, hint in typing.get_type_hints(kind).items():
        name = camel(field)
        yield f"{path}.{name}"
        if name not in RAW:
            for inner, many in classes(hint):
                yield from fields(inner, f"{path}.{name}" + ("[]" if many else ""))


def classes(hint: Any) -> Iterator[tuple[Any, bool]]:
    """The dataclasses in a hint, and whether they are in a tuple."""
    if dataclasses.is_dataclass(hint):
        yield hint, False
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType, tuple}:
        for inner, _ in (pair for arg in inside for pair in classes(arg)):
            yield inner, origin is tuple


def test_schema_and_parser_have_the_same_fields() -> None:
    """T16: no field is accepted and ignored, and none is read that can't be written."""
    ours = set(fields(api.OllamaServe, ""))
    read = {f for f in ours if not f.startswith((".identity", ".retry", ".rotate"))}
    modes = {
        ".storage.persistent": api.Persistent,
        ".storage.existingClaim": api.ExistingClaim,
        ".storage.ephemeral": api.Ephemeral,
    }
    read = {f for f in read if not f.startswith(".storage.")} | set(modes)
    read |= {f for path, kind in modes.items() for f in fields(kind, path)}
    written = {path for path, _ in walk(SPEC) if path and not path.endswith(("[]", "{}"))}
    raw = re.compile(rf"\.({'|'.join(RAW)})(\[\]|\{{\}})?\..*")
    written = {path for path in written if not raw.search(path)}
    written -= {".image.pullSecrets[].name"}  # read as a tuple of names

    assert read == written


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (".auth.tokens[].access", api.Access),
        (".auth.authorizedKeys[].access", api.Access),
        (".pull.strategy", api.Strategy),
        (".updateStrategy", api.UpdateStrategy),
        (".gate.upgradePolicy", api.UpgradePolicy),
        (".patches[].type", api.PatchType),
        (".storage.persistent.accessMode", api.AccessMode),
        (".storage.persistent.whenDeleted", api.WhenDeleted),
    ],
)
def test_enumerations_are_the_same(path: str, kind: Any) -> None:
    """What may be written is what is understood."""
    assert EVERY[f".spec{path}"]["enum"] == [member.value for member in kind]


def test_reserved_variables_are_the_same() -> None:
    """The CEL rule refuses what parse refuses."""
    rule = EVERY[".spec.env[]"]["x-kubernetes-validations"][0]["rule"]

    assert set(re.findall(r"'(\w+)'", rule)) == api.RESERVED_ENV


@pytest.mark.parametrize(("path", "schema"), EVERY.items(), ids=EVERY.keys())
def test_everything_is_bounded_and_explained(path: str, schema: Schema) -> None:
    """Bounds keep CEL within its cost, and `kubectl explain` is the manual."""
    kind = schema.get("type", "string")
    constrained = {"enum", "format", "maxLength"} & set(schema)
    raw = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if path in {".apiVersion", ".kind", ".metadata"}:
        return
    if kind == "string" and not raw:
        assert constrained, f"{path} has no maxLength"
    if kind == "array":
        assert schema["maxItems"] <= 64
        assert schema["x-kubernetes-list-type"] in {"map", "set", "atomic"}
    if "additionalProperties" in schema:
        assert schema["maxProperties"] <= 32
    if not path.endswith(("[]", "{}")):
        assert schema["description"], f"{path} explains nothing"


def test_every_rule_says_what_to_do() -> None:
    """Each CEL rule has a message of its own."""
    rules = [rule for _, s in walk(ROOT) for rule in s.get("x-kubernetes-validations", ())]

    assert len(rules) > 15
    assert all(len(rule["message"]) > 20 for rule in rules)


def test_plain_apply_works() -> None:
    """`kubectl apply` keeps a copy in an annotation of at most 262,144 bytes."""
    assert len(json.dumps(BODY)) < 100_000


def test_names_are_the_same() -> None:
    """Group, version and plural are those that the operator watches."""
    spec = BODY["spec"]

    assert spec["group"] == names.GROUP
    assert VERSION["name"] == names.VERSION
    assert (spec["names"]["kind"], spec["names"]["plural"]) == (names.KIND, names.PLURAL)
    assert spec["names"]["shortNames"] == ["ols"]
    assert spec["names"]["categories"] == ["all"]
    assert BODY["metadata"]["name"] == f"{names.PLURAL}.{names.GROUP}"


def test_reasons_and_messages_fit() -> None:
    """What status writes, the schema takes."""
    condition = EVERY[".status.conditions[]"]["properties"]

    assert max(len(reason) for reason in reasons.Reason) <= condition["reason"]["maxLength"]
    assert condition["message"]["maxLength"] > judgement.LONGEST_MESSAGE
    assert set(condition["status"]["enum"]) == {s.value for s in judgement.Status}


def test_columns_read_fields_that_exist() -> None:
    """Printer columns point at the status that is written."""
    for column in VERSION["additionalPrinterColumns"]:
        path = re.sub(r"\[\?.*?\)\]", "[]", column["jsonPath"])
        assert path in EVERY or path == ".metadata.creationTimestamp", path


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_samples_use_fields_of_the_schema(path: Any) -> None:
    """A sample has no field that the API server would drop."""
    spec = yaml.safe_load(path.read_text())["spec"]

    assert unknown(SPEC, spec) == []


def unknown(schema: Schema, value: Any, path: str = "spec") -> list[str]:
    if isinstance(value, Mapping) and "properties" in schema:
        return [
            found
            for key, inner in value.items()
            for found in (
                unknown(schema["properties"][key], inner, f"{path}.{key}")
                if key in schema["properties"]
                else [f"{path}.{key}"]
            )
        ]
    if isinstance(value, list) and "items" in schema:
        return [f for item in value for f in unknown(schema["items"], item, f"{path}[]")]
    return []


def test_full_sample_sets_every_field() -> None:
    """The sample that claims to show everything does; one kind of storage excludes the others."""
    spec = yaml.safe_load((SAMPLES / "full.yaml").read_text())["spec"]
    leaves = {path for path, schema in walk(SPEC) if path and "{}" not in path}
    other_modes = (".storage.ephemeral", ".storage.existingClaim")
    excluded = {path for path in leaves if path.startswith(other_modes) or "[]" in path}

    assert {path for path in leaves - excluded if not present(spec, path)} == set()
