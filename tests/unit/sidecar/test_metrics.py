"""What Prometheus is told, and that no client can make it grow."""

from prometheus_client.parser import text_string_to_metric_families

from ollamaserve_sidecar.config import ExpectedModel
from ollamaserve_sidecar.metrics import SERIES, Facts, Metrics
from ollamaserve_sidecar.models import canonical
from ollamaserve_sidecar.ollama import Running
from ollamaserve_sidecar.status import Device, Door, Reason, Sight, Status, Verdict

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
    return Facts(status, {"Success": 2}, reloads=4, reload_failures=1)


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
    metrics = Metrics(facts)
    for seconds in (0.004, 0.3, 400.0):
        metrics.request("team-a", "/api/chat", 200, seconds)
    metrics.request("", "-", 401, 0.001)
    metrics.upstream_error("connect")

    read = samples(metrics)

    assert read["ollamaserve_requests_total", ("/api/chat", "200", "team-a")] == 3
    assert read["ollamaserve_requests_total", ("-", "401", "")] == 1
    assert read["ollamaserve_request_seconds_bucket", ("0.005", "/api/chat")] == 1
    assert read["ollamaserve_request_seconds_bucket", ("0.5", "/api/chat")] == 2
    assert read["ollamaserve_request_seconds_bucket", ("300.0", "/api/chat")] == 2
    assert read["ollamaserve_request_seconds_bucket", ("+Inf", "/api/chat")] == 3
    assert read["ollamaserve_request_seconds_count", ("/api/chat",)] == 3
    assert read["ollamaserve_upstream_errors_total", ("connect",)] == 1


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
    assert read["ollamaserve_model_loaded", ("llama2",)] == 1
    assert read["ollamaserve_model_loaded", ("other",)] == 0
    assert read["ollamaserve_model_vram_bytes", ("llama2",)] == 40
    assert read["ollamaserve_acceleration", ("partial",)] == 1
    assert read["ollamaserve_acceleration", ("gpu",)] == 0
    assert read["process_open_fds", ()] > 0


def test_the_number_of_series_has_a_ceiling() -> None:
    """G14's bounded labels hold even if the hot path were to pass on what a client sends."""
    metrics = Metrics(facts)
    for number in range(SERIES + 10):
        metrics.request("team-a", f"/{number}", 200, 0.1)

    read = samples(metrics)

    requests = [key for key in read if key[0] == "ollamaserve_requests_total"]
    assert len(requests) == SERIES + 1
    assert read["ollamaserve_requests_total", ("other", "0", "")] == 10
