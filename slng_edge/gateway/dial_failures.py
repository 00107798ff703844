"""What is wrong when there is no connection: DNS, TCP and TLS, each with what to do next."""

from __future__ import annotations

import errno
import socket
import ssl
from datetime import UTC, datetime

from slng_edge.errors import ConfigError, ConnectFailed
from slng_edge.gateway.byte_stream import TooMuchReceived
from slng_edge.gateway.name_resolution import NameNotAnswered
from slng_edge.gateway.upgrade_answer import NoAnswer
from slng_edge.protocol.decoding import server_words
from slng_edge.secrets import hide_known

# X509_V_ERR_* of OpenSSL: not yet valid, expired; another host name, another address.
_WRONG_TIME = (9, 10)
_WRONG_NAME = (62, 64)


def certificate_refused(where: str, error: ssl.SSLCertVerificationError) -> ConnectFailed:
    """Why TLS to `where` was refused by us, and what to do about it.

    With the time of this device, where that matters: without a battery it begins in the past.
    """
    if error.verify_code in _WRONG_TIME:
        now = datetime.now(UTC)
        advice = (
            f"check the clock of this device (`date`), which says {now:%Y-%m-%d %H:%M} UTC: it may "
            "not be set yet"
        )
    elif error.verify_code in _WRONG_NAME:
        advice = "it is another host's: check gateway.world_part or gateway.url"
    else:
        advice = (
            "its authority is not known here: name it in gateway.ca_file, or check gateway.url and "
            "whether a proxy opens TLS"
        )
    return ConnectFailed(
        f"the certificate of {where} was refused: {error.verify_message.rstrip('.')}; {advice}"
    )


_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""They pass, and say nothing of the file that cannot be opened."""

_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH")
_OLD_TLS = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION")


def connect_failed(where: str, named_by: str, error: Exception, timeout_s: float) -> ConnectFailed:
    """Why there is no connection.

    Args:
        where: Host and port, and the proxy between.
        named_by: The setting or variable that names the host.
        error: What dialling raised.
        timeout_s: How long it was given.
    """
    if isinstance(error, socket.gaierror):
        return ConnectFailed(
            f"the name of {where} cannot be resolved ({error.strerror}): "
            f"check the network, DNS and {named_by}"
        )
    if isinstance(error, NameNotAnswered):
        return ConnectFailed(
            f"the name of {where} could not be looked up within {timeout_s:g} s, as no name server "
            "answers: check the network and the name server (cat /etc/resolv.conf)"
        )
    if isinstance(error, TimeoutError):
        return ConnectFailed(f"{where} did not answer within {timeout_s:g} s")
    if isinstance(error, ConnectionRefusedError):
        return ConnectFailed(f"{where} refused the connection: nothing listens there")
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        if any(part in reason for part in _OLD_TLS):
            return ConnectFailed(f"{where} has no TLS 1.2 or newer, and older is not spoken")
        if any(part in reason for part in _NO_TLS):
            return ConnectFailed(
                f"{where} does not speak TLS on that port: check host and port in gateway.url"
            )
    if isinstance(error, TooMuchReceived):
        return ConnectFailed(f"{where} answers with more than any gateway does")
    if isinstance(error, NoAnswer):
        return ConnectFailed(f"no connection to {where}: {error.strerror}")
    # A library quotes what it could not read, at any length.
    return ConnectFailed(f"no connection to {where}: {server_words(hide_known(str(error)))}")


def tls_context(ca_file: str) -> ssl.SSLContext:
    """TLS 1.2 or newer, with the system's authorities and that of `ca_file`, "" for none.

    Raises:
        ConfigError: `ca_file` is not a readable PEM file.
        ConnectFailed: it cannot be read now: descriptors or memory have run out.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            if not isinstance(error, ssl.SSLError) and error.errno in _NO_ROOM:
                raise ConnectFailed(f"no connection: {error}") from error
            raise ConfigError(
                f"gateway.ca_file = {ca_file!r} cannot be used: {error}. "
                "It must be a readable PEM file with the certificate of the authority."
            ) from error
    return context
