"""What a broker is told, and under which topics: payloads alone, no connection."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from slng_edge import __version__
from slng_edge.events import Event, FinalHeard, Interrupted, PartialHeard, ReplyWritten, Stamped
from slng_edge.service.metrics import STATES
from slng_edge.service.mqtt_address import BrokerAddress

DISCOVERY_PREFIX = "homeassistant"
"""Where Home Assistant looks, unless it was told otherwise."""

ONLINE, OFFLINE = b"online", b"offline"

_WORDS: Mapping[type[Event], tuple[str, ...]] = {
    FinalHeard: ("text", "words"),
    ReplyWritten: ("text",),
    Interrupted: ("heard_text",),
}
"""The fields that hold what somebody said, or was told."""


class Message(NamedTuple):
    """What is published. `retained` is kept by the broker for whoever comes later."""

    topic: str
    payload: bytes
    retained: bool = False


class Topics:
    """The topics of this device."""

    def __init__(self, prefix: str) -> None:
        self.availability = f"{prefix}/availability"
        self.state = f"{prefix}/state"
        self.status = f"{prefix}/status"
        self.event = f"{prefix}/event"
        self.answer = f"{prefix}/answer"
        self.command = f"{prefix}/command"

    def command_name(self, topic: str) -> str | None:
        """What follows the command topic, "" for that itself; None for another topic."""
        if topic == self.command:
            return ""
        head, slash, name = topic.rpartition("/")
        return name if slash and head == self.command and name else None


def event_payload(stamped: Stamped, *, with_words: bool) -> bytes | None:
    """An event as it is published; None where it is not.

    What is still being said never is, and what was said only where the log has it too
    (`debug.log_transcripts`): a broker is read by many.
    """
    event = stamped.event
    if isinstance(event, PartialHeard):
        return None
    told = stamped.as_json()
    if not with_words:
        for name in _WORDS.get(type(event), ()):
            told.pop(name, None)
    return encoded(told)


def encoded(told: Mapping[str, Any]) -> bytes:
    """`told` as JSON."""
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")


def discovery(address: BrokerAddress, host_name: str) -> Iterator[Message]:
    """What makes Home Assistant show the device, one entity a message (MQTT discovery)."""
    topics = Topics(address.prefix)
    device = {
        "identifiers": [f"slng-edge-{address.device}"],
        "name": f"slng-edge {host_name}",
        "manufacturer": "SLNG",
        "model": "slng-edge",
        "sw_version": __version__,
    }
    for component, key, config in _entities(topics):
        told = {
            "unique_id": f"slng-edge-{address.device}-{key}",
            "availability_topic": topics.availability,
            "device": device,
            "origin": {"name": "slng-edge", "sw_version": __version__},
            **config,
        }
        topic = f"{DISCOVERY_PREFIX}/{component}/slng-edge-{address.device}/{key}/config"
        yield Message(topic, encoded(told), retained=True)


def _entities(topics: Topics) -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield (
        "sensor",
        "state",
        {
            "name": "State",
            "state_topic": topics.state,
            "device_class": "enum",
            "options": list(STATES),
            "icon": "mdi:account-voice",
        },
    )
    yield (
        "sensor",
        "turn",
        {
            "name": "Last answer",
            "state_topic": topics.status,
            "value_template": "{{ value_json.latencies.turn.total if value_json.latencies.turn "
            "is defined else None }}",
            "device_class": "duration",
            "unit_of_measurement": "ms",
            "state_class": "measurement",
            "entity_category": "diagnostic",
        },
    )
    yield (
        "switch",
        "mute",
        {
            "name": "Mute",
            "state_topic": topics.status,
            "value_template": "{{ 'ON' if value_json.muted else 'OFF' }}",
            "command_topic": f"{topics.command}/mute",
            "icon": "mdi:microphone-off",
        },
    )
    yield (
        "number",
        "volume",
        {
            "name": "Volume",
            "state_topic": topics.status,
            "value_template": "{{ value_json.volume }}",
            "command_topic": f"{topics.command}/volume",
            "min": 0,
            "max": 200,
            "step": 5,
            "mode": "slider",
            "unit_of_measurement": "%",
            "icon": "mdi:volume-high",
        },
    )
    for key, name, icon in (
        ("wake", "Listen", "mdi:microphone-message"),
        ("stop", "Stop", "mdi:stop"),
    ):
        topic = f"{topics.command}/{key}"
        yield "button", key, {"name": name, "command_topic": topic, "icon": icon}
    yield "notify", "say", {"name": "Say", "command_topic": f"{topics.command}/say"}
