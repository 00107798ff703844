"""What went wrong with a server, in words: what failed, on what, what to do; pure."""

from __future__ import annotations

import json
import math
import re
import socket
import ssl
from datetime import datetime

from slng_edge.responders.socket_stream import NameNotAnswered, TookTooLong
from slng_edge.secrets import mask

LONGEST_WORDS = 200
"""Characters of what a server says that are repeated."""

_WRONG_TIME = (9, 10)
"""X509_V_ERR_* of OpenSSL: not yet valid, expired."""

_ADVICE = {
    401: "check the key in responder.api_key_file",
    402: "check the account's credit",
    403: "check the key in responder.api_key_file and what it may do",
    404: "check responder.url (most end in /v1) and responder.model",
    405: "check responder.url: it takes no POST",
    413: "lower responder.history_turns or shorten responder.system_prompt",
    429: "too many questions, or the account's quota is used up",
}


def no_connection(where: str, error: OSError, connect_s: float, now: datetime) -> str:
    """No connection to `where` came about; `now` is what the clock of this device says, in UTC."""
    match error:
        case NameNotAnswered():
            why = (
                f"no name server answers within {connect_s:g} s; check the network and the name "
                "server (cat /etc/resolv.conf)"
            )
        case TookTooLong():
            why = f"no connection within {connect_s:g} s; is the server on, and the network there?"
        case socket.gaierror():
            why = "its name is not known; check responder.url and the network"
        case ConnectionRefusedError():
            why = "nothing listens there; is the server running, and the port right?"
        case ssl.SSLCertVerificationError(verify_code=code, verify_message=said) if (
            code in _WRONG_TIME
        ):
            why = (
                f"its certificate is not trusted ({said}); check the clock of this device "
                f"(`date`), which says {now:%Y-%m-%d %H:%M} UTC"
            )
        case ssl.SSLCertVerificationError(verify_message=said):
            why = f"its certificate is not trusted ({said}); name its authority in gateway.ca_file"
        case ssl.SSLError():
            why = f"TLS failed ({error.reason or error}); is it an http:// address?"
        case _:
            why = f"the connection failed ({error.strerror or error})"
    return f"{where} cannot be reached: {why}"


def broken(name: str, error: Exception) -> str:
    """An answer of `name` broke off."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"{name} broke off in the middle of its answer ({reason})"


def refusal(name: str, status: int, page: bytes, location: str) -> str:
    """`name` answered with another status than 2xx."""
    if 300 <= status <= 399:
        said, advice = "", f"it sends us to {words(location)}: put that into responder.url"
    else:
        said = error_words(page)
        advice = _ADVICE.get(status, "its own log says more" if status >= 500 else "")
    text = f"{name} answered HTTP {status}" + (f": {said}" if said else "")
    return text + (f"; {advice}" if advice else "")


def error_words(page: bytes) -> str:
    """What an error page says, where it is JSON or a line of text; "a web page" for HTML."""
    text = page.decode("utf-8", "replace").strip()
    if text.startswith("<"):
        return "a web page"
    try:
        return error_message(json.loads(text))
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, [[[[…
        return words(text)


def error_message(value: object) -> str:
    """The message in what servers send: {"error": {"message": …}}, {"detail": …} and the like."""
    while isinstance(value, dict):
        names = ("error", "message", "detail", "code", "type")
        value = next((value[name] for name in names if value.get(name)), "")
    return words(value if isinstance(value, str) else json.dumps(value))


def words(text: str) -> str:
    """A server's own words, on one line, bounded, without a key that it may repeat."""
    line = " ".join(re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]", " ", mask(text)).split())
    return line if len(line) <= LONGEST_WORDS else f"{line[:LONGEST_WORDS]}…"


def retry_after_s(header: str) -> float | None:
    """The seconds of a `Retry-After`; None where there are none. A date counts as far away."""
    if not header.strip():
        return None
    try:
        seconds = float(header)
    except ValueError:
        return math.inf
    return seconds if seconds >= 0 else math.inf
