"""Certificates for the tests of TLS, in folders that are swapped as kubelet swaps a Secret's."""

import datetime as dt
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey


def pair(name: str) -> tuple[bytes, bytes]:
    """A self-signed certificate for 127.0.0.1 whose common name is `name`, and its key; PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private(key)


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
