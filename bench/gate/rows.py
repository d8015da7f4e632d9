"""What is measured: each row's load, its peers, and the numbers that are kept of a measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.gate.peers import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.gate.load import Measurement, Number

    Load = dict[str, Number | str]
    Numbers = dict[str, float]

ALL = tuple(name for name in names.TITLES if name != names.LITELLM)
PROXIES = ALL[1:]
PAIRS = (names.NGINX, names.NGINX_LOGGED, names.GATE_BARE, names.GATE)
PACED = (names.DIRECT, names.NGINX_LOGGED, names.PLAIN, names.GATE)
OPENAI = (*PACED, names.LITELLM)
BULK = (names.DIRECT, names.NGINX, names.PLAIN, names.GATE)
MICRO, MILLI, GIGA = 1e6, 1e3, 1e9
STREAMS = 1000
CHAT: Load = {"method": "POST", "target": "/api/chat", "mode": "stream"}
COMPLETION: Load = {"method": "POST", "target": "/v1/chat/completions", "mode": "deltas"}
BLOB = "/api/blobs/sha256:" + "0" * 64
DELTAS, PACE = 64, 20_000


@dataclass(frozen=True, slots=True)
class Row:
    """`times` is how often one round runs it; the median of those counts as the round's."""

    name: str
    title: str
    load: Load
    peers: tuple[str, ...]
    numbers: Callable[[Measurement], Numbers]
    times: int = 1
    scraped: bool = False


def _chunks(found: Measurement) -> Numbers:
    answer = found.answer
    return {
        "cpu_us": found.cpu / answer["lines"] * MICRO,
        "reads_per_chunk": answer["reads"] / answer["lines"],
        "rss_mib": found.rss[1],
    }


def _requests(found: Measurement) -> Numbers:
    answer = found.answer
    return {
        "cpu_us": found.cpu / answer["requests"] * MICRO,
        "p50_ms": answer["whole"]["p50"] * MILLI,
        "p99_ms": answer["whole"]["p99"] * MILLI,
    }


def _speed(found: Measurement) -> Numbers:
    return {"per_second": found.answer["requests"] / found.answer["seconds"]}


def _first(found: Measurement) -> Numbers:
    first = found.answer["first"]
    return {"p50_ms": first["p50"] * MILLI, "p99_ms": first["p99"] * MILLI}


def _gaps(found: Measurement) -> Numbers:
    gap = found.answer["gap"]
    return _first(found) | {
        "gap_p50_ms": gap["p50"] * MILLI,
        "gap_p99_ms": gap["p99"] * MILLI,
        "stall_share": found.answer["stalls"] / gap["count"],
    }


def _tokens(found: Measurement) -> Numbers:
    return _gaps(found) | {"cpu_us": found.cpu / found.answer["lines"] * MICRO}


def _bulk(found: Measurement) -> Numbers:
    gigabytes = found.answer["bytes"] / GIGA
    return {
        "cpu_s_per_gb": found.cpu / gigabytes,
        "gb_per_second": gigabytes / found.answer["seconds"],
        "grown_mib": found.rss[1] - found.rss[0],
    }


def rows(*, chunk_rate: float, request_rate: float, quick: bool) -> list[Row]:
    """All rows; the rates are what is offered each second, chosen by `calibrate`."""
    share = 0.2 if quick else 1.0
    return [
        _stream(chunk_rate, int(100 * share)),
        *_small(request_rate, share),
        *_latencies(int(200 * share)),
        *_transfers(share),
    ]


def _stream(rate: float, chunks: int) -> Row:
    """Starts are spread over one pace, so that chunks come evenly."""
    load = CHAT | _streams(STREAMS, chunks, int(STREAMS / rate * MICRO)) | {"rate": rate}
    return Row("stream", f"{STREAMS:,} streams of {chunks} chunks", load, ALL, _chunks)


def _streams(count: int, chunks: int, pace: int) -> Load:
    return {"chunks": chunks, "pace": pace, "connections": count, "requests": count}


def _small(rate: float, share: float) -> list[Row]:
    get: Load = {"mode": "sized", "size": 32, "connections": 32}
    offered: Load = get | {"requests": int(rate * 2 * share), "rate": rate}
    refused = offered | {"token": "another-token-of-the-bench-012345678", "status": 401}
    fast = get | {"requests": int(15_000 * share)}
    return [
        Row("get", "small GET, 32 connections", offered, ALL, _requests),
        Row("refused", "401, 32 connections", refused, PROXIES, _requests),
        Row("get-speed", "small GET, 32 connections, as fast as it goes", fast, ALL, _speed),
    ]


def _latencies(samples: int) -> list[Row]:
    burst = CHAT | _streams(STREAMS, 4, PACE) | {"fresh": 1}
    one = CHAT | {"chunks": 1, "connections": 1, "requests": samples, "rate": 200}
    return [
        Row("burst", f"{STREAMS:,} requests at once", burst, ALL, _first, times=3),
        Row("first", "one stream, first delta", one, PACED, _first),
        *(_paced(streams) for streams in (1, 64, 256, 512, 1000)),
        *(_openai(streams) for streams in (1, 8)),
    ]


def _paced(streams: int) -> Row:
    load = CHAT | _streams(streams, DELTAS, PACE) | {"rate": streams * MICRO / PACE}
    title = f"{streams:,} streams of {DELTAS} deltas at {PACE // 1000} ms"
    return Row(f"paced-{streams}", title, load, PACED, _gaps, scraped=True)


def _openai(streams: int) -> Row:
    """Three times: LiteLLM goes on importing with the first request, which then doesn't count."""
    load = COMPLETION | _streams(streams, DELTAS, PACE) | {"rate": streams * MICRO / PACE}
    plural = "" if streams == 1 else "s"
    title = f"{streams} OpenAI stream{plural} of {DELTAS} deltas at {PACE // 1000} ms"
    return Row(f"openai-{streams}", title, load, OPENAI, _tokens, times=3)


def _transfers(share: float) -> list[Row]:
    file: Load = {"connections": 1, "requests": 1, "size": int((4 << 30) * share)}
    count = int(200 * share)
    bodies: Load = {"connections": count, "requests": count, "size": 20_000_000}
    sink: Load = {"method": "POST", "mode": "sink"}
    return [
        Row("download", "4 GiB down", file | {"mode": "sized"}, BULK, _bulk),
        Row("upload", "4 GiB up", file | sink | {"target": BLOB}, BULK, _bulk),
        Row(
            "bodies",
            "200 bodies of 20 MB at once",
            bodies | sink | {"target": "/api/chat"},
            BULK,
            _bulk,
        ),
    ]
