"""What the API server lets through for the gate, the gate takes: fields, bounds and grammars.

A value that the CRD accepts and the gate refuses would keep every pod at its last good
configuration, or from starting at all.
"""

import copy
import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from examples import CRD, parsed, sample
from ollamaserve_operator import api
from ollamaserve_sidecar import allowance, config
from ollamaserve_sidecar.limits import Limits
from ollamaserve_sidecar.signature import public_key
from rendered import Body, Rendered, env

VERSION = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]
SPEC = VERSION["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
GATE = SPEC["gate"]["properties"]
LIMITS = GATE["limits"]["properties"]
KEY = sample("full")["spec"]["auth"]["authorizedKeys"][0]["key"]


def patterns(schema: Body) -> list[str]:
    """The regular expressions of a field's CEL rules, in order, for Python.

    CEL's strings escape backslashes; RE2's `$` is the end, and not also before a last newline.
    """
    rules = " ".join(rule["rule"] for rule in schema["x-kubernetes-validations"])
    found = re.findall(r"matches\('((?:[^'\\]|\\.)*)'\)", rules)
    return [re.sub(r"\$(?=\)?$)", r"\\Z", p.replace("\\\\", "\\")) for p in found]


def read(spec: Body) -> config.GateConfig:
    return config.gate_config(Rendered(spec).gate_json)


def test_every_field_of_the_gate_arrives() -> None:
    """The full sample, as the gate reads it: keys, models per token, limits, origins, path."""
    body = sample("full")
    serve, told = parsed(body), read(body)
    wanted = serve.gate.limits
    (ada,) = told.authorized_keys.values()
    helpdesk, llama = allowance.name("helpdesk") or "", allowance.name("llama2:7b") or ""

    assert told.limits == Limits(
        body_bytes=wanted.body_bytes or 0,
        concurrent=wanted.concurrent_requests or 0,
        per_token=wanted.concurrent_requests_per_token or 0,
        queue=wanted.queue or 0,
        queue_wait=wanted.queue_wait_seconds or 0,
        per_minute=wanted.requests_per_minute or 0,
        connections=wanted.connections or 0,
    )
    assert told.cors.origins == {o.encode() for o in serve.gate.cors.allowed_origins}
    assert told.health_path == serve.gate.health_path
    assert (ada.name, ada.access.value, ada.models) == (
        "ada",
        "infer",
        frozenset({helpdesk, llama}),
    )
    assert told.tokens["AUTH_TOKEN"].models == frozenset({helpdesk})
    assert told.tokens["ADMIN_TOKEN"].models is None
    assert told.egress is True


@pytest.mark.parametrize(
    ("spec", "egress"),
    [
        ({}, False),
        ({"networkPolicy": {"enabled": False}}, True),
        ({"networkPolicy": {"egress": [{}]}}, True),
        ({"pull": {"strategy": "InPod"}}, True),
        ({"storage": {"ephemeral": {}}}, True),
    ],
)
def test_gate_knows_whether_there_is_a_way_out(spec: Body, egress: bool) -> None:
    """Decision 12: shut unless the pod pulls for itself, the policy is off, or has rules for it."""
    assert read(spec).egress is egress


def test_gate_finds_its_certificate_where_it_is_mounted() -> None:
    """G7: the files that the variables name are those of the Secret's folder."""
    rendered = Rendered({"gate": {"tls": {"secretName": "cert"}}})
    gate = rendered.container("gate")
    pair = config.load(env(gate)).key_pair
    mounted = {mount["name"]: mount["mountPath"] for mount in gate["volumeMounts"]}["tls"]
    files = {item["path"] for item in rendered.volume("tls")["secret"]["items"]}

    assert pair is not None
    assert {str(pair.cert.parent), str(pair.key.parent)} == {mounted}
    assert {pair.cert.name, pair.key.name} == files
    assert config.load(env(Rendered({}).container("gate"))).key_pair is None


@pytest.mark.parametrize("name", LIMITS)
def test_bounds_of_limits_are_the_same(name: str) -> None:
    """The least and the most that the API server takes, the gate takes, and not one beyond."""
    low, high = LIMITS[name]["minimum"], LIMITS[name]["maximum"]
    for number in (low, high):
        config.gate_config({"limits": {name: number}})
    for number in (low - 1, high + 1):
        with pytest.raises(config.ConfigError, match=name):
            config.gate_config({"limits": {name: number}})


def test_defaults_of_limits_are_told_as_they_are() -> None:
    """What a description calls the default is the gate's."""
    told = {n: re.search(r"Default: (\d+)", LIMITS[n]["description"]) for n in LIMITS}
    default = Limits()

    assert {name: int(found[1]) for name, found in told.items() if found} == {
        "bodyBytes": default.body_bytes,
        "concurrentRequests": default.concurrent,
        "concurrentRequestsPerToken": default.per_token,
        "queue": default.queue,
        "queueWaitSeconds": default.queue_wait,
        "requestsPerMinute": default.per_minute,
        "connections": default.connections,
    }


NAME = st.text(st.sampled_from("aB1_.-:/@ "), max_size=12) | st.from_regex(
    r"\A(https?://)?([a-c.:]{1,5}/)?([a-c_-]{1,3}/)?[a-c.]{1,3}(:[a-c]{1,3})?\Z"
)


@given(name=NAME)
def test_names_of_models_are_the_same(name: str) -> None:
    """An allow-list that the API server takes names models that the gate takes for such."""
    (pattern,) = patterns(SPEC["models"]["items"]["properties"]["name"])

    assert bool(re.search(pattern, name)) == (allowance.name(name) is not None)


def test_allow_lists_have_the_grammar_of_names() -> None:
    """Tokens, keys and create.from are held to what models are."""
    model = SPEC["models"]["items"]["properties"]
    auth = SPEC["auth"]["properties"]
    rules = [
        model["create"]["properties"]["from"],
        auth["tokens"]["items"]["properties"]["models"]["items"],
        auth["authorizedKeys"]["items"]["properties"]["models"]["items"],
    ]

    assert [patterns(rule) for rule in rules] == [patterns(model["name"])] * len(rules)


PATHS = st.text(st.characters(min_codepoint=0x1F, max_codepoint=0x80), max_size=6)


@given(path=st.builds("/{}".format, PATHS) | st.sampled_from(["/api/x", "/v1/", "/api", "/v1"]))
def test_health_paths_are_the_same(path: str) -> None:
    """What the API server takes as gate.healthPath, the gate takes."""
    schema = GATE["healthPath"]
    (pattern,) = patterns(schema)
    rule = schema["x-kubernetes-validations"][0]["rule"]
    shut = tuple(re.findall(r"!self\.startsWith\('([^']+)'\)", rule))
    accepted = bool(re.search(pattern, path)) and not path.startswith(shut)

    assert shut == ("/api/", "/v1/")
    assert accepted == taken({"healthPath": path})


ORIGIN = st.sampled_from(["http", "https", "app", "HTTP", "h ttp"]).flatmap(
    lambda scheme: st.text(st.sampled_from("ab.:/[]0480*-"), max_size=8).map(
        lambda rest: f"{scheme}://{rest}"
    )
)


@given(origin=ORIGIN | st.sampled_from(["*", "null", "", "http://a:80", "https://[::1]:443"]))
def test_origins_are_the_same(origin: str) -> None:
    """What the API server takes as an origin, the gate takes."""
    plausible, default_port = patterns(GATE["cors"]["properties"]["allowedOrigins"]["items"])
    accepted = origin == "*" or bool(
        re.search(plausible, origin) and not re.search(default_port, origin)
    )

    assert accepted == taken({"cors": {"allowedOrigins": [origin]}})


def taken(document: Body) -> bool:
    try:
        config.gate_config(copy.deepcopy(dict(document)))
    except config.ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    "line",
    [KEY, f"{KEY}\tcomment", KEY.partition(" ada")[0], f"{KEY} {'x' * 900}"],
)
def test_accepted_keys_are_keys(line: str) -> None:
    """A line that the CRD's rule lets through is an Ed25519 public key to the gate."""
    key = SPEC["auth"]["properties"]["authorizedKeys"]["items"]["properties"]["key"]
    (pattern,) = patterns(key)

    assert re.search(pattern, line)
    assert public_key(line) is not None


