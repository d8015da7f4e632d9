"""Tokens and GATE_CONFIG as files that change: followed, swapped whole, never replaced by junk."""

import asyncio
import json
import logging
from pathlib import Path

import pytest

from ollamaserve_sidecar import reload
from ollamaserve_sidecar.config import ConfigError, load
from ollamaserve_sidecar.policy import Access
from volume import Volume

NOW = 1_800_000_000.0


@pytest.fixture
def secret(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "tokens")


@pytest.fixture
def config_map(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "config")


def gate_json(**access: str) -> str:
    return json.dumps({"tokens": {name: {"access": tier} for name, tier in access.items()}})


def opened(secret: Volume, config_map: Volume | None = None) -> reload.Live:
    environ = {"GATE_TOKENS_DIR": str(secret.folder)}
    if config_map:
        environ["GATE_CONFIG"] = str(config_map.folder / "gate.json")
    return reload.Live(load(environ))


def access(live: reload.Live, value: bytes) -> Access | None:
    identity = live.tokens.find(value, NOW)
    return identity.access if identity else None


def test_the_environments_token_has_full_access() -> None:
    """G5: AUTH_TOKEN alone is the single container's mode, as in the original."""
    assert access(reload.Live(load({"AUTH_TOKEN": "the-token"})), b"the-token") is Access.FULL


def test_without_gate_config_only_auth_token_counts(secret: Volume) -> None:
    """G5: other files are ignored and counted."""
    secret.write(AUTH_TOKEN="the-token\n", admin="other-token", REVISION="r1\n")
    live = opened(secret)

    assert access(live, b"the-token") is Access.INFER
    assert access(live, b"other-token") is None
    assert live.status == reload.TokenStatus(("AUTH_TOKEN",), "r1", 1)


@pytest.mark.parametrize("environ", [{}, {"AUTH_TOKEN": ""}, {"AUTH_TOKEN": "white space"}])
def test_no_usable_token_is_refused(environ: dict[str, str]) -> None:
    """No token, an empty or a broken one: one line that says what to set."""
    with pytest.raises(ConfigError, match="AUTH_TOKEN") as error:
        reload.Live(load(environ))

    assert "\n" not in str(error.value)


def test_a_folder_without_a_named_token_is_refused(secret: Volume, tmp_path: Path) -> None:
    """At the start, no token in the folder is a mistake, not a revocation."""
    secret.write(other="the-token")
    with pytest.raises(ConfigError, match="no token"):
        opened(secret)
    with pytest.raises(ConfigError, match="no such folder"):
        reload.Live(load({"GATE_TOKENS_DIR": str(tmp_path / "nowhere")}))


def test_two_sources_are_refused(secret: Volume) -> None:
    secret.write(AUTH_TOKEN="the-token")
    with pytest.raises(ConfigError, match="both set"):
        reload.Live(load({"AUTH_TOKEN": "a-token", "GATE_TOKENS_DIR": str(secret.folder)}))


def test_short_tokens_warn(secret: Volume, caplog: pytest.LogCaptureFixture) -> None:
    """G9: fewer than 8 characters are accepted with a warning that doesn't repeat them."""
    secret.write(AUTH_TOKEN="hunter2")
    opened(secret)

    assert "AUTH_TOKEN is shorter" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_swapped_secret_is_taken_at_once(secret: Volume, config_map: Volume) -> None:
    """G6: after the swap of `..data` the new tokens are in force, and the revision is told."""
    secret.write(AUTH_TOKEN="first-token", REVISION="r1")
    config_map.write(gate_json=gate_json(AUTH_TOKEN="infer", admin="full"))
    live = opened(secret, config_map)
    changes: list[str] = []
    live.on_change.append(lambda: changes.append(live.status.revision))
    assert not live.check()
    secret.write(AUTH_TOKEN="second-token", admin="admins-token", REVISION="r2")
    assert live.check()
    assert not live.check()

    assert access(live, b"first-token") is None
    assert access(live, b"second-token") is Access.INFER
    assert access(live, b"admins-token") is Access.FULL
    assert live.status == reload.TokenStatus(("AUTH_TOKEN", "admin"), "r2", 0)
    assert (changes, live.reloads, live.failures) == (["r2"], 1, 0)


