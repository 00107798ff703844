"""One connection to an MQTT broker, by paho-mqtt: the one file that imports it.

Its network loop is ours: nothing of it runs in a thread of its own, and nothing is queued in it
beyond the message that is being written.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from slng_edge.errors import ControlError, MissingLibrary
from slng_edge.service.mqtt_address import BrokerAddress
from slng_edge.service.mqtt_topics import Message

try:
    from paho.mqtt import client as paho
    from paho.mqtt.enums import CallbackAPIVersion
except ModuleNotFoundError as missing:
    raise MissingLibrary("paho-mqtt", "mqtt.url", "pip install 'slng-edge[mqtt]'") from missing

KEEPALIVE_S = 30
"""Within one and a half of it the broker notices that we are gone, and says so to the others."""

CONNECT_TIMEOUT_S = 5.0

PACKET_LIMIT_BYTES = 1024 * 1024
"""What is longer ends the connection. A command has 64 KiB at most; one that is somewhat longer is
read and refused, as who kept it at the broker would else keep us away from it."""

RECEIVE_BUFFER_BYTES = 65536
"""Of the kernel. The library reads a hundred of them before it lets us look at a packet's length,
which MQTT allows to be 256 MB."""

READS_LIMIT = 16
"""Packets that one `move` takes out of a TLS record; the rest waits for the next."""

OnMessage = Callable[[str, bytes, bool], None]


class BrokerLost(ControlError):
    """There is no connection to the broker; the message says why."""


class BrokerClient:
    """A connection: made, used and closed by one thread.

    Args:
        address: Which broker, and as whom.
        password: "" for none.
        ca_file: More certificate authorities than the system's, "" for none.
        will: What the broker publishes when we vanish.
        on_message: Gets topic, payload, and whether the broker had kept the message.

    Raises:
        BrokerLost: it cannot be reached, or its certificate is not trusted. Waits for the name
            server, and at most `CONNECT_TIMEOUT_S` for each address and for TLS.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        password: str,
        ca_file: str,
        will: Message,
        on_message: OnMessage,
    ) -> None:
        self.accepted = False
        self._refusal = ""
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"slng-edge-{address.device}",
            clean_session=True,  # what was asked for while we were away is not to be done later
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = CONNECT_TIMEOUT_S
        self._client.on_connect = self._receive_answer
        self._client.on_message = lambda _client, _data, message: on_message(
            message.topic, bytes(message.payload), message.retain
        )
        with _translated():
            self._client.will_set(will.topic, will.payload, qos=1, retain=will.retained)
            if address.user or password:
                self._client.username_pw_set(address.user or None, password or None)
            if address.tls:
                context = ssl.create_default_context()
                # The system's own setting (openssl.cnf) may allow older ones.
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                if ca_file:
                    context.load_verify_locations(ca_file)
                self._client.tls_set_context(context)
            self._client.connect(address.host, address.port, keepalive=KEEPALIVE_S)
            sock = cast(socket.socket | None, self._client.socket())
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    def fileno(self) -> int:
        """The socket's descriptor, -1 once closed."""
        sock = self._client.socket()
        return -1 if sock is None else sock.fileno()

    @property
    def writes(self) -> bool:
        """Whether there is something that the socket did not take yet."""
        return self._client.want_write()

    @property
    def holds_decrypted(self) -> bool:
        """Whether TLS holds bytes that no poll shows."""
        pending = getattr(self._client.socket(), "pending", None)
        return pending is not None and pending() > 0

    def move(self, *, read: bool, write: bool) -> int:
        """Read and write what can be, keep the connection alive; call it every second at least.

        Returns:
            How often it has read: at most one packet each time, at most `READS_LIMIT` times.

        Raises:
            BrokerLost: the connection is gone, the broker refused us, or sends what it may not.
        """
        reads = 0
        with _translated():
            code = 0
            while read and not code and reads < READS_LIMIT:
                code = self._client.loop_read()
                reads += 1
                self._judge_packets()
                read = self.holds_decrypted
            if write and not code:
                code = self._client.loop_write()
            if not code:
                code = self._client.loop_misc()
        if self._refusal:
            raise BrokerLost(self._refusal)
        if code:
            raise BrokerLost(f"the connection was lost: {paho.error_string(code)}")
        return reads

    def publish(self, message: Message) -> None:
        """Begin to write `message`; one that waits to be written has to be over (`writes`).

        Raises:
            BrokerLost: the connection is gone.
        """
        with _translated():
            self._client.publish(message.topic, message.payload, qos=0, retain=message.retained)
        self._require_connection()

    def subscribe(self, *topics: str) -> None:
        """Have messages on `topics` handed to `on_message`.

        Raises:
            BrokerLost: the connection is gone.
        """
        with _translated():
            self._client.subscribe([(topic, 1) for topic in topics])
        self._require_connection()

    def take_leave(self, last: Message) -> None:
        """Publish `last` and say goodbye, where nothing else waits: then there will be no will.

        Raises:
            BrokerLost: the connection is gone.
        """
        if not self.writes:
            self.publish(last)
            with _translated():
                self._client.disconnect()

    def close(self) -> None:
        """Close the connection; idempotent."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        # It and we hold each other, and it holds what it has read of a packet.
        self._client.on_connect = self._client.on_message = None

    def _require_connection(self) -> None:
        # The library writes at once where it can, and closes its socket where that fails.
        if self._client.socket() is None:
            raise BrokerLost("the connection was lost while something was written")

    def _judge_packets(self) -> None:
        """Refuse what the library would keep without a bound; it offers no limit of its own."""
        length = getattr(self._client, "_in_packet", {}).get("remaining_length", 0)
        if length > PACKET_LIMIT_BYTES:
            raise BrokerLost(
                f"it sends a packet of {length} bytes; at most {PACKET_LIMIT_BYTES} are taken"
            )
        # They would be kept until the broker says that it has let go of them.
        if getattr(self._client, "_in_messages", ()):
            raise BrokerLost("it sends with QoS 2, which was not asked for")

    def _receive_answer(
        self, client: Any, data: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            self._refusal = f"it refused us: {reason}"
        else:
            self.accepted = True


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise BrokerLost(f"its certificate is not trusted: {error.verify_message}") from error
    except (OSError, ValueError) as error:
        raise BrokerLost(str(getattr(error, "strerror", None) or error)) from error
