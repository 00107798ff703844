"""The CONNECT that opens a tunnel to the gateway through a corporate proxy.

The answer is read by `http.client`. websocket-client's own tunnel would do it on a socket that it
opens itself, without our deadline and TLS (`byte_stream`), and with no bound to what it reads.
The proxy resolves the gateway's name, and TLS is with the gateway, inside the tunnel.
"""

from __future__ import annotations

from io import BufferedReader, RawIOBase
from typing import Any

from slng_edge.errors import ConnectFailed, GatewayError, RequestRejected
from slng_edge.gateway.byte_stream import ByteStream
from slng_edge.protocol.decoding import server_words
from slng_edge.proxies import Proxy, authority
from slng_edge.secrets import mask

ANSWER_BYTES = 65536
"""More than any proxy says; the page with its reasons is not read."""

_PASSING = (408, 425, 429)


def open_tunnel(stream: ByteStream, proxy: Proxy, host: str, port: int) -> None:
    """Have `proxy`, to which `stream` is connected, connect it to the gateway.

    Waits within the deadline of `stream.connect`, and for at most `ANSWER_BYTES`.

    Raises:
        RequestRejected: the proxy refuses for good: the password (407), the target (403), the
            method. Repeating a wrong password locks accounts, so 407 is final as well.
        ConnectFailed: it cannot reach the gateway (5xx), or its answer is no HTTP.
        OSError: the connection broke, timed out, or brought too much.
    """
    from http.client import HTTPException, HTTPResponse

    target = authority(host, port)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    stream.allow(ANSWER_BYTES)
    stream.send("\r\n".join([*lines, "", ""]).encode("ascii"))
    # What http.client wants of a socket is `makefile`; with CONNECT it expects no body.
    response = HTTPResponse(_Answer(stream), method="CONNECT")  # type: ignore[arg-type]
    try:
        response.begin()
    except HTTPException as error:
        raise ConnectFailed(
            f"{proxy} did not answer as an HTTP proxy does ({type(error).__name__}): check the "
            "address in the variable"
        ) from error
    if not 200 <= response.status <= 299:
        challenges = response.headers.get_all("Proxy-Authenticate", [])
        raise _refusal(proxy, target, response.status, response.reason, challenges)
    stream.allow()


class _Answer(RawIOBase):
    """The stream as a file, byte by byte: what follows the answer is not the proxy's."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.recv(1)
        buffer[: len(data)] = data
        return len(data)

    def makefile(self, _mode: str) -> BufferedReader:
        return BufferedReader(self)


def _refusal(
    proxy: Proxy, target: str, status: int, reason: str, challenges: list[str]
) -> GatewayError:
    words = server_words(mask(reason))
    said = f"(HTTP {status}{': ' if words else ''}{words})"
    if status == 407:
        schemes = [challenge.split()[0] for challenge in challenges if challenge.strip()]
        if schemes and "basic" not in [scheme.lower() for scheme in schemes]:
            offered = server_words(mask(", ".join(schemes)))
            advice = f"it takes {offered}, and only Basic is spoken here: ask for an exemption"
        elif proxy.authorization:
            advice = f"it refused the user and password in ${proxy.variable}: check them"
        else:
            advice = (
                "it asks for a user and password: give them as "
                f"{proxy.variable}=http://USER:PASSWORD@HOST:PORT"
            )
        return RequestRejected(f"{proxy} wants authorization {said}; {advice}")
    what = f"{proxy} did not connect to {target} {said}"
    if 400 <= status <= 499 and status not in _PASSING:
        return RequestRejected(f"{what}; have {target} allowed there, or exempt it with NO_PROXY")
    return ConnectFailed(f"{what}; it will be tried again")
