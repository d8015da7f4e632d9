"""The figures as JSON, and the page made of them. Pure, but for what machine this is."""

import json
import os
import platform
from typing import Any

from bench.operator.phases import WORKERS, Creation, Operated, Restart
from ollamaserve_dev import versions

Result = dict[str, Any]

TEMPLATE = """\
# The operator's benchmark

Made by `make bench-operator`; edit `bench/operator/page.py`. {resources} resources are created at
once on a real API server ({kubernetes}, etcd without fsync, with its controllers and scheduler;
kwok plays the nodes), everything on one machine: {cpus} CPUs, Linux {kernel}, Python {python}.
The plain writer creates the same resources on a control plane of its own and applies the same
children, {workers} at a time like the operator, and does nothing else: no status, no watches.

| from nothing to all children | plain writer | operator |
|---|---|---|
| every child of every resource is there after | {w[seconds]} s | {o[seconds]} s |
| times the plain writer (claim: at most 1.5) | 1 | {ratio} |
| a resource to its Deployment, p50 | {w[deploymentP50]} s | {o[deploymentP50]} s |
| the same, p99 (claim: at most 20 s) | {w[deploymentP99]} s | {o[deploymentP99]} s |
| objects made | {w[objects]} | {o[objects]} |

The operator wrote for the last time {o[settledSeconds]} s after the first creation: by then every
status told of pods that kwok had made Ready. It had used {o[cpuSeconds]} s of CPU until then, and
had {o[rssMiB]} MiB resident for {o[watched]} watched objects, {o[peakMiB]} MiB at most.

Its next start listened after {r[listeningSeconds]} s, had looked at every resource after
{r[settledSeconds]} s (claim for 5,000 resources: 60 s), and wrote **{r[writes]}** times. It had
{r[rssMiB]} MiB resident, {r[peakMiB]} MiB at most; claimed are 61 MiB and 7 KiB per watched
object, which here is {r[claimedMiB]} MiB.

| calls to the API server | from nothing | at the next start |
|---|---|---|
{calls}
"""


def result(resources: int, writer: Creation, operated: Operated, restart: Restart) -> Result:
    """Rounded as far as one run tells anything."""
    return {
        "resources": resources,
        "machine": _machine(),
        "writer": _creation(writer),
        "operator": _creation(operated.creation)
        | _used(operated)
        | {"settledSeconds": round(operated.settled, 1)},
        "ratio": round(operated.creation.seconds / writer.seconds, 2),
        "restart": _used(restart)
        | {
            "listeningSeconds": round(restart.listening, 1),
            "settledSeconds": round(restart.settled, 1),
            "writes": restart.writes,
            "claimedMiB": round(61 + restart.watched * 7 / 1024),
        },
    }


def as_json(found: Result) -> str:
    return json.dumps(found, indent=1) + "\n"


def read(text: str) -> Result:
    found: Result = json.loads(text)
    return found


def render(found: Result) -> str:
    """The page's Markdown."""
    phases = {"w": found["writer"], "o": found["operator"], "r": found["restart"]}
    numbers = found["machine"] | {"resources": found["resources"], "ratio": found["ratio"]}
    return TEMPLATE.format(**numbers, **phases, calls="\n".join(_calls(found)))


def _creation(creation: Creation) -> Result:
    return {
        "seconds": round(creation.seconds, 1),
        "objects": creation.objects,
        "deploymentP50": round(creation.quantile(0.5), 2),
        "deploymentP99": round(creation.quantile(0.99), 2),
    }


def _used(phase: Operated | Restart) -> Result:
    return {
        "cpuSeconds": round(phase.usage.cpu_seconds, 1),
        "rssMiB": round(phase.usage.rss_mib),
        "peakMiB": round(phase.usage.peak_mib),
        "watched": phase.watched,
        "calls": {f"{verb} {kind}": count for (verb, kind), count in phase.calls.items()},
    }


def _calls(found: Result) -> list[str]:
    before, after = found["operator"]["calls"], found["restart"]["calls"]
    every = sorted(before.keys() | after.keys())
    return [f"| {call} | {before.get(call, 0)} | {after.get(call, 0)} |" for call in every]


def _machine() -> Result:
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "kubernetes": versions.KUBERNETES,
        "workers": WORKERS,
    }
