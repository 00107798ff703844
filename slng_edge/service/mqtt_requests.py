"""Carries out what comes from an MQTT broker, and keeps what is to be answered."""

from __future__ import annotations

import collections
import logging
import math
import time
from typing import Any

from slng_edge.errors import SlngEdgeError
from slng_edge.service.control_commands import ControlCommands
from slng_edge.service.mqtt_commands import command_in
from slng_edge.service.mqtt_topics import Topics, encoded

log = logging.getLogger(__name__)

ANSWERS_LIMIT = 50
REFUSED_AGAIN_S = 60.0
"""Of what is refused a line is logged at most so often: who sends it may send much of it."""

RETAINED = "a retained command is not carried out; publish it without retain"


class BrokerRequests:
    """Takes messages, one thread's; never waits.

    Args:
        commands: Carries them out.
        topics: Those of this device.

    Attributes:
        answers: What to publish on the answer topic; older ones make room.
    """

    def __init__(self, commands: ControlCommands, topics: Topics) -> None:
        self.answers: collections.deque[bytes] = collections.deque(maxlen=ANSWERS_LIMIT)
        self._commands = commands
        self._topics = topics
        self._refused_at = -math.inf
        self._refused_since = 0

    def receive(self, topic: str, payload: bytes, *, retained: bool) -> bool:
        """Carry out what a message asks for; whether something was done."""
        name = self._topics.command_name(topic)
        if name is None:
            return False
        if retained:
            # Else it would be carried out after every reconnect.
            self._refuse(name, RETAINED)
            return False
        try:
            self._commands.carry_out(command_in(name, payload))
        except SlngEdgeError as error:
            self._refuse(name, str(error))
        except Exception as error:  # what is wrong with one command is not to end the service
            log.exception("a command from the MQTT broker failed")
            self._answer(name, ok=False, error=f"this is a bug, the log says more: {error!r}")
        else:
            self._answer(name, ok=True)
            return True
        return False

    def _refuse(self, name: str, error: str) -> None:
        now = time.monotonic()
        if now >= self._refused_at + REFUSED_AGAIN_S:
            more = f" ({self._refused_since} more since the last)" if self._refused_since else ""
            log.warning("a command from the MQTT broker was refused: %s%s", error, more)
            self._refused_at, self._refused_since = now, 0
        else:
            self._refused_since += 1
        self._answer(name, ok=False, error=error)

    def _answer(self, name: str, **answer: Any) -> None:
        self.answers.append(encoded({**({"command": name} if name else {}), **answer}))
