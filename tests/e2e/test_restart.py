"""The operator is killed in the middle of everything, and what was begun is brought to an end."""

from typing import Any

import pytest

from e2e.endpoint import Serve
from ollamaserve_dev.kubectl import Kubectl

pytestmark = pytest.mark.e2e

OPERATOR = "app.kubernetes.io/name=ollamaserve-operator"


def kill_operator(kubectl: Kubectl) -> None:
    """Its process gets SIGKILL; the Deployment makes another one."""
    system = kubectl.within("ollamaserve-system")
    system.run(
        *("delete", "pod", f"--selector={OPERATOR}", "--force", "--grace-period=0"),
        "--wait=false",
    )


def test_killed_in_the_middle_of_everything_it_converges(team: Kubectl, kubectl: Kubectl) -> None:
    """A pull and a rollout under way: both end well, and nothing is made or changed twice."""
    rolling, pulling = Serve(team, "rolling"), Serve(team, "pulling")
    rolling.apply(models=["tiny"])
    rolling.until_ready()
    token = rolling.token()
    pulling.apply(models=["slow/tiny"])
    pulling.until_reason("ModelsPulled", "Pulling")
    (job,) = pull_jobs(team, "pulling")
    rolling.apply(models=["tiny"], ollama={"keepAlive": "1h"})
    kill_operator(kubectl)
    rolling.apply(models=["tiny"], ollama={"keepAlive": "1h"}, env=[{"name": "A", "value": "1"}])
    rolling.until_ready()
    kill_operator(kubectl)
    pulling.until_ready()

    assert [found["metadata"]["uid"] for found in pull_jobs(team, "pulling")] == [
        job["metadata"]["uid"]
    ]
    assert len(pull_jobs(team, "rolling")) == 1
    assert rolling.token() == token
    assert (team.get("deployment", "rolling") or {})["metadata"]["generation"] <= len(
        ("created", "keepAlive", "env")
    )
    assert (team.get("deployment", "pulling") or {})["metadata"]["generation"] == 1


def pull_jobs(team: Kubectl, name: str) -> list[dict[str, Any]]:
    return team.list("job", f"app.kubernetes.io/instance={name}")
