"""Ollama's client signatures: their form, their verification, their uses (decision G4)."""

import subprocess
import sys
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ollamaserve_sidecar import signature as room
from ollamaserve_sidecar.policy import Access
from ollamaserve_sidecar.signature import Fault, Memory, Signers, looks_signed, public_key
from ollamaserve_sidecar.tokens import Identity

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
RAW = KEY.public_key().public_bytes_raw()
LINE = KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
ADA = Identity("ada", Access.INFER)
NOW = 1_800_000_000.5
# RFC 8032, 5.1: the order of the group; a signature's second half is a number below it.
ORDER = (1 << 252) + 27742317777372353535851937790883648493
methods = st.sampled_from(["GET", "HEAD", "POST", "DELETE"])
paths = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?"))


def signers() -> Signers:
    return Signers.of({RAW: ADA}, Memory())


def header(signature: bytes, line: str = LINE) -> bytes:
    return line.split()[1].encode() + b":" + b64encode(signature)


def signed(challenge: str) -> bytes:
    return header(KEY.sign(challenge.encode()))


@given(methods, paths, st.integers(-30, 4))
def test_what_the_program_signs(method: str, path: str, shift: int) -> None:
    """Method, raw path and time, as Ollama's client puts them together."""
    target = f"/{path}?ts={int(NOW) + shift + 1}"
    value = signed(f"{method},{target}")

    assert looks_signed(value)
    assert signers().find(value, method, target, NOW) == ADA


@given(methods, paths, methods, paths)
def test_a_signature_holds_for_one_request(m1: str, p1: str, m2: str, p2: str) -> None:
    """Another method or another path isn't covered."""
    first, second = f"/{p1}?ts={int(NOW)}", f"/{p2}?ts={int(NOW)}"
    found = signers().find(signed(f"{m1},{first}"), m2, second, NOW)

    assert found == (ADA if (m1, first) == (m2, second) else Fault.INVALID)


@given(st.binary(max_size=300), methods, st.text(max_size=30))
def test_any_value_and_target(value: bytes, method: str, target: str) -> None:
    """Nothing raises; without the key's signature nobody is let in."""
    assert isinstance(signers().find(value, method, target, NOW), Fault)
    assert looks_signed(value) == (b":" in value and b" " not in value)


@given(st.data())
def test_one_bit_off(data: st.DataObject) -> None:
    """A changed bit of the signature, or of the key, is refused."""
    target = f"/api/tags?ts={int(NOW)}"
    value = bytearray(signed(f"GET,{target}"))
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] ^= 1 << data.draw(st.integers(0, 7))
    found = signers().find(bytes(value), "GET", target, NOW)

    # The last letter before the padding has four bits that belong to no byte.
    assert found in {Fault.INVALID, Fault.MALFORMED} or at == len(value) - 3


def test_a_signature_has_one_form() -> None:
    """A second valid signature can't be made of a first one, which would be a use uncounted."""
    target = f"/api/tags?ts={int(NOW)}"
    signature = KEY.sign(f"GET,{target}".encode())
    larger = int.from_bytes(signature[32:], "little") + ORDER
    forged = signature[:32] + larger.to_bytes(32, "little")

    assert signers().find(header(forged), "GET", target, NOW) is Fault.INVALID


@given(st.floats(-1e6, 1e6))
def test_the_window(shift: float) -> None:
    """From 30 s behind to 5 s ahead, and not a moment more."""
    at = int(NOW)
    target = f"/api/tags?ts={at}"
    found = signers().find(signed(f"GET,{target}"), "GET", target, at + shift)

    assert found == (ADA if -5 <= shift <= 30 else Fault.STALE)


@given(st.lists(st.floats(0, 8), max_size=24).map(sorted))
def test_the_uses(moments: list[float]) -> None:
    """16 uses within 5 s of the first; refused ones don't bring a new first."""
    held, target = signers(), f"/api/tags?ts={int(NOW)}"
    value = signed(f"GET,{target}")
    found = [held.find(value, "GET", target, NOW + moment) for moment in moments]

    assert found == [
        ADA if i < 16 and moment - moments[0] <= 5 else Fault.STALE
        for i, moment in enumerate(moments)
    ]


def test_refused_requests_leave_no_trace() -> None:
    """Only who holds a key can make the gate remember anything."""
    held, target = signers(), f"/api/tags?ts={int(NOW)}"
    stranger = Ed25519PrivateKey.generate()
    line = stranger.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    for value in (
        header(stranger.sign(f"GET,{target}".encode()), line),
        header(stranger.sign(f"GET,{target}".encode())),
        signed("GET,/api/tags"),
    ):
        assert held.find(value, "GET", target, NOW) is Fault.INVALID
    assert not held.memory._keys


def test_a_full_memory_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who fills the memory is refused; others aren't, and time makes room again."""
    monkeypatch.setattr(room, "REMEMBERED", 3)
    memory = Memory()
    uses = [memory.use(b"ada", bytes([i]), NOW + i) for i in range(5)]

    assert uses == [True, True, True, False, False]
    assert memory.use(b"ada", bytes([2]), NOW + 4)
    assert memory.use(b"bob", bytes([0]), NOW)
    assert not memory.use(b"ada", bytes([3]), NOW + 35)
    assert memory.use(b"ada", bytes([3]), NOW + 35.5)


class Remembering(RuleBasedStateMachine):
    """Whatever the order: a signature in its window is used 16 times, and within 5 s, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.now = Memory(), NOW
        self.used: dict[int, list[float]] = {}

    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(age=st.integers(-5, 30), count=st.integers(1, 20))
    def use(self, age: int, count: int) -> None:
        at = int(self.now - age)
        for _ in range(count):
            if -30 <= at - self.now <= 5 and self.memory.use(b"ada", b"%d" % at, self.now):
                self.used.setdefault(at, []).append(self.now)

    @invariant()
    def limits(self) -> None:
        for moments in self.used.values():
            assert len(moments) <= 16
            assert moments[-1] - moments[0] <= 5


TestRemembering = Remembering.TestCase


@pytest.mark.parametrize(
    "line", [LINE, LINE + "\n", LINE + " ada@example.com", LINE.replace(" ", "   "), LINE + "\r\n"]
)
def test_public_keys(line: str) -> None:
    """The line of `id_ed25519.pub`, with or without a comment."""
    assert public_key(line) == RAW


BLOB = LINE.split()[1]


@pytest.mark.parametrize(
    "line",
    [
        "",
        BLOB,
        "ssh-rsa " + BLOB,
        "ssh-ed25519 " + BLOB[:-1],
        "ssh-ed25519 " + BLOB[:-1] + "=",
        "ssh-ed25519 A" + BLOB[1:-1] + "A",
        "ssh-ed25519 " + BLOB + "A",
        "ssh-ed25519 " + b64encode(bytes(51)).decode(),
        'command="x" ' + LINE,
        LINE + "\n" + LINE,
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_other_keys(line: str) -> None:
    assert public_key(line) is None or public_key(line) != RAW


@given(st.text())
def test_any_line(line: str) -> None:
    """Nothing raises."""
    assert public_key("ssh-ed25519 " + line) is None


def test_nothing_is_imported_without_keys() -> None:
    """cryptography takes 8 MiB: a gate without keys doesn't load it."""
    script = (
        "import sys; from ollamaserve_sidecar import serve, signature;"
        "signature.Signers.of({}, signature.Memory()).find(b'a:b', 'GET', '/?ts=1', 0);"
        "sys.exit('cryptography' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
