"""The README, run: `make demo`, what it prints to repeat by hand, and each command in order.

On a cluster of its own, named so that a developer's demo is left alone.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ollamaserve_dev import clusters, engine, images, installation
from ollamaserve_dev.kubectl import Kubectl, until

pytestmark = pytest.mark.e2e

NAME = "demo-test"
ANSWER = "Air scatters blue light from the sun more than red light."
SETUP = "make demo\n", "make test\n"


def run(script: str, kubeconfig: Path | None = None) -> str:
    """The output of a bash script in the repository's root, which must succeed."""
    environment = os.environ | ({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=installation.REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def blocks(page: str) -> list[str]:
    """The bash blocks of a page, in order."""
    text = (installation.REPOSITORY / page).read_text()
    return re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def stand_in(sample: Path, built: images.Images) -> str:
    """A sample's text with the model and the image that are in reach here."""
    body = yaml.safe_load(sample.read_text())
    body["spec"] |= {
        "models": [{"name": installation.registry_model("tiny")}],
        "pull": {"insecure": True},
        "image": {"ollama": built.ollama},
    }
    return yaml.safe_dump(body)


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """What `make demo` printed."""
    try:
        yield run(f"make demo CLUSTER={NAME}")
    finally:
        run(f"make demo-down CLUSTER={NAME}")


@pytest.fixture(scope="module")
def kubectl(demo: str) -> Kubectl:
    return Kubectl(clusters.provider("kind", name=NAME).kubeconfig, "demo")


def test_demo_ends_with_ready_and_the_right_answer(demo: str) -> None:
    """`make demo` prints the Ready resource and the answer that came through the gate."""
    assert re.search(r"^llama +True +Ready +1/1 +cpu +1 ", demo, re.MULTILINE)
    assert ANSWER in demo


def test_what_the_demo_prints_can_be_repeated_by_hand(demo: str) -> None:
    """The lines under "The same by hand" give the same answer when pasted into a shell."""
    lines = demo.partition("The same by hand:")[2].partition("Clean up")[0]
    output = run(f"{lines}\nkill %1")

    found = next(json.loads(line) for line in output.splitlines() if line.startswith('{"model"'))
    assert found["response"].strip() == ANSWER


def test_every_command_of_the_readme_works(
    kubectl: Kubectl, built: images.Images, tmp_path: Path
) -> None:
    """Each bash block after the two of the set-up runs, in order, in one shell."""
    setup = [b for b in blocks("README.md") if b in SETUP]
    rest = "".join(b for b in blocks("README.md") if b not in SETUP)
    sample = tmp_path / "cpu.yaml"
    sample.write_text(stand_in(installation.REPOSITORY / "deploy/samples/cpu.yaml", built))
    output = run(rest.replace("deploy/samples/cpu.yaml", str(sample)), kubectl.kubeconfig)

    assert setup == list(SETUP)
    assert re.search(r"^small +True +Ready ", output, re.MULTILINE)
    assert '"object":"list"' in output
    assert 'ollamaserve.ollamaserve.dev "small" deleted' in output


def test_other_pages_hold_no_command_that_is_not_run() -> None:
    """A bash block outside the README would rot: prose pages name commands inline only."""
    pages = [*installation.REPOSITORY.glob("docs/*.md"), *installation.REPOSITORY.glob("[A-Z]*.md")]

    assert [p.name for p in pages if blocks(str(p)) and p.name != "README.md"] == []


def test_ci_runs_the_command_of_the_readme() -> None:
    """`.ci/run` ends in exactly the README's test command."""
    script = (installation.REPOSITORY / ".ci/run").read_text()

    assert script.splitlines()[-1] == "make test"


def test_deleting_the_resource_leaves_nothing(kubectl: Kubectl) -> None:
    """After `kubectl delete ollamaserve` no object of the operator's is left, volume included."""
    kubectl.run("delete", "ollamaserve", "llama")
    kinds = "secret,configmap,persistentvolumeclaim,job,deployment,replicaset,service,pod"
    ours = "app.kubernetes.io/managed-by=ollamaserve-operator"

    until("everything is gone", lambda: not kubectl.list(kinds, ours), seconds=120)


def test_demo_down_leaves_no_container(demo: str) -> None:
    """`make demo-down` takes the nodes away, and the folder with the kubeconfig."""
    run(f"make demo-down CLUSTER={NAME}")
    label = f"--filter=label=io.x-k8s.kind.cluster={NAME}"

    assert not engine.current().ask("ps", "--all", "--quiet", label)
    assert not clusters.provider("kind", name=NAME).kubeconfig.exists()
