"""Certificates for the gateway, good and bad, from an authority that lives as long as it does."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import ssl
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from slng_edge.errors import ConfigError, MissingLibrary

if TYPE_CHECKING:
    import trustme

FILE_NAME = "authority.pem"
_WRONG_NAME = "gateway.invalid"
_DAY = datetime.timedelta(days=1)


class Certificates:
    """An authority of the gateway's own, and what it signs.

    Only its certificate is ever on disk; its key is not, so that nobody else can sign with it.

    Args:
        host: The address that the gateway listens on.

    Attributes:
        ca_file: The path of the authority's certificate, once it is written.

    Raises:
        MissingLibrary: trustme is not installed.
    """

    def __init__(self, host: str) -> None:
        self._authority = _new_authority()
        self._names = [_identity(host), "localhost", "127.0.0.1", "::1"]
        self._lock = threading.Lock()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._temporary = ""
        self.ca_file = ""

    def write(self, folder: str | os.PathLike[str] | None) -> None:
        """Write the authority's certificate, `authority.pem`.

        Args:
            folder: Made when it is missing; None for a temporary one, which goes with `close`.

        Raises:
            ConfigError: it cannot be written.
        """
        path = Path(folder or "") / FILE_NAME
        try:
            if not folder:
                self._temporary = tempfile.mkdtemp(prefix="slng-edge-gateway-")
                path = Path(self._temporary) / FILE_NAME
            path.parent.mkdir(parents=True, exist_ok=True)
            self._authority.cert_pem.write_to_path(str(path))
        except OSError as error:
            self.close()
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error
        self.ca_file = str(path)

    def context(self, state: str) -> ssl.SSLContext:
        """A server's context whose certificate is as the fault `tls` says, "" for good."""
        with self._lock:
            if state not in self._contexts:
                self._contexts[state] = self._new_context(state)
            return self._contexts[state]

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _new_context(self, state: str) -> ssl.SSLContext:
        now = datetime.datetime.now(datetime.UTC)
        authority = _new_authority() if state == "unknown_authority" else self._authority
        names = [_WRONG_NAME] if state == "wrong_name" else list(dict.fromkeys(self._names))
        begins, ends = {
            "expired": (now - 2 * _DAY, now - _DAY),
            "not_yet_valid": (now + _DAY, now + 2 * _DAY),
        }.get(state, (now - _DAY, now + 365 * _DAY))
        certificate = authority.issue_cert(*names, not_before=begins, not_after=ends)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context


def _identity(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return "localhost" if address.is_unspecified else str(address)


def _new_authority() -> trustme.CA:
    try:
        import trustme
    except ImportError as error:
        raise MissingLibrary(
            "trustme", "a certificate for the local gateway", "pip install 'slng-edge[gateway]'"
        ) from error
    return trustme.CA()
