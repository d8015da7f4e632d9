"""The crowd at the door: it lives the lives of `lives` again and again, and counts how they end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

from bench.soak.client import TruncatedError
from bench.soak.lives import FINE, TABLE, Place

if TYPE_CHECKING:
    from bench.soak.lives import Life

RAMP = 60.0
"""Seconds in which the crowd arrives."""


class Crowd:
    """`ends` counts (life, end) pairs from the beginning."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.ends: Counter[tuple[str, str]] = Counter()

    @property
    def errors(self) -> dict[str, int]:
        """Ends that shouldn't be, by life and end."""
        return {
            f"{life}: {end}": count for (life, end), count in self.ends.items() if end not in FINE
        }

    async def come(self) -> None:
        """Everybody, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for life, count in TABLE.items():
                for _ in range(count):
                    group.create_task(self._live(life))

    async def _live(self, life: Life) -> None:
        await asyncio.sleep(random.uniform(0, RAMP))  # noqa: S311 not a secret
        while True:
            try:
                end = await life(self._place)
            except TruncatedError:
                end = "unexpectedly truncated"
            except (OSError, ValueError) as error:
                end = type(error).__name__
            self.ends[life.__name__, end] += 1
            await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 not a secret
