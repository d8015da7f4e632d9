"""deploy/install.yaml: the CRD and the operator in one file, for one `kubectl apply`.

`make install-yaml` writes it, `--check` (in `make check`) fails where it is stale, and `render`
makes the same text with other image names, for clusters where no registry is in reach, or for some
namespaces: a Role in each of them, and no right beyond.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ollamaserve_dev import versions

DEPLOY = Path(__file__).parents[2] / "deploy"
PARTS = ("crds/ollamaserve.yaml", "operator.yaml")
HEADER = "# Made of {parts} by `make install-yaml`; edit those.\n"

OPERATOR = f"localhost/ollamaserve/operator:{versions.RELEASE}"
GATE = f"localhost/ollamaserve/sidecar:{versions.RELEASE}"
OLLAMA = f"ollama/ollama:{versions.OLLAMA}"
OLLAMA_ROCM = f"{OLLAMA}-rocm"


def render(
    *,
    operator: str = OPERATOR,
    gate: str = GATE,
    ollama: str = OLLAMA,
    ollama_rocm: str = OLLAMA_ROCM,
    namespaces: Sequence[str] = (),
) -> str:
    """The file's text, with these image names in the operator's Deployment.

    With `namespaces` the operator watches these alone, and has its rights in these alone.
    """
    parts = [(DEPLOY / part).read_text().strip() + "\n" for part in PARTS]
    text = HEADER.format(parts=" and ".join(f"deploy/{part}" for part in PARTS)) + "---\n".join(
        parts
    )
    for key, default, image in (
        ("value", OLLAMA_ROCM, ollama_rocm),
        ("value", OLLAMA, ollama),
        ("value", GATE, gate),
        ("image", OPERATOR, operator),
    ):
        text = _replaced(text, f"{key}: {default}\n", f"{key}: {image}\n")
    return _within(text, namespaces) if namespaces else text


def _within(text: str, namespaces: Sequence[str]) -> str:
    watched = "- name: WATCH_NAMESPACE\n              value: "
    text = _replaced(text, f'{watched}""\n', f"{watched}{','.join(namespaces)}\n")
    return "---\n".join(
        document
        for cluster_wide in text.split("---\n")
        for document in _granted(cluster_wide, namespaces)
    )


def _granted(document: str, namespaces: Sequence[str]) -> list[str]:
    """A document about rights in the whole cluster, as one for each namespace."""
    if "\nkind: ClusterRole" not in document:
        return [document]
    name = "metadata:\n  name: ollamaserve-operator\n"
    local = document.replace("kind: ClusterRole", "kind: Role")
    return [_replaced(local, name, f"{name}  namespace: {within}\n") for within in namespaces]


def _replaced(text: str, line: str, by: str) -> str:
    if text.count(line) != 1:
        raise ValueError(f"deploy/operator.yaml should have {line.strip()!r} exactly once")
    return text.replace(line, by)


def in_registry(registry: str, namespaces: Sequence[str] = ()) -> str:
    """The file's text with our two images in `registry`, as in `registry.example.com/ai`."""
    ours = (image.replace("localhost/ollamaserve", registry) for image in (OPERATOR, GATE))
    operator, gate = ours if registry else (OPERATOR, GATE)
    return render(operator=operator, gate=gate, namespaces=namespaces)


def main() -> int:
    """Write deploy/install.yaml; the options print or compare it instead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where the file is stale")
    parser.add_argument("--print", action="store_true", help="print the text, write nothing")
    parser.add_argument("--registry", default="", help="with --print: where our images are")
    parser.add_argument(
        "--namespace",
        action="append",
        default=[],
        help="with --print: watch this namespace alone; may be given several times",
    )
    asked = parser.parse_args()
    target = DEPLOY / "install.yaml"
    if asked.print:
        print(in_registry(asked.registry, asked.namespace), end="")
    elif not asked.check:
        target.write_text(render())
    elif not target.exists() or target.read_text() != render():
        print("deploy/install.yaml is stale: run `make install-yaml` and commit the result")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
