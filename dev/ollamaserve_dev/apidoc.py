"""docs/api.md: the API reference, made of the CRD.

`make docs` writes it, `--check` (in `make check`) fails where it is stale. One heading for each
object of the schema, one table row for each of its fields, and the words of the rules that refuse.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Schema = Mapping[str, Any]

REPOSITORY = Path(__file__).parents[2]
CRD = REPOSITORY / "deploy/crds/ollamaserve.yaml"
PAGE = REPOSITORY / "docs/api.md"

HEADER = """\
# API reference
<!-- Made of deploy/crds/ollamaserve.yaml by `make docs`; edit that. -->

`apiVersion: {group}/{version}`, `kind: {kind}`; `kubectl get {plural}`, or `{short}` for short.
"""
DEEPEST = 6  # Markdown has no deeper heading


def render(crd: Schema) -> str:
    """The page's text."""
    spec = crd["spec"]
    (version,) = spec["versions"]
    named = spec["names"]
    schema = version["schema"]["openAPIV3Schema"]
    lines = [
        HEADER.format(
            group=spec["group"],
            version=version["name"],
            kind=named["kind"],
            plural=named["plural"],
            short=named["shortNames"][0],
        ),
        _prose(schema["description"]),
        "",
        *_rules(schema),
        *_section("spec", schema["properties"]["spec"], 2),
        *_section("status", schema["properties"]["status"], 2),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _section(path: str, schema: Schema, level: int) -> Iterator[str]:
    """An object: its description, its fields, the rules on it, and then the objects in it."""
    fields: Schema = schema["properties"]
    yield from (f"{'#' * min(level, DEEPEST)} {path}", "", _prose(schema["description"]), "")
    yield from ("| field | type | default | what it is |", "|---|---|---|---|")
    required = schema.get("required", ())
    for name, field in fields.items():
        yield _row(name, field, required=name in required)
    yield ""
    yield from _rules(schema)
    for name, field in fields.items():
        if (inner := _object(field)) is not None:
            end = "[]" if field["type"] == "array" else ""
            about = {"description": field["description"], **inner}
            yield from _section(f"{path}.{name}{end}", about, level + 1)


def _object(field: Schema) -> Schema | None:
    """The object that a field is or lists, if it has fields of its own to tell of."""
    inner: Schema = field["items"] if field.get("type") == "array" else field
    if "properties" not in inner:
        return None
    rules = [*_own(field), *_own(inner)] if inner is not field else _own(inner)
    return {**inner, "x-kubernetes-validations": rules}


def _row(name: str, field: Schema, *, required: bool) -> str:
    default = "required" if required else _default(field)
    cells = (f"`{name}`", _type(field), default, _prose(field["description"]))
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _default(field: Schema) -> str:
    """Objects default to their fields' defaults: those stand in their own tables."""
    default = field.get("default", {})
    if default == {}:
        return ""
    if isinstance(default, str):
        return f"`{default}`"
    flow = yaml.safe_dump(default, default_flow_style=True, width=1000)
    return f"`{flow.splitlines()[0]}`"


def _type(field: Schema) -> str:
    match field:
        case {"enum": choices}:
            return ", ".join(f"`{choice}`" for choice in choices)
        case {"x-kubernetes-int-or-string": True}:
            return "quantity" if "pattern" in field else "integer or string"
        case {"type": "array", "items": inner}:
            return f"list of {_type(inner)}{_bounds(field, 'minItems', 'maxItems')}"
        case {"type": "object", "additionalProperties": inner}:
            return f"map of {_type(inner)}"
        case _:
            return f"{field.get('type', 'any JSON')}{_bounds(field, 'minimum', 'maximum')}"


def _bounds(field: Schema, least: str, most: str) -> str:
    match field.get(least), field.get(most):
        case None, None:
            return ""
        case None, high:
            return f", at most {high}"
        case low, None:
            return f", at least {low}"
        case low, high:
            return f", {low} to {high}"


def _rules(schema: Schema) -> Iterator[str]:
    """What is refused, in the words that the user then reads: of the object, and of its fields."""
    said = [("", rule) for rule in _own(schema)]
    for name, field in schema.get("properties", {}).items():
        if _object(field) is None:
            rules = (*_own(field), *_own(field.get("items", {})))
            said += [(f"`{name}`: ", rule) for rule in rules]
    if said:
        yield from ("Refused by the API server, with these words:", "")
        yield from (f"- {where}{_prose(rule['message'])}" for where, rule in said)
        yield ""


def _own(schema: Schema) -> list[Schema]:
    return list(schema.get("x-kubernetes-validations", ()))


def _prose(text: str) -> str:
    """One line; what looks like an HTML tag is a place for a name."""
    return " ".join(text.split()).replace("<", "&lt;").replace("`&lt;", "`<")


def main() -> int:
    """Write docs/api.md, or with `--check` compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where the page is stale")
    text = render(yaml.safe_load(CRD.read_text()))
    if not parser.parse_args().check:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print("docs/api.md is stale: run `make docs` and commit the result")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
