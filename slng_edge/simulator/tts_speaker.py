"""The speaking thread of a text-to-speech connection.

It alone sends audio and what is ordered with it: `ready`, segments, terminals, `cleared`.
Commands reach it through one queue. `clear` empties the queue, raises the generation, which
makes the thread drop what it has in hand before the next chunk, and queues the answer: so
nothing of before comes after `cleared`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

from slng_edge.errors import StuckThread
from slng_edge.pcm import SAMPLE_BYTES, PcmFormat
from slng_edge.simulator.audio_messages import message_cuts, wav_header
from slng_edge.simulator.link import JOIN_S, Link
from slng_edge.simulator.synthesizers import SynthesisFailed, Synthesizer, ToneSynthesizer

log = logging.getLogger(__name__)

CHUNK_MS = 40
"""Audio of one message."""

_LATE_TEXT = "late"


@dataclass(frozen=True)
class Voice:
    """How a session wants its text spoken."""

    rate_hz: int
    speed: float = 1.0
    language: str = ""


@dataclass
class _Utterance:
    """What was said since the last flush."""

    bytes_sent: int = 0
    segment_id: str = ""
    first_due_s: float = 0.0


@dataclass(frozen=True)
class _Command:
    name: str
    text: str
    generation: int


class TtsSpeaker:
    """Speaks in a thread of its own; the methods are for the reading thread.

    Args:
        link: The connection.
        synthesizer: Turns text into sound.
        session_id: What `ready` says.
    """

    def __init__(self, link: Link, synthesizer: Synthesizer, session_id: str) -> None:
        self._link, self._synthesizer, self._session_id = link, synthesizer, session_id
        self._voice = Voice(0)
        self._queued = threading.Condition()
        self._commands: deque[_Command] = deque()
        self._generation = 0
        self._utterance = _Utterance()
        self._dropped = b""
        self._sequence = self._segments = 0
        name = f"gateway-tts-{link.record.number}-speaker"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, voice: Voice) -> None:
        """Say `ready`, then speak with `voice` what comes. Once."""
        self._voice = voice
        self._queue("ready")
        self._thread.start()

    def say(self, text: str) -> None:
        """Speak a sentence after those before it."""
        self._queue("say", text)

    def end_utterance(self) -> None:
        """Send the terminal when all of before is spoken."""
        self._queue("end")

    def clear(self) -> None:
        """Drop what is not sent yet and answer `cleared`."""
        with self._queued:
            self._generation += 1
            self._commands = deque(kept for kept in self._commands if kept.name == "ready")
        self._queue("clear")

    def stop(self) -> None:
        """Join the thread; the link has ended.

        Raises:
            StuckThread: it does not stop within 2 s.
        """
        with self._queued:
            self._queued.notify_all()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)
        if self._thread.is_alive():
            raise StuckThread(f"{self._thread.name} does not stop")

    def _queue(self, name: str, text: str = "") -> None:
        with self._queued:
            self._commands.append(_Command(name, text, self._generation))
            self._queued.notify_all()

    # ---- the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._carry_out_commands()
        except Exception:
            log.exception("%s failed", self._thread.name)
            self._link.close(1011, "internal error")

    def _carry_out_commands(self) -> None:
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
        voice = self._voice
        try:
            samples = self._synthesizer.synthesize(
                command.text, voice.rate_hz, speed=voice.speed, language=voice.language
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
        for start, end in self._cuts(len(pcm)):
            due_s = utterance.first_due_s + self._paced_s(utterance.bytes_sent)
            if self._pause(due_s - time.monotonic(), command.generation):
                self._dropped = pcm[start & ~1 :]
                return
            self._send_audio(pcm[start:end], utterance)

    def _start_segment(self, utterance: _Utterance) -> None:
        self._segments += 1
        utterance.segment_id = f"seg_{self._segments:03d}"
        utterance.first_due_s = time.monotonic()
        self._link.send_event("segment_start", segment_id=utterance.segment_id)

    def _send_audio(self, pcm: bytes, utterance: _Utterance) -> None:
        faults, rate_hz = self._link.faults, self._voice.rate_hz
        sent = utterance.bytes_sent
        utterance.bytes_sent += len(pcm)
        header = wav_header(rate_hz) if "wav_header" in faults and not sent else b""
        repeat, skip = faults.number("repeat_sequence"), faults.number("skip_sequence")
        if not (repeat or skip or "base64_audio" in faults):
            self._link.send_audio(pcm, rate_hz, header=header)
            return
        self._sequence += 1
        if skip and self._sequence % skip == 0:
            self._sequence += 1
        self._link.send_audio(pcm, rate_hz, self._sequence, header=header)
        if repeat and self._sequence % repeat == 0:
            self._link.send_audio(pcm, rate_hz, self._sequence, header=header)

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
                seconds = utterance.bytes_sent / SAMPLE_BYTES / self._voice.rate_hz
                self._link.send_event("audio_end", duration=round(seconds, 3))
        if "per_utterance_close" in faults:
            self._link.close(1000)

    def _answer_clear(self) -> None:
        faults, rate_hz = self._link.faults, self._voice.rate_hz
        utterance, self._utterance = self._utterance, _Utterance()
        late_bytes = PcmFormat(rate_hz).bytes(faults.number("late_audio_after_clear"))
        late, self._dropped = self._dropped[:late_bytes], b""
        while len(late) < late_bytes:
            tone = ToneSynthesizer().synthesize(_LATE_TEXT, rate_hz)
            late = (late + tone.astype("<i2").tobytes())[:late_bytes]
        for start, end in self._cuts(len(late)):
            self._send_audio(late[start:end], utterance)
        if not faults.spend("no_cleared"):
            self._link.send_event("cleared")

    # ---- chunks and pace ------------------------------------------------------------------

    def _cuts(self, length: int) -> list[tuple[int, int]]:
        step = PcmFormat(self._voice.rate_hz).bytes(CHUNK_MS)
        return message_cuts(length, step, odd="odd_frames" in self._link.faults)

    def _paced_s(self, sent: int) -> float:
        """When audio at this place of its utterance is due, in seconds from its start."""
        pace = self._link.faults.text("pace")
        if not pace:
            return 0.0
        factor = 1.0 if pace == "realtime" else float(pace)
        return sent / SAMPLE_BYTES / self._voice.rate_hz / max(factor, 1e-3)

    def _pause(self, seconds: float, generation: int | None) -> bool:
        """Wait; True at once when this generation was cleared or the connection has ended."""

        def over() -> bool:
            cleared = generation is not None and generation != self._generation
            return cleared or self._link.ended.is_set()

        with self._queued:
            return self._queued.wait_for(over, max(0.0, seconds))
