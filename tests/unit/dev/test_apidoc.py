"""docs/api.md: complete, fresh, and readable as Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ollamaserve_dev import apidoc

CRD = yaml.safe_load(apidoc.CRD.read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
TEXT = apidoc.render(CRD)


def fields(path: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each field with the heading that it has to stand under."""
    for name, field in schema["properties"].items():
        yield path, name
        inner = field.get("items", field)
        if "properties" in inner:
            end = "[]" if field["type"] == "array" else ""
            yield from fields(f"{path}.{name}{end}", inner)


def section(path: str) -> str:
    """What stands between a heading and the next one."""
    (_, _, after) = TEXT.partition(f"# {path}\n")
    return after.partition("\n#")[0]


def messages(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "x-kubernetes-validations":
                yield from (" ".join(rule["message"].split()) for rule in value)
            else:
                yield from messages(value)


def test_the_page_is_what_the_crd_makes() -> None:
    """`make docs` was run."""
    assert apidoc.PAGE.read_text() == TEXT


def test_every_field_has_a_row_under_its_object() -> None:
    """Nothing of the API is missing, at any depth."""
    wanted = [
        found for part in ("spec", "status") for found in fields(part, SCHEMA["properties"][part])
    ]
    missing = [f"{path}.{name}" for path, name in wanted if f"| `{name}` |" not in section(path)]

    assert len(wanted) > 80
    assert missing == []


def test_every_rule_is_quoted() -> None:
    """Who was refused finds the words again."""
    said = list(messages(SCHEMA))

    assert len(said) > 20
    assert [words for words in said if words not in TEXT] == []


def test_rows_are_rows_and_no_command_rots() -> None:
    """Four cells in each row, whatever a description holds; no block of commands to keep true."""
    rows = [line for line in TEXT.splitlines() if line.startswith("|")]

    assert {line.count("|") for line in rows} == {5}
    assert "```" not in TEXT


def test_types_and_defaults_are_told() -> None:
    """Bounds, choices and defaults, as a reader wants them."""
    assert "| `replicas` | integer, 0 to 1000 | `1` |" in TEXT
    assert "| `pullPolicy` | `Always`, `IfNotPresent`, `Never` | `IfNotPresent` |" in TEXT
    assert "| `keepAlive` | string | `-1` |" in TEXT
    assert "| `models` | list of object, 1 to 16 | required |" in TEXT
    assert "| `limits` | map of quantity |  |" in TEXT
