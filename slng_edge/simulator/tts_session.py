"""The text-to-speech side of the gateway, unified dialect (protocol.md, section 4).

The connection's thread reads; a second one speaks and is the only one that sends audio and
what is ordered with it (`ready`, segments, terminals, `cleared`). They meet in one queue of
commands. `clear` empties the queue, raises the generation, which makes the speaker drop what it
has in hand after the current chunk, and queues the answer: so nothing of before comes after it.
"""

from __future__ import annotations

import logging
import re
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from slng_edge.errors import StuckThread
from slng_edge.pcm import SAMPLE_BYTES, PcmFormat
from slng_edge.simulator.link import JOIN_S, Link
from slng_edge.simulator.synthesizers import SynthesisFailed, Synthesizer, ToneSynthesizer

log = logging.getLogger(__name__)

DEFAULT_RATE_HZ = 24000
CHUNK_MS = 40
_SENTENCE = re.compile(r".*?[.!?…](?=\s|$)", re.DOTALL)
_LATE_TEXT = "late"


@dataclass
class _Utterance:
    """What was said since the last flush."""

    bytes_sent: int = 0
    segment_id: str = ""
    first_due_s: float = 0.0


@dataclass
class _Command:
    name: str
    text: str = ""
    generation: int = field(default=0)


