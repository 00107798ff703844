"""One connection to an MQTT broker, by paho-mqtt: the one file that imports it.

Its network loop is ours: nothing of it runs in a thread of its own, and nothing is queued in it
beyond the message that is being written.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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
        self._client.will_set(will.topic, will.payload, qos=1, retain=will.retained)
        if address.user or password:
            self._client.username_pw_set(address.user or None, password or None)
        with _translated():
            if address.tls:
                context = ssl.create_default_context()
                if ca_file:
                    context.load_verify_locations(ca_file)
                self._client.tls_set_context(context)
            self._client.connect(address.host, address.port, keepalive=KEEPALIVE_S)

    def fileno(self) -> int:
        """The socket's descriptor, -1 once closed."""
        sock = self._client.socket()
        return -1 if sock is None else sock.fileno()

    @property
    def writes(self) -> bool:
        """Whether there is something that the socket did not take yet."""
        return self._client.want_write()

    def move(self, *, read: bool, write: bool) -> None:
        """Read and write what can be, keep the connection alive; call it every second at least.

        Raises:
            BrokerLost: the connection is gone, or the broker refused us.
        """
        with _translated():
            codes = []
            if read:
                codes.append(self._client.loop_read())
                while not codes[-1] and self._decrypted():
                    codes.append(self._client.loop_read())
            if write and not any(codes):
                codes.append(self._client.loop_write())
            if not any(codes):
                codes.append(self._client.loop_misc())
        if self._refusal:
            raise BrokerLost(self._refusal)
        if any(codes):
            raise BrokerLost(f"the connection was lost: {paho.error_string(max(codes))}")

    def publish(self, message: Message) -> None:
        """Begin to write `message`; one that waits to be written has to be over (`writes`)."""
        with _translated():
            self._client.publish(message.topic, message.payload, qos=0, retain=message.retained)

    def subscribe(self, *topics: str) -> None:
        """Have messages on `topics` handed to `on_message`."""
        with _translated():
            self._client.subscribe([(topic, 1) for topic in topics])

    def take_leave(self, last: Message) -> None:
        """Publish `last` and say goodbye, where nothing else waits: then there will be no will."""
        if not self.writes:
            self.publish(last)
            with _translated():
                self._client.disconnect()

    def close(self) -> None:
        """Close the connection; idempotent."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _decrypted(self) -> bool:
        """Whether TLS holds bytes that no poll shows."""
        pending = getattr(self._client.socket(), "pending", None)
        return pending is not None and pending() > 0

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
