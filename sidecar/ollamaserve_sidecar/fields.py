"""JSON objects of the configuration, taken apart key by key.

Pure; any room that reads a part of GATE_CONFIG enters. Whatever is wrong raises `ConfigError` with
one line that names the field, its value and the remedy, so a typo can't be lost.
"""

from __future__ import annotations

from typing import Any


class ConfigError(Exception):
    """Wrong configuration; the text is one line for the person who wrote it."""


class Fields:
    """One JSON object whose keys are taken one by one; `close` refuses what is left."""

    def __init__(self, where: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} is {value!r}: write a JSON object")
        self._where = where
        self._left = dict(value)

    def take(self, key: str, kind: type, default: Any) -> Any:
        value = self._left.pop(key, default)
        if value is not default and not isinstance(value, kind):
            raise ConfigError(f"{self._where}.{key} is {value!r}: write {_JSON_KINDS[kind]}")
        return value

    def number(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self._left.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(
                f"{self._where}.{key} is {value!r}: write a whole number, {low} to {high}"
            )
        return value

    def close(self) -> None:
        if self._left:
            names = ", ".join(sorted(self._left))
            raise ConfigError(f"{self._where} has unknown keys: {names}. Remove them")


_JSON_KINDS: dict[type, str] = {
    bool: "true or false",
    dict: "a JSON object",
    list: "a JSON list",
    str: "a string",
}
