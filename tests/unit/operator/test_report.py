"""A gate's report: forgiving to read, and never more than the status takes."""

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from examples import CRD
from ollamaserve_operator import report

FIELDS = ["mode", "ready", "reason", "message", "models", "acceleration", "device", "vramBytes"]
MODEL = ["name", "digest", "sizeBytes", "parameterSize", "quantization", "pulledPercent", "error"]
ODD = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=99)
ENTRY = st.dictionaries(st.sampled_from(MODEL), ODD)
SOME = ODD | st.lists(ENTRY | ODD) | st.dictionaries(st.just("vramBytes"), ODD)
DOCUMENTS = st.dictionaries(st.sampled_from(FIELDS), SOME)
SCHEMA = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
LIMITS = SCHEMA["properties"]["status"]["properties"]["models"]["items"]["properties"]


@given(document=DOCUMENTS)
def test_odd_reports_are_read_and_fit(document: dict[str, Any]) -> None:
    """Whatever a gate says, the operator lives, and the API server takes the status."""
    read = report.parse(document)

    assert read.vram_bytes >= 0
    for model in read.models:
        assert len(model.digest) <= LIMITS["digest"]["maxLength"]
        assert len(model.parameter_size) <= LIMITS["parameterSize"]["maxLength"]
        assert len(model.quantization) <= LIMITS["quantization"]["maxLength"]
        assert model.size_bytes >= 0
        assert model.pulled_percent is None or 0 <= model.pulled_percent <= 100


def test_empty_report_is_an_empty_value() -> None:
    """A missing field reads as its empty value."""
    assert report.parse({}) == report.GateReport()
