"""A WebSocket as the sessions need it, and the one that the server gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection


class WireClosed(Exception):
    """The WebSocket is closed; nothing more comes or goes."""


class Wire(Protocol):
    """A WebSocket, whatever library serves it. All methods may be called from any thread."""

    def receive(self, timeout_s: float | None = None) -> str | bytes | None:
        """The next message, None after `timeout_s`; raises `WireClosed` at the end."""

    def send(self, message: str | bytes) -> None:
        """Send a message; raises `WireClosed` when that cannot be."""

    def close(self, code: int, reason: str) -> None:
        """Close with a handshake; harmless when it is closed."""

    def mute(self) -> None:
        """See `ConnectionSocket.mute`."""

    def reset(self) -> None:
        """Cut the TCP connection with a RST."""

    def freeze(self, *, swallow: bool) -> None:
        """See `ConnectionSocket.freeze`."""

    def slow_down(self, bytes_per_s: int) -> None:
        """See `ConnectionSocket.slow_down`."""

    def send_cut(self, message: str | bytes) -> None:
        """Send half of a message's frame, and end the TCP connection; raises `WireClosed`."""


class WebSocketWire:
    """A `Wire` over a connection of the websockets library.

    Args:
        websocket: The connection, whose socket is a `ConnectionSocket`.
        closed_error: What its methods raise when it is closed.
    """

    def __init__(self, websocket: ServerConnection, closed_error: type[Exception]) -> None:
        self._websocket = websocket
        self._socket: Any = websocket.socket  # our ConnectionSocket
        self._closed_error = closed_error

    @property
    def close_code(self) -> int:
        """The code of the side that closed first, 1006 where none did."""
        protocol = self._websocket.protocol
        # the library takes a close for sent that a reset or a freeze withheld
        ours = None if self._socket.withheld else protocol.close_sent
        theirs = protocol.close_rcvd
        first = theirs if protocol.close_rcvd_then_sent else ours or theirs
        return first.code if first is not None else 1006

    def receive(self, timeout_s: float | None = None) -> str | bytes | None:
        """See `Wire`."""
        try:
            return self._websocket.recv(timeout_s)
        except TimeoutError:
            return None
        except self._closed_error as error:
            raise WireClosed from error

    def send(self, message: str | bytes) -> None:
        """See `Wire`."""
        try:
            self._websocket.send(message)
        except self._closed_error as error:
            raise WireClosed from error

    def close(self, code: int, reason: str) -> None:
        """See `Wire`."""
        self._websocket.close(code, reason)

    def mute(self) -> None:
        """See `Wire`."""
        self._socket.mute()

    def reset(self) -> None:
        """See `Wire`."""
        self._socket.reset()

    def freeze(self, *, swallow: bool) -> None:
        """See `Wire`."""
        self._socket.freeze(swallow=swallow)

    def slow_down(self, bytes_per_s: int) -> None:
        """See `Wire`."""
        self._socket.slow_down(bytes_per_s)

    def send_cut(self, message: str | bytes) -> None:
        """See `Wire`."""
        self._socket.cut_next_frame()
        self.send(message)
