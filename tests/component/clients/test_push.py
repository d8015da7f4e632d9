"""Who may push through the gate, and where to."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import ollama
import pytest

from component.clients.conftest import serving

NAMES = {"reader": "read", "user": "infer", "manager": "manage"}


@pytest.fixture(params=[True, False], ids=["egress", "no egress"])
def egress(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def client(
    ollama_server: str, tmp_path: Path, *, egress: bool
) -> Iterator[Callable[[str], ollama.Client]]:
    """A client with the token of that name."""
    (tmp_path / "tokens").mkdir()
    for name in NAMES:
        (tmp_path / "tokens" / name).write_text(f"token-of-{name}")
    tokens = {name: {"access": access} for name, access in NAMES.items()}
    (tmp_path / "gate.json").write_text(json.dumps({"tokens": tokens, "egress": egress}))
    files = {
        "GATE_TOKENS_DIR": str(tmp_path / "tokens"),
        "GATE_CONFIG": str(tmp_path / "gate.json"),
    }
    with serving(tmp_path, ollama_server, files) as (door, _), ExitStack() as clients:
        yield lambda name: clients.enter_context(
            ollama.Client(door, headers={"Authorization": f"Bearer token-of-{name}"}, timeout=60)
        )


def test_who_may_push(client: Callable[[str], ollama.Client], room: str, *, egress: bool) -> None:
    """Decision 12: it takes `manage`, and a pod that may go out; either refusal says what to do."""
    source, name = (
        f"{room}/{path}".removeprefix("http://") for path in ("library/tiny", "a/pushed")
    )
    for holder in ("reader", "user"):
        with pytest.raises(ollama.ResponseError, match="needs 'manage'") as refused:
            client(holder).push(name, insecure=True)
        assert refused.value.status_code == 403
    manager = client("manager")
    if not egress:
        with pytest.raises(ollama.ResponseError, match=r"spec\.networkPolicy\.egress") as refused:
            manager.push(name, insecure=True)
        assert refused.value.status_code == 403
        return
    manager.pull(source, insecure=True)
    manager.copy(source, name)

    assert manager.push(name, insecure=True).status == "success"
