"""Keys, certificates, token and kubeconfig of one control plane, made anew with it."""

import datetime as dt
import ipaddress
import json
import secrets
from base64 import b64encode
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ollamaserve_dev.clusters.components import FIRST_SERVICE

DAYS_VALID = 30


def write(folder: Path, server: str) -> None:
    """Write all of them into `folder`; the kubeconfig's user is in system:masters."""
    authority = _key()
    issuer = _name("ollamaserve-dev")
    ca = _certificate(issuer, issuer, authority, authority, ca=True)
    serving = _key()
    certificate = _certificate(_name("kube-apiserver"), issuer, serving, authority, ca=False)
    token = secrets.token_urlsafe(32)
    for name, content in {
        "ca.crt": _pem(ca),
        "server.crt": _pem(certificate),
        "server.key": _private(serving),
        "accounts.key": _private(_key()),
        "tokens.csv": f'{token},admin,admin,"system:masters"\n'.encode(),
        "kubeconfig": json.dumps(kubeconfig(server, _pem(ca), token)).encode(),
    }.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)


def kubeconfig(server: str, ca: bytes, token: str) -> dict[str, object]:
    """A kubeconfig as JSON, which is YAML."""
    name = "ollamaserve-control-plane"
    authority = b64encode(ca).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [
            {"name": name, "cluster": {"server": server, "certificate-authority-data": authority}}
        ],
        "users": [{"name": name, "user": {"token": token}}],
    }


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    hosts = [
        x509.DNSName("localhost"),
        *(x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", FIRST_SERVICE)),
    ]
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=DAYS_VALID))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .sign(authority, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    """SEC 1, which the API server takes for service account keys as well."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
