"""When to pull (decision 3), and that only one Job ever writes to the volume (T3)."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from examples import IMAGES, NOW, parsed, resource, stored
from ollamaserve_operator import api, names, pull
from ollamaserve_operator.api import OllamaServe
from ollamaserve_operator.manifests import Images, children
from ollamaserve_operator.observed import Observed, observe
from ollamaserve_operator.plan import Create, Delete, plan
from ollamaserve_operator.report import GateReport, ModelReport

Body = dict[str, Any]


class World:
    """The cluster of one resource: whatever is planned is done at once."""

    def __init__(self, **spec: Any) -> None:
        self.spec = spec
        self.bodies: dict[tuple[str, str], Body] = {}
        self.at = NOW
        self.images = IMAGES
        self.retry = ""
        self.missing = False

    @property
    def serve(self) -> OllamaServe:
        return replace(parsed(resource(**self.spec)), retry=self.retry)

    @property
    def observed(self) -> Observed:
        gone = GateReport(models=tuple(ModelReport(m.name) for m in self.serve.models))
        reports = {"pod": gone} if self.missing else {}
        return observe(self.bodies.values(), at=self.at, reports=reports)

    def settle(self) -> list[str]:
        """Carry out plans until one is empty; what was done to Jobs, in words."""
        done: list[str] = []
        for _ in range(6):
            desired = children(self.serve, self.images, self.observed)
            steps = plan(desired, self.observed, self.serve)
            if not steps:
                return done
            for step in steps:
                match step:
                    case Delete():
                        done.append(f"delete {step.name}")
                        del self.bodies[step.kind, step.name]
                    case Create(manifest):
                        self.bodies |= self.written(manifest)
                        if manifest["kind"] == "Job":
                            done.append(f"create {manifest['metadata']['name']}")
                    case _:
                        self.bodies |= self.written(step.manifest)  # type: ignore[union-attr]
        raise AssertionError("it never settles")

    @staticmethod
    def written(manifest: Any) -> dict[tuple[str, str], Body]:
        (body,) = stored([manifest])
        return {(body["kind"], body["metadata"]["name"]): body}

    @property
    def jobs(self) -> list[Body]:
        return [body for (kind, _), body in self.bodies.items() if kind == "Job"]

    def end(self, kind: str = "Complete") -> None:
        (job,) = self.jobs
        when = self.at.strftime("%Y-%m-%dT%H:%M:%SZ")
        ended = {"type": kind, "status": "True", "lastTransitionTime": when}
        job["status"] = {"conditions": [ended]}

    @property
    def confirmed(self) -> str:
        config = self.bodies["ConfigMap", "llama-gate"]
        found: str = config["data"]["gate.json"]
        return found


def test_first_pull_waits_for_the_claim_then_runs_once() -> None:
    """The key holds the claim's uid: no claim, no Job; with it, one Job."""
    world = World()
    serve = world.serve

    assert pull.attempt(serve, Observed(at=NOW)) is None
    assert len([step for step in world.settle() if step.startswith("create")]) == 1
    assert world.settle() == []


def test_complete_job_is_left_alone() -> None:
    """Decision 3: also when an operator of a newer release would write another template."""
    world = World()
    world.settle()
    world.end()
    world.images = Images("gate:2", "ollama:2", "rocm:2")

    assert world.settle() == []


def test_other_template_replaces_a_job_that_is_not_complete() -> None:
    """Decision 3: a Job's template is immutable, so the old one goes and a new name comes."""
    world = World()
    world.settle()
    (before,) = world.jobs
    world.spec = {"pull": {"insecure": True}}
    done = world.settle()
    (after,) = world.jobs

    assert done == [
        f"delete {before['metadata']['name']}",
        f"create {after['metadata']['name']}",
    ]


