"""Names: valid for Kubernetes whatever the resource is called, and never shared by two."""

import re

from hypothesis import given
from hypothesis import strategies as st

from ollamaserve_operator import names

INSTANCES = st.from_regex(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", fullmatch=True)
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1035, as Services want it


def every_name(instance: str) -> list[tuple[str, str]]:
    return [
        ("Secret", names.secret(instance)),
        ("ConfigMap", names.config_map(instance)),
        ("PersistentVolumeClaim", names.persistent_volume_claim(instance)),
        ("Service", names.service(instance)),
        ("Deployment", names.deployment(instance)),
        ("Job", names.pull_job(instance, "digest")),
    ]


@given(instance=INSTANCES)
def test_every_name_is_a_dns_label(instance: str) -> None:
    """At most 63 characters of the right ones: also for the labels that repeat a Job's name."""
    for _, name in every_name(instance):
        assert LABEL.fullmatch(name)
    assert all(
        len(value) <= 63 for value in names.selector(instance, names.Component.PULL).values()
    )


@given(one=INSTANCES, two=INSTANCES)
def test_two_resources_never_share_a_name(one: str, two: str) -> None:
    """Names are injective for each kind."""
    if one != two:
        assert not set(every_name(one)) & set(every_name(two))


@given(one=st.text(), two=st.text())
def test_job_names_follow_the_digest(one: str, two: str) -> None:
    """Decision 3: the same template gives the same name, and another one another."""
    assert names.pull_job("a", one) == names.pull_job("a", one)
    if one != two:
        assert names.digest([one]) != names.digest([two])


def test_owned_selector_is_on_every_child() -> None:
    """What the watches select is what the children carry."""
    key, value = names.OWNED_SELECTOR.split("=")

    for component in names.Component:
        assert names.labels("a", component)[key] == value


def test_selector_is_a_part_of_the_labels() -> None:
    """Selectors are a stable subset: a version never gets into one."""
    for component in names.Component:
        assert names.selector("a", component).items() <= names.labels("a", component).items()
        assert "app.kubernetes.io/version" not in names.labels("a", component)
    assert names.selector_string("a").count("=") == 3
