"""Ollama client keys for the gate's tests, and the header that such a client sends."""

from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def line(key: Ed25519PrivateKey) -> str:
    """What is in `id_ed25519.pub`."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def signed(key: Ed25519PrivateKey, method: str, path: str, at: float) -> tuple[str, str]:
    """The target of a request made at this time, and its Authorization."""
    target = f"{path}?ts={int(at)}"
    signature = b64encode(key.sign(f"{method},{target}".encode())).decode()
    return target, f"{line(key).split()[1]}:{signature}"