def test_new_job_waits_until_the_running_one_is_gone() -> None:
    """T3: two Ollamas never pull to one volume."""
    world = World()
    world.settle()
    (job,) = world.jobs
    world.spec = {"models": [{"name": "other"}]}
    job["metadata"]["deletionTimestamp"] = "2026-03-04T05:06:07Z"
    world.settle()

    assert world.jobs == [job]


def test_failed_job_stays_until_asked_to_retry() -> None:
    """T19: a permanent failure is no hot loop; the annotation starts one more attempt."""
    world = World()
    world.settle()
    world.end("Failed")
    stays = world.settle()
    world.retry = "1"
    again = world.settle()

    assert stays == []
    assert [word.split()[0] for word in again] == ["delete", "create"]
    assert world.settle() == []


def test_corrected_model_starts_anew() -> None:
    """A changed model list is another pull; the failed one is collected."""
    world = World(models=[{"name": "wrong"}])
    world.settle()
    world.end("Failed")
    world.spec = {"models": [{"name": "right"}]}

    assert [word.split()[0] for word in world.settle()] == ["delete", "create"]


def test_missing_models_are_pulled_again_backed_off() -> None:
    """Decision 3: confirmed missing means a new attempt, 60 s after the last and then longer."""
    world = World()
    world.settle()
    world.end()
    world.missing = True
    at_once = world.settle()
    world.at += timedelta(seconds=61)
    later = world.settle()
    world.end()
    world.at += timedelta(seconds=61)
    too_soon = world.settle()
    world.at += timedelta(seconds=61)
    in_time = world.settle()
    (job,) = world.jobs

    assert (at_once, too_soon) == ([], [])
    assert len(later) == len(in_time) == 2
    assert job["metadata"]["annotations"][names.ATTEMPT] == "3"


def test_unreachable_ollama_confirms_nothing() -> None:
    """A gate that can't ask knows nothing of models."""
    world = World()
    world.settle()
    world.end()
    blind = GateReport(reason="OllamaUnreachable", models=(ModelReport("llama2:7b"),))
    seen = replace(world.observed, reports={"pod": blind})

    assert pull.missing(world.serve, seen) == ()


def test_suspended_pulls_nothing_and_remembers() -> None:
    """Decision 2: suspended means no pull; what has been pulled stays pulled."""
    world = World()
    world.settle()
    world.spec = {"suspend": True}
    stopped = world.settle()
    world.spec = {}
    world.settle()
    world.end()
    world.spec = {"suspend": True}
    world.settle()
    world.spec = {}

    assert [word.split()[0] for word in stopped] == ["delete"]
    assert world.settle() == []
    assert len(world.jobs) == 1


def test_gates_learn_of_a_model_when_it_is_there() -> None:
    """Decision 4: the old list stays until the Job for the new one has succeeded."""
    world = World(models=[{"name": "old"}])
    world.settle()
    world.end()
    world.settle()
    world.spec = {"models": [{"name": "old"}, {"name": "new"}]}
    world.settle()
    while_pulling = world.confirmed
    world.end("Failed")
    world.settle()
    after_failure = world.confirmed
    world.retry = "1"
    world.settle()
    world.end()
    world.settle()

    assert '"new"' not in while_pulling
    assert '"new"' not in after_failure
    assert '"new"' in world.confirmed


def test_list_that_was_never_pulled_is_replaced_at_once() -> None:
    """A first list with a mistake in it is no reason to keep it: nothing was served by it."""
    world = World(models=[{"name": "wrong"}])
    world.settle()
    world.end("Failed")
    world.spec = {"models": [{"name": "right"}]}
    world.settle()

    assert '"right"' in world.confirmed
    assert '"wrong"' not in world.confirmed


def test_a_claim_that_is_being_deleted_lets_go_of_its_jobs() -> None:
    """Ended pods hold a claim too: no Job, old or new, may keep it from going."""
    world = World()
    world.settle()
    world.end()
    world.settle()
    (job,) = world.jobs
    claim = world.bodies["PersistentVolumeClaim", "llama-models"]
    claim["metadata"]["deletionTimestamp"] = "2026-03-04T05:06:07Z"

    assert world.settle() == [f"delete {job['metadata']['name']}"]
    del world.bodies["PersistentVolumeClaim", "llama-models"]
    assert len([step for step in world.settle() if step.startswith("create")]) == 1


