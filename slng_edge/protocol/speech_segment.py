"""One segment of a reply: what of it is still to be sent, and the audio that comes of it.

Audio may repeat a chunk, skip one, split a sample, and begin with a WAV header, in each segment
anew (protocol.md, 4); what a segment gives out are whole samples, each once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from slng_edge.pcm import SAMPLE_BYTES, SampleAligner
from slng_edge.protocol.session_events import Odd, ReplyAudio, SegmentBegan, TtsEvent
from slng_edge.protocol.vocabulary import Audio
from slng_edge.protocol.wav_header import WavHeaderStripper

REPEATS_WITHIN = 256
"""Chunks: one that comes again comes soon."""

PIECE_BYTES = 65536
"""Samples that are handed on at once: 1.4 s at 24 kHz."""

AUDIO_S = 30.0
AUDIO_S_A_CHARACTER = 0.5
"""The longest that a text can sound: 7 times as long as speech is, and a pause. A gateway that goes
on would have a device speak for ever."""


class SpeechSegment:
    """Texts of a reply that end with one `flush`; the owner serializes all calls.

    All times are seconds of a monotonic clock.

    Args:
        reply: Whose texts they are.
        texts: As they were handed in.
        messages: The texts as they are sent.
        begun_at: When it was put together.

    Attributes:
        reply: Whose texts they are.
        texts: As they were handed in.
        unsent: Messages with text that are still to be sent.
        flush_due: Whether `flush` is still to be sent.
        on_the_wire: Whether the connection has, or is about to get, the first of it.
        sounded: Whether any of its audio was given out.
        attempts: Connections that broke with it on the wire.
        overlong: Whether more audio came than the texts can sound.
    """

    def __init__(
        self, reply: int, texts: tuple[str, ...], messages: Iterable[str], begun_at: float
    ) -> None:
        self.reply = reply
        self.texts = texts
        self.attempts = 0
        self.sounded = False
        self.overlong = False
        self._audio_s = 0.0
        self._longest_s = AUDIO_S + AUDIO_S_A_CHARACTER * sum(map(len, texts))
        self._begun_at = begun_at
        self.send_again(messages)

    def send_again(self, messages: Iterable[str]) -> None:
        """The connection is gone: all of it is sent anew, and what came of it does not count."""
        self.unsent = deque(messages)
        self.flush_due = True
        self.on_the_wire = False
        self._news_at: float | None = None
        self._chunks: dict[tuple[int, int], None] = {}
        self._last_sequence: int | None = None
        self._aligner = SampleAligner()

    def cut_anew(self, messages: Iterable[str]) -> None:
        """Send these messages in place of those that are unsent."""
        self.unsent = deque(messages)

    def flushed(self, now: float) -> None:
        """`flush` went out: from now on audio is waited for."""
        self.flush_due = False
        self._news_at = now

    def silent_at(self, patience_s: float) -> float | None:
        """When no audio has come for `patience_s`; None while none is waited for."""
        return None if self._news_at is None else self._news_at + patience_s

    def give_up_waiting(self, now: float, patience_s: float) -> bool:
        """Whether no audio has come for `patience_s`; said once."""
        silent_at = self.silent_at(patience_s)
        if silent_at is None or now < silent_at:
            return False
        self._news_at = None
        return True

    def receive(
        self, audio: Audio, now: float, *, header: WavHeaderStripper, rate_hz: int
    ) -> list[TtsEvent]:
        """What a message of audio gives out.

        Args:
            audio: Of this segment, as the message carried it.
            now: The time.
            header: Of the connection, as only its first audio may name a rate.
            rate_hz: Of the audio, where no header says otherwise.

        Returns:
            A skipped chunk, the beginning of the segment, samples; nothing of a repeated chunk,
            and no samples where `header.unsupported` says why they cannot be played, or it
            is `overlong`.
        """
        events: list[TtsEvent] = []
        if audio.sequence is not None:
            chunk = (audio.sequence, hash(audio.data))
            if chunk in self._chunks:
                return []
            self._chunks[chunk] = None
            if len(self._chunks) > REPEATS_WITHIN:
                del self._chunks[next(iter(self._chunks))]
            last, self._last_sequence = self._last_sequence, audio.sequence
            if last is not None and audio.sequence > last + 1:
                events.append(Odd(f"audio sequence jumps from {last} to {audio.sequence}"))
        if self._news_at is not None:
            self._news_at = now
        pcm = self._aligner.receive(header.receive(audio.data))
        rate_hz = header.sample_rate_hz or rate_hz
        self._audio_s += len(pcm) / SAMPLE_BYTES / rate_hz
        self.overlong = self._audio_s > self._longest_s
        if header.unsupported or self.overlong or not pcm:
            return events
        if not self.sounded:
            self.sounded = True
            latency_s = now - self._begun_at
            events.append(SegmentBegan(self.reply, self.texts, latency_s, self._begun_at))
        for start in range(0, len(pcm), PIECE_BYTES):
            events.append(ReplyAudio(self.reply, pcm[start : start + PIECE_BYTES], rate_hz))
        return events
