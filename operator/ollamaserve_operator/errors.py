"""What can go wrong at the border, in three kinds: each is handled in exactly one way.

`cluster` raises these, `reconcile` turns them into requeues and conditions; the pure rooms only
read them as values. No message ever holds a token, a prompt or a request body.
"""

from dataclasses import dataclass


class Transient(Exception):  # noqa: N818 - named for what is to be done about it
    """Try again: after `retry_after` seconds where the API server said so, else backed off."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class Refused(Exception):  # noqa: N818 - likewise
    """The API server will not take this object as it is; only a changed spec can help."""

    def __init__(self, kind: str, name: str, message: str) -> None:
        super().__init__(f"{kind} {name}: {message}")
        self.kind = kind
        self.name = name
        self.message = message


class NameConflict(Exception):  # noqa: N818 - likewise
    """An object of this name is there and is not ours: it stays untouched."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name} exists and is not owned by this resource")
        self.kind = kind
        self.name = name


@dataclass(frozen=True, slots=True)
class PatchRefused:
    """A patch of the spec that can't be, by its index; it is never raised, and stops every step."""

    index: int
    target: str
    message: str

    def __str__(self) -> str:
        return f"spec.patches[{self.index}] ({self.target}): {self.message}"


@dataclass(frozen=True, slots=True)
class StepFailure:
    """A step of a plan that was not done, and why; `kind` and `name` are the child's."""

    kind: str
    name: str
    error: Transient | Refused | NameConflict | PatchRefused
