"""What Prometheus is told, and that no client can make it grow."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ollamaserve_sidecar.config import ExpectedModel
from ollamaserve_sidecar.meter import Meter
from ollamaserve_sidecar.metrics import Facts, Metrics
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.ollama import Running
from ollamaserve_sidecar.record import Record
from ollamaserve_sidecar.status import Device, Door, Reason, Sight, Status, Verdict
from ollamaserve_sidecar.tally import SERIES, Tally

KEY = canonical("llama2")


def facts() -> Facts:
    status = Status(
        mode="serve",
        verdict=Verdict(Reason.READY, "serving"),
        sight=Sight(reachable=True, running={KEY: Running(100, 40)}),
        models=(ExpectedModel("llama2", warm=True), ExpectedModel("other")),
        pulls={},
        errors={},
        device=Device.PARTIAL,
        in_flight=3,
        door=Door(9, 2, 1, {"Success": 1, "Refused": 5}, "no pair"),
    )
    return Facts(status, {"Success": 2}, reloads=4, reload_failures=1, dropped_lines=6)


def record(token: str, route: str, status: int, seconds: float) -> Record:
    told = Record(100.0)
    told.token, told.route, told.status = token, route, status
    told.ended = 100.0 + seconds
    told.received, told.sent = 3, 5
    return told


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Each sample by its name and its labels' values, as Prometheus would read them."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_are_counted_by_token_name_route_and_status() -> None:
    """A histogram by route tells how long they took."""
    tally = Tally()
    metrics = Metrics(facts, tally)
    for seconds in (0.004, 0.3, 400.0):
        tally.ended(record("team-a", "/api/chat", 200, seconds))
    tally.ended(record("", "-", 401, 0.001))
    tally.errors["connect"] += 1

    read = samples(metrics)

    assert read["ollamaserve_requests_total", ("/api/chat", "200", "team-a")] == 3
    assert read["ollamaserve_requests_total", ("-", "401", "")] == 1
    assert read["ollamaserve_request_seconds_bucket", ("0.005", "/api/chat")] == 1
    assert read["ollamaserve_request_seconds_bucket", ("0.5", "/api/chat")] == 2
    assert read["ollamaserve_request_seconds_bucket", ("300.0", "/api/chat")] == 2
    assert read["ollamaserve_request_seconds_bucket", ("+Inf", "/api/chat")] == 3
    assert read["ollamaserve_request_seconds_count", ("/api/chat",)] == 3
    assert read["ollamaserve_body_bytes_total", ("in",)] == 12
    assert read["ollamaserve_body_bytes_total", ("out",)] == 20
    assert read["ollamaserve_upstream_errors_total", ("connect",)] == 1


def test_an_answer_of_inference_is_measured() -> None:
    """The first token, the gaps between tokens, and the tokens themselves by token and model."""
    tally = Tally()
    meter = Meter(tally.of_gaps("/api/chat").counts)
    meter.streamed = True
    meter.take(b"{}\n")
    meter.take(b"{}\n")
    meter.first, meter.last = 100.3, 107.0
    told = record("team-a", "/api/chat", 200, 7.0)
    tally.metered(told, meter)
    told.prompt, told.generated = 11, 7
    tally.used(told, "llama2")
    tally.used(record("team-a", "/api/embeddings", 200, 1.0), "other")

    read = samples(Metrics(facts, tally))

    assert read["ollamaserve_first_token_seconds_bucket", ("0.1", "/api/chat")] == 0
    assert read["ollamaserve_first_token_seconds_bucket", ("0.5", "/api/chat")] == 1
    assert read["ollamaserve_token_gap_seconds_count", ("/api/chat",)] == 1
    assert read["ollamaserve_token_gap_seconds_sum", ("/api/chat",)] == pytest.approx(6.7)
    assert read["ollamaserve_prompt_tokens_total", ("llama2", "team-a")] == 11
    assert read["ollamaserve_generated_tokens_total", ("llama2", "team-a")] == 7
    assert read["ollamaserve_usage_unknown_total", ("/api/embeddings",)] == 1


def test_the_facts_of_the_status_are_metrics_too() -> None:
    """What /status says, for who looks at graphs."""
    read = samples(Metrics(facts))

    assert read["ollamaserve_ready", ()] == 1
    assert read["ollamaserve_requests_in_flight", ()] == 3
    assert read["ollamaserve_requests_queued", ()] == 1
    assert read["ollamaserve_slots_in_use", ()] == 2
    assert read["ollamaserve_connections", ()] == 9
    assert read["ollamaserve_certificate_reloads_total", ("Refused",)] == 5
    assert read["ollamaserve_ollama_up", ()] == 1
    assert read["ollamaserve_pulls_total", ("Success",)] == 2
    assert read["ollamaserve_reloads_total", ("Success",)] == 4
    assert read["ollamaserve_reloads_total", ("Refused",)] == 1
    assert read["ollamaserve_access_log_dropped_total", ()] == 6
    assert read["ollamaserve_model_loaded", ("llama2",)] == 1
    assert read["ollamaserve_model_loaded", ("other",)] == 0
    assert read["ollamaserve_model_vram_bytes", ("llama2",)] == 40
    assert read["ollamaserve_acceleration", ("partial",)] == 1
    assert read["ollamaserve_acceleration", ("gpu",)] == 0
    assert read["process_open_fds", ()] > 0


def test_the_number_of_series_has_a_ceiling() -> None:
    """G14's bounded labels hold even if the hot path were to pass on what a client sends."""
    tally = Tally()
    for number in range(SERIES + 10):
        tally.ended(record("team-a", f"/{number}", 200, 0.1))
        told = record("team-a", "/api/chat", 200, 0.1)
        told.prompt = told.generated = 1
        tally.used(told, f"model-{number}")

    read = samples(Metrics(facts, tally))

    requests = [key for key in read if key[0] == "ollamaserve_requests_total"]
    assert len(requests) == SERIES + 1
    assert read["ollamaserve_requests_total", ("other", "0", "")] == 10
    tokens = [key for key in read if key[0] == "ollamaserve_prompt_tokens_total"]
    assert len(tokens) == SERIES + 1
    assert read["ollamaserve_prompt_tokens_total", ("other", "other")] == 10


def test_there_are_no_series_of_creation_times() -> None:
    """They would double the number of series, and nothing here asks for them."""
    tally = Tally()
    tally.ended(record("team-a", "/api/chat", 200, 0.1))

    assert b"_created" not in Metrics(facts, tally).exposition()