def test_a_changed_access_is_taken(secret: Volume, config_map: Volume) -> None:
    secret.write(AUTH_TOKEN="the-token")
    config_map.write(gate_json=gate_json(AUTH_TOKEN="read"))
    live = opened(secret, config_map)
    config_map.write(gate_json=gate_json(AUTH_TOKEN="manage"))
    assert live.check()

    assert access(live, b"the-token") is Access.MANAGE


def test_a_deleted_key_revokes(secret: Volume) -> None:
    """Decision 11: deleting the key revokes at once."""
    secret.write(AUTH_TOKEN="the-token")
    live = opened(secret)
    secret.write()
    assert live.check()

    assert access(live, b"the-token") is None
    assert live.status.error == ""


def test_a_swap_in_the_middle_of_reading(secret: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """G6: tokens and revision are of one version of the Secret, and the next one follows."""
    secret.write(AUTH_TOKEN="first-token", AUTH_TOKEN_NEXT="second-token", REVISION="r1")
    live = opened(secret)
    read = reload._read
    swaps = iter([{"AUTH_TOKEN": "second-token", "REVISION": "r3"}])

    def swap_after(path: Path) -> bytes:
        content = read(path)
        for files in swaps:
            secret.write(**files)
        return content

    secret.write(AUTH_TOKEN="first-token", AUTH_TOKEN_NEXT="second-token", REVISION="r2")
    monkeypatch.setattr(reload, "_read", swap_after)
    assert live.check()
    assert (live.status.revision, access(live, b"first-token")) == ("r2", Access.INFER)
    assert access(live, b"second-token") is Access.INFER
    assert live.check()
    assert (live.status.revision, access(live, b"first-token")) == ("r3", None)


@pytest.mark.parametrize("broken", ["", "white space", "x" * 513])
def test_a_broken_token_keeps_the_last_good_set(
    secret: Volume, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """G5: the error is shown, the old tokens stay, and a repair is taken."""
    secret.write(AUTH_TOKEN="the-token", REVISION="r1")
    live = opened(secret)
    secret.write(AUTH_TOKEN=broken, REVISION="r2")
    with caplog.at_level(logging.WARNING):
        assert not live.check()

    assert access(live, b"the-token") is Access.INFER
    assert (live.status.revision, live.failures) == ("r1", 1)
    assert "AUTH_TOKEN" in live.status.error
    assert "AUTH_TOKEN" in caplog.text
    secret.write(AUTH_TOKEN="new-token", REVISION="r3")
    assert live.check()
    assert (live.status.revision, live.status.error) == ("r3", "")


@pytest.mark.parametrize("broken", ["", "{", '{"tokens": 5}', '{"tokenz": {}}'])
def test_a_broken_gate_config_keeps_the_last_good_one(
    secret: Volume, config_map: Volume, broken: str
) -> None:
    """A typo in the ConfigMap changes nothing but the error."""
    secret.write(AUTH_TOKEN="the-token")
    config_map.write(gate_json=gate_json(AUTH_TOKEN="manage"))
    live = opened(secret, config_map)
    before = live.config
    config_map.write(gate_json=broken)
    assert not live.check()

    assert live.config is before
    assert access(live, b"the-token") is Access.MANAGE
    assert live.status.error


def test_a_file_written_in_place_is_taken(secret: Volume) -> None:
    """A bind-mounted folder, without kubelet's symlinks, works as well."""
    plain = secret.folder / "AUTH_TOKEN"
    plain.write_text("first-token")
    live = opened(secret)
    plain.write_text("another-token")
    assert live.check()

    assert access(live, b"another-token") is Access.INFER


async def test_follow_takes_a_change(secret: Volume) -> None:
    """The task notices by itself."""
    secret.write(AUTH_TOKEN="first-token")
    live = opened(secret)
    changed = asyncio.Event()
    live.on_change.append(changed.set)
    following = asyncio.create_task(reload.follow(live, interval=0.001))
    secret.write(AUTH_TOKEN="second-token")
    async with asyncio.timeout(10):
        await changed.wait()
    following.cancel()

    assert access(live, b"second-token") is Access.INFER