class TtsSession:
    """One client that wants text spoken; `run` is the connection's thread.

    Args:
        link: The connection.
        synthesizer: Turns text into sound.
        session_id: What `ready` says.
    """

    def __init__(self, link: Link, synthesizer: Synthesizer, session_id: str) -> None:
        self._link, self._synthesizer, self._session_id = link, synthesizer, session_id
        self._config: dict[str, Any] | None = None
        self._text = ""
        self._rate_hz = DEFAULT_RATE_HZ
        self._queued = threading.Condition()
        self._commands: deque[_Command] = deque()
        self._generation = 0
        self._utterance = _Utterance()
        self._dropped = b""
        self._sequence = self._segments = 0
        name = f"gateway-tts-{link.record.number}-speaker"
        self._speaker = threading.Thread(target=self._speak_commands, name=name, daemon=True)

    def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            StuckThread: the speaking thread does not stop.
        """
        self._speaker.start()
        try:
            for message in self._link.messages():
                if isinstance(message, bytes):
                    self._link.send_error("invalid_request", "audio is not taken here")
                else:
                    self._receive(message)
        finally:
            self._link.end()
            with self._queued:
                self._queued.notify_all()
            self._speaker.join(JOIN_S)
        if self._speaker.is_alive():
            raise StuckThread(f"{self._speaker.name} does not stop")

    # ---- the reading thread ---------------------------------------------------------------

    def _receive(self, message: dict[str, Any]) -> None:
        type_ = message["type"]
        if type_ == "init":
            self._init(message)
        elif type_ == "keepalive":
            pass
        elif type_ == "close":
            self._link.close(1000)
        elif type_ not in ("text", "flush", "clear"):
            self._link.send_error("invalid_request", f"unknown message type {type_!r}")
        elif self._config is None:
            self._link.send_error("not_ready", f"{type_} before init")
        elif type_ == "clear":
            self._clear()
        else:
            self._receive_text(message)

    def _init(self, message: dict[str, Any]) -> None:
        if self._config is not None:
            self._link.send_error("invalid_request", "init was sent already")
            return
        config = message.get("config", {})
        if not isinstance(config, dict):
            self._link.refuse("config_error", "init.config must be an object")
            return
        speed = config.get("speed", 1.0)
        if not isinstance(speed, int | float) or not 0.25 <= speed <= 4.0:
            self._link.refuse("config_error", f"speed {speed!r}: a number from 0.25 to 4")
            return
        rate_hz = self._link.checked_rate(config, DEFAULT_RATE_HZ)
        if rate_hz is None:
            return
        self._rate_hz = self._link.faults.number("wav_header") or rate_hz
        self._config = config
        self._queue("ready")

    def _receive_text(self, message: dict[str, Any]) -> None:
        text = message.get("text", "")
        if message["type"] == "text" and not isinstance(text, str):
            self._link.send_error("invalid_request", "text must be a string")
            return
        if message["type"] == "text":
            if len(text) > self._link.limits.text_characters:
                self._link.send_error(
                    "payload_too_large",
                    f"text of {len(text)} characters: {self._link.limits.text_characters} at most",
                )
                return
            self._text += text
            while match := _SENTENCE.match(self._text):
                self._queue("say", match[0])
                self._text = self._text[match.end() :]
        if message["type"] == "flush" or message.get("flush") is True:
            self._queue("say", self._text)
            self._queue("end")
            self._text = ""

    def _clear(self) -> None:
        self._text = ""
        with self._queued:
            self._generation += 1
            self._commands = deque(kept for kept in self._commands if kept.name == "ready")
        self._queue("clear")

    def _queue(self, name: str, text: str = "") -> None:
        with self._queued:
            self._commands.append(_Command(name, text, self._generation))
            self._queued.notify_all()

    # ---- the speaking thread --------------------------------------------------------------

    def _speak_commands(self) -> None:
        while True:
            with self._queued:
                self._queued.wait_for(lambda: self._commands or self._link.ended.is_set())
                if self._link.ended.is_set():
                    return
                command = self._commands.popleft()
            if command.name == "ready":
                self._pause(self._link.faults.number("ready_delay") / 1000, None)
                if "never_ready" in self._link.faults:
                    return
                self._link.send_event("ready", session_id=self._session_id)
            elif command.name == "say":
                self._say(command)
            elif command.name == "end":
                self._end_utterance()
            else:
                self._answer_clear()

    def _say(self, command: _Command) -> None:
        config = self._config or {}
        try:
            samples = self._synthesizer.synthesize(
                command.text,
                self._rate_hz,
                speed=float(config.get("speed", 1.0)),
                language=str(config.get("language") or ""),
            )
        except SynthesisFailed as error:
            log.warning("%s", error)
            self._link.send_error("provider_error", str(error))
            return
        pcm = samples.astype("<i2", copy=False).tobytes()
        if not pcm:
            return
        utterance = self._utterance
        if not utterance.bytes_sent:
            delay_s = self._link.faults.number("first_audio_delay") / 1000
            if self._pause(delay_s, command.generation):
                self._dropped = pcm
                return
            self._start_segment(utterance)
        for chunk_start, chunk_end in self._cuts(len(pcm)):
            due_s = utterance.first_due_s + self._paced_s(utterance.bytes_sent)
            if self._pause(due_s - time.monotonic(), command.generation):
                self._dropped = pcm[chunk_start & ~1 :]
                return
            self._send_audio(pcm[chunk_start:chunk_end], utterance)

    def _start_segment(self, utterance: _Utterance) -> None:
        self._segments += 1
        utterance.segment_id = f"seg_{self._segments:03d}"
        utterance.first_due_s = time.monotonic()
        self._link.send_event("segment_start", segment_id=utterance.segment_id)

    def _send_audio(self, pcm: bytes, utterance: _Utterance) -> None:
        faults = self._link.faults
        sent = utterance.bytes_sent
        utterance.bytes_sent += len(pcm)
        if "wav_header" in faults and not sent:
            pcm = _wav_header(self._rate_hz) + pcm
        repeat, skip = faults.number("repeat_sequence"), faults.number("skip_sequence")
        if not (repeat or skip or "base64_audio" in faults):
            self._link.send_audio(pcm, self._rate_hz)
            return
        self._sequence += 1
        if skip and self._sequence % skip == 0:
            self._sequence += 1
        self._link.send_audio(pcm, self._rate_hz, self._sequence)
        if repeat and self._sequence % repeat == 0:
            self._link.send_audio(pcm, self._rate_hz, self._sequence)

    def _end_utterance(self) -> None:
        utterance, self._utterance = self._utterance, _Utterance()
        faults = self._link.faults
        if utterance.segment_id:
            self._link.send_event("segment_end", segment_id=utterance.segment_id)
        if not faults.spend("no_terminal"):
            terminal = faults.text("terminal") or "flushed"
            if terminal != "audio_end":
                self._link.send_event("flushed")
            if terminal != "flushed":
                seconds = utterance.bytes_sent / SAMPLE_BYTES / self._rate_hz
                self._link.send_event("audio_end", duration=round(seconds, 3))
        if "per_utterance_close" in faults:
            self._link.close(1000)

    def _answer_clear(self) -> None:
        faults = self._link.faults
        utterance, self._utterance = self._utterance, _Utterance()
        late_bytes = PcmFormat(self._rate_hz).bytes(faults.number("late_audio_after_clear"))
        late, self._dropped = self._dropped[:late_bytes], b""
        while len(late) < late_bytes:
            tone = ToneSynthesizer().synthesize(_LATE_TEXT, self._rate_hz)
            late = (late + tone.astype("<i2").tobytes())[:late_bytes]
        for start, end in self._cuts(len(late)):
            self._send_audio(late[start:end], utterance)
        if not faults.spend("no_cleared"):
            self._link.send_event("cleared")

    # ---- chunks and pace ------------------------------------------------------------------

    def _cuts(self, length: int) -> list[tuple[int, int]]:
        """Where to cut `length` bytes into messages; odd lengths with `odd_frames`."""
        step = PcmFormat(self._rate_hz).bytes(CHUNK_MS)
        edges = list(range(0, length, step))
        if "odd_frames" in self._link.faults:
            edges = [edge + index % 2 for index, edge in enumerate(edges)]
        return list(zip(edges, [*edges[1:], length], strict=True))

    def _paced_s(self, sent: int) -> float:
        pace = self._link.faults.text("pace")
        if not pace:
            return 0.0
        factor = 1.0 if pace == "realtime" else float(pace)
        return sent / SAMPLE_BYTES / self._rate_hz / max(factor, 1e-3)

    def _pause(self, seconds: float, generation: int | None) -> bool:
        """Wait; True at once when this generation was cleared or the connection has ended."""

        def over() -> bool:
            cleared = generation is not None and generation != self._generation
            return cleared or self._link.ended.is_set()

        with self._queued:
            return self._queued.wait_for(over, max(0.0, seconds))


def _wav_header(rate_hz: int) -> bytes:
    """The header of a WAV stream whose length is not known yet."""
    endless = 0x7FFFF000
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", endless + 36, b"WAVE", b"fmt ", 16, 1, 1,
        rate_hz, rate_hz * SAMPLE_BYTES, SAMPLE_BYTES, 16, b"data", endless,
    )  # fmt: skip
