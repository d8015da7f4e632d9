"""`make demo`: from nothing to an answer through the gate, on a local kind cluster.

Every step is the product's own path: images, deploy/install.yaml, an applied resource, a real pull.
"""

import argparse
import json
import shlex
import shutil
import sys
import urllib.request
from typing import Any

import yaml
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.syntax import Syntax

from ollamaserve_dev import clusters, images, installation, tools
from ollamaserve_dev.kubectl import Body, Kubectl, KubectlError, NotYetError, until
from ollamaserve_dev.progress import SetupError, step
from ollamaserve_dev.progress import console as out

NAMESPACE, NAME = "demo", "llama"
QUESTION = "Why is the sky blue?"


def resource(model: str, *, insecure: bool) -> Body:
    """The resource that the demo applies; `insecure` because a registry in a cluster has no TLS."""
    return {
        "apiVersion": "ollamaserve.dev/v1alpha1",
        "kind": "OllamaServe",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "models": [{"name": model}],
            "gpu": {"count": 0},
            "storage": {"persistent": {"size": "5Gi"}},
            **({"pull": {"insecure": True}} if insecure else {}),
        },
    }


def condition(status: Body, kind: str) -> Body:
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})


def follow(kubectl: Kubectl, seconds: float) -> None:
    """Show the pull's progress, and each new reason, until the resource is Ready.

    Raises NotYetError with the last message where it stalls or takes longer than `seconds`.
    """
    columns = TextColumn("    {task.description:<32}"), BarColumn(), TaskProgressColumn()
    with Progress(*columns, console=out) as progress:
        bar = progress.add_task("waiting for the operator", total=100)
        told: list[str] = []

        def look() -> bool:
            status = (kubectl.get("ollamaserve", NAME) or {}).get("status", {})
            ready = condition(status, "Ready")
            percent = min((m.get("pulledPercent", 0) for m in status.get("models", [])), default=0)
            progress.update(bar, completed=percent, description=ready.get("reason", ""))
            tell(ready, told)
            refuse_stalled(status)
            return bool(ready.get("status") == "True")

        until(f"{NAME} Ready", look, seconds=seconds)
        progress.update(bar, completed=100)


def tell(ready: Body, told: list[str]) -> None:
    """Print the reason and message of Ready, unless they were the last ones told."""
    line = f"    {ready.get('reason')}: {ready.get('message')}"
    if ready and line not in told[-1:]:
        told.append(line)
        out.print(line, style="dim", markup=False)


def refuse_stalled(status: Body) -> None:
    """Raises NotYetError where nothing will change by itself."""
    stalled = condition(status, "Stalled")
    if stalled.get("status") == "True":
        raise NotYetError(stalled["message"])


def generate(url: str, model: str, token: str) -> str:
    """One answer of `POST /api/generate`, through the gate."""
    body = json.dumps({"model": model, "prompt": QUESTION, "stream": False}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/generate", body, headers)
    with urllib.request.urlopen(request, timeout=300) as response:
        answer: dict[str, Any] = json.load(response)
    return str(answer["response"]).strip()


def show_answer(kubectl: Kubectl, model: str) -> None:
    template = "{{.data.AUTH_TOKEN | base64decode}}"
    secret = kubectl.run("get", "secret", f"{NAME}-auth", f"--output=go-template={template}")
    with kubectl.port_forward(f"service/{NAME}", 7860) as port:
        answer = generate(f"http://127.0.0.1:{port}", model, secret)
    body = json.dumps({"model": model, "prompt": QUESTION, "stream": False})
    out.print(f"\n[bold]{QUESTION}[/]\n[green]{answer}[/]\n")
    out.print("[bold]The same by hand:[/]")
    patient = "curl -sS --retry 5 --retry-connrefused -w '\\n'"
    curl = f'{patient} http://127.0.0.1:7860/api/generate -H "Authorization: Bearer $TOKEN"'
    tools_path = [] if shutil.which("kubectl") else [f"PATH={tools.path('kubectl').parent}:$PATH"]
    for line in (
        *tools_path,
        f"export KUBECONFIG={shlex.quote(str(kubectl.kubeconfig))}",
        f"kubectl -n {NAMESPACE} port-forward service/{NAME} 7860 >/dev/null &",
        f"TOKEN=$(kubectl -n {NAMESPACE} get secret {NAME}-auth -o go-template='{template}')",
        "sleep 2",
        f"{curl} -d {shlex.quote(body)}",
    ):
        out.print(f"  {line}", markup=False)


def installed(kind: clusters.Provider, *, offline: bool) -> Kubectl:
    """The cluster with the operator in it, and offline with a model registry."""
    cluster = kind.up()
    built = images.build_all()
    for image in built:
        cluster.load_image(image)
    kubectl = Kubectl(cluster.kubeconfig, NAMESPACE)
    with step("deploy/install.yaml: the resource's definition, RBAC, the operator"):
        installation.install_operator(kubectl, built)
    if offline:
        with step("a model registry in the cluster, with the tiny model of tests/models"):
            installation.install_registry(kubectl, built)
    return kubectl


def demo(kind: clusters.Provider, model: str) -> None:
    """Run every step; `model` is a name of the public library, or empty for the tiny one."""
    kubectl = installed(kind, offline=not model)
    name = model or installation.registry_model("tiny")
    body = resource(name, insecure=not model)
    with step("kubectl apply"):
        out.print(Syntax(yaml.safe_dump(body, sort_keys=False), "yaml", background_color="default"))
        kubectl.apply(namespace_manifest(), body)
    with step("Ready"):
        follow(kubectl, seconds=1800 if model else 300)
    out.print(f"\n[bold]$ kubectl -n {NAMESPACE} get ollamaserve[/]")
    out.print(kubectl.run("get", "ollamaserve"), markup=False)
    show_answer(kubectl, name)
    out.print(
        "\nClean up: [bold]kill %1[/] (the port-forward), [bold]make demo-down[/] (the cluster)."
    )


def namespace_manifest() -> Body:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", help="a model of the public library: smollm:135m")
    parser.add_argument("--cluster", default="demo", help="the name of the cluster (demo)")
    parser.add_argument("--down", action="store_true", help="remove the cluster")
    asked = parser.parse_args()
    kind = clusters.provider("kind", name=asked.cluster, nodes=1)
    try:
        if asked.down:
            kind.down()
        else:
            demo(kind, asked.model)
    except (KubectlError, NotYetError, SetupError) as failure:
        out.print(f"[bold red]The demo stopped:[/] {failure}")
        out.print("Look closer with: kubectl -n demo describe ollamaserve llama", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
