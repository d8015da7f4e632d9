"""TLS on port 7860 (decision G7): a certificate that is followed, and renewed without a restart.

The one room that reads GATE_TLS_CERT and GATE_TLS_KEY. Each change makes a context of its own,
which new handshakes switch to; connections that are open keep theirs. A broken pair replaces
nothing: the last good one stays, and `error` says why.
"""

from __future__ import annotations

import ctypes
import logging
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from ollamaserve_sidecar.fields import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from ollamaserve_sidecar.config import KeyPair

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 5.0
_MMAP_THRESHOLD, _KEPT = -3, 128 << 10


class Certificate:
    """The pair in force; the constructor raises ConfigError. The counts are for metrics.

    `context` is what a server listens with, for good.
    """

    def __init__(self, pair: KeyPair) -> None:
        self._pair = pair
        self._seen = self._fingerprint()
        self.context = self._current = _context(pair)
        self.context.sni_callback = self._switch
        self.error = ""
        self.reloads = self.failures = 0
        _return_buffers()

    def check(self) -> bool:
        """Load the pair again if a file has changed; true if the new one is now in force."""
        seen = self._fingerprint()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self._current = _context(self._pair)
        except ConfigError as broken:
            self.failures += 1
            self.error = str(broken)
            log.warning("kept the last good certificate: %s", broken)
            return False
        self.reloads += 1
        self.error = ""
        log.info("loaded the certificate in %s", self._pair.cert)
        return True

    def _switch(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        """OpenSSL calls this in each handshake, whether or not the client names a server."""
        connection.context = self._current

    def _fingerprint(self) -> tuple[object, ...]:
        return _identity(self._pair.cert), _identity(self._pair.key)


def _context(pair: KeyPair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    for name, path in (("GATE_TLS_CERT", pair.cert), ("GATE_TLS_KEY", pair.key)):
        _readable(name, path)
    try:
        context.load_cert_chain(pair.cert, pair.key, password=_no_password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = getattr(error, "reason", None) or "unreadable, not PEM, or encrypted"
        raise ConfigError(
            f"GATE_TLS_CERT {pair.cert} and GATE_TLS_KEY {pair.key} are no pair ({reason}):"
            " write the certificate with its chain, and its private key unencrypted, both as PEM"
        ) from None
    return context


def _no_password() -> str:
    """Without this, OpenSSL would ask on the terminal."""
    return ""


def _readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigError(
            f"{name} {path} can't be read ({error.strerror}): mount the file, or unset both"
            " GATE_TLS_CERT and GATE_TLS_KEY to serve without TLS"
        ) from None


def _identity(path: Path) -> tuple[object, ...]:
    """Changes with a swap of kubelet's `..data`, and with a write in place."""
    try:
        stat = path.stat()
        return str(path.resolve()), stat.st_mtime_ns, stat.st_size, stat.st_ino
    except OSError:
        return (str(path),)


def _return_buffers() -> None:
    """Have the C library give a closed connection's buffer back to the system.

    uvloop has one of 256 KiB for each TLS connection, of which little is ever touched. After the
    first is freed glibc would take such blocks from its heap (mallopt(3), M_MMAP_THRESHOLD), where
    their pages stay: with 500 connections that come and go, 5 MiB more each minute.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _KEPT)
