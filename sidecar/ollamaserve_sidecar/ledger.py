"""Where the record of every request ends: counted, and written to the access log. Once each.

`client` closes records here; `serve` builds the one ledger of a process. Of an answer of inference
the tokens are read in the loop's next round: its last bytes go out first (decision G13).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ollamaserve_sidecar import record as records
from ollamaserve_sidecar.meter import Meter
from ollamaserve_sidecar.record import Outcome
from ollamaserve_sidecar.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from ollamaserve_sidecar.accesslog import AccessLog
    from ollamaserve_sidecar.record import Record


class Ledger:
    """`label` gives the name that a model has in metrics; without a `log` nothing is written."""

    def __init__(self, label: Callable[[str], str], log: AccessLog | None = None) -> None:
        self._label, self.log = label, log
        self.tally = Tally()

    def meter(self, route: str) -> Meter:
        """What is to watch an answer of this route, one of inference."""
        return Meter(self.tally.of_gaps(route).counts)

    def upstream_failed(self, kind: str) -> None:
        self.tally.errors[kind] += 1

    def close(self, record: Record, meter: Meter | None = None) -> None:
        """The request has ended; `meter` saw its answer, where that was one of inference."""
        self.tally.ended(record)
        if meter is None:
            self._write(record)
        else:
            asyncio.get_running_loop().call_soon(self._settle, record, meter)

    def _settle(self, record: Record, meter: Meter) -> None:
        self.tally.metered(record, meter)
        usage = meter.usage() if record.outcome is Outcome.SERVED else None
        if meter.streamed:
            record.first = meter.first
        if usage:
            record.prompt, record.generated = usage.prompt, usage.generated
            record.model = usage.model
        self.tally.used(record, self._label(record.model))
        self._write(record)

    def _write(self, record: Record) -> None:
        if self.log:
            self.log.add(records.line(record, time.time()))