def test_gates_that_pull_by_themselves_are_told_at_once() -> None:
    """Moved from a volume to the pods' own disk: no Job confirms a list any more."""
    world = World()
    world.settle()
    world.end()
    world.settle()
    world.spec = {"storage": {"ephemeral": {}}}
    world.settle()
    world.spec = {"storage": {"ephemeral": {}}, "models": [{"name": "phi3"}]}
    world.settle()

    assert "phi3" in world.confirmed
    assert "llama2:7b" not in world.confirmed


def test_edited_gate_configuration_is_written_anew() -> None:
    """A ConfigMap that somebody broke doesn't break the operator."""
    world = World()
    world.settle()
    world.end()
    world.settle()
    world.bodies["ConfigMap", "llama-gate"]["data"]["gate.json"] = "no JSON"
    world.spec = {"models": [{"name": "new"}]}
    world.settle()

    assert '"new"' in world.confirmed


def test_what_a_model_is_made_of_is_part_of_the_pull() -> None:
    """A changed `create` is another pull: the Job makes the model anew; the same one is none."""
    create = {"from": "llama2:7b", "system": "You are Ada.", "parameters": {"seed": 1}}
    world = World(models=[{"name": "ada", "create": create}])
    world.settle()
    first = world.observed.jobs[0].pull_key
    world.end()
    world.settle()
    same = world.settle()
    world.spec = {"models": [{"name": "ada", "create": create | {"system": "You are Eva."}}]}
    world.settle()

    assert same == []
    assert world.observed.jobs[-1].pull_key != first


def test_the_puller_is_told_what_to_make() -> None:
    """docs/architecture.md: `create` as it was written, and no more than that."""
    made = api.Create("llama2:7b", template="t", parameters={"stop": ["a"]})

    assert pull.entry(api.Model("ada", create=made)) == {
        "name": "ada",
        "create": {"from": "llama2:7b", "template": "t", "parameters": {"stop": ["a"]}},
    }
    assert pull.entry(api.Model("ada", create=api.Create("x")))["create"] == {"from": "x"}


def test_another_digest_than_the_pinned_one_is_pulled_again() -> None:
    """Decision 3: somebody moved it on the volume; a new attempt, backed off as for a lost one."""
    pins = {"llama2:7b": f"sha256:{'a' * 64}"}
    serve = parsed(resource(models=[{"name": name, "digest": pin} for name, pin in pins.items()]))
    there = ModelReport("llama2:7b", present=True, digest=pins["llama2:7b"])
    moved = replace(there, digest=f"sha256:{'b' * 64}")

    def seen(model: ModelReport) -> Observed:
        return Observed(at=NOW, reports={"p": GateReport(models=(model,))})

    assert pull.missing(serve, seen(there)) == ()
    assert pull.missing(serve, seen(moved)) == ("llama2:7b",)


def test_where_pods_pull_the_annotation_asks_their_gates_for_another_try() -> None:
    """A gate gives up what failed for good until its configuration changes: this is the change."""
    in_pod = replace(parsed(resource(storage={"ephemeral": {}})), retry="2")
    by_job = replace(parsed(resource()), retry="2")

    assert gate_config(in_pod)["pull"] == {"insecure": False, "retry": "2"}
    assert "pull" not in gate_config(by_job)
    assert "retry" not in gate_config(replace(in_pod, retry=""))["pull"]


def gate_config(serve: OllamaServe) -> Body:
    wanted = children(serve, IMAGES, Observed(at=NOW))
    text = next(m["data"]["gate.json"] for m in wanted if m["kind"] == "ConfigMap")
    found: Body = json.loads(text)
    return found