def test_names_of_tokens_and_keys_are_the_gates() -> None:
    """Names that the CRD lets through, the gate takes; those of rotation neither does."""
    auth = SPEC["auth"]["properties"]
    name = auth["authorizedKeys"]["items"]["properties"]["name"]
    (pattern,) = patterns(name)
    entry = {"key": KEY, "access": "infer"}
    good = ["a", "A.b-c_9", "x" * 63]

    assert all(re.search(pattern, each) for each in good)
    assert all(taken({"authorizedKeys": [{"name": each, **entry}]}) for each in good)
    for ending in ("_PREVIOUS", "_NEXT"):
        assert f"endsWith('{ending}')" in json.dumps(name)
        assert not taken({"authorizedKeys": [{"name": f"a{ending}", **entry}]})


def test_models_of_a_manager_are_refused_by_both() -> None:
    """G11: an allow-list is for read and infer; who may name models could pass it."""
    entry = {"key": "A", "access": "manage", "models": ["a"]}
    spec = {"models": [{"name": "a"}], "auth": {"tokens": [entry]}}
    found = api.parse({"metadata": {"name": "x"}, "spec": spec})

    assert isinstance(found, api.Invalid)
    assert not taken({"tokens": {"A": {"access": "manage", "models": ["a"]}}})
