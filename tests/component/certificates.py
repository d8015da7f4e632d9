"""Certificates for the tests of TLS, in folders that are swapped as kubelet swaps a Secret's."""

import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey


def private(key: Key, password: bytes = b"") -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )


def common_name(certificate: bytes) -> str:
    subject = x509.load_der_x509_certificate(certificate).subject
    return str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def mount(folder: Path, cert: bytes, key: bytes) -> None:
    """Write or swap `tls.crt` and `tls.key` the way kubelet does: by one rename of `..data`."""
    revision = folder / f"..rev{len(list(folder.glob('..rev*')))}"
    revision.mkdir(parents=True)
    (revision / "tls.crt").write_bytes(cert)
    (revision / "tls.key").write_bytes(key)
    (folder / "..data_tmp").symlink_to(revision.name)
    (folder / "..data_tmp").rename(folder / "..data")
    for name in ("tls.crt", "tls.key"):
        if not os.path.lexists(folder / name):
            (folder / name).symlink_to(f"..data/{name}")
