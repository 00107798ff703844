"""One reply on its way: its text, what of it has been spoken, and how long each step took.

Times are seconds of a monotonic clock, handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slng_edge.dialogue.heard_text import SpokenSegment, heard_text
from slng_edge.dialogue.sentences import SentenceSplitter


@dataclass(frozen=True)
class Latencies:
    """The parts of a turn in milliseconds, and their sum, to the millisecond."""

    speech_end_to_final: int
    final_to_reply: int
    reply_to_audio: int
    audio_to_sound: int
    total: int


@dataclass
class _Segment:
    text: str
    audio_ms: float = 0.0
    complete: bool = False


class Reply:
    """The reply of one turn.

    Args:
        turn: Number of the turn.
        number: Number of its utterance in the ring buffer, which its audio carries.
        speech_ended_at: When the question ended.
        final_at: When its words were known.
        answers: Whether it is an answer of the responder's, and not a text to be said.

    Attributes:
        asked: Number under which the responder was asked for it.
        cut: Whether the rest of its audio will not come.
        failed: Whether the responder failed at it.
        written: Whether no more text comes.
        unfinished: Whether the work on it was stopped before its end.
        sentences: How many of it can be spoken.
    """

    def __init__(
        self,
        turn: int,
        number: int,
        *,
        speech_ended_at: float,
        final_at: float,
        answers: bool = True,
    ) -> None:
        self.turn = turn
        self.number = number
        self.answers = answers
        self.asked = 0
        self.cut = False
        self.failed = False
        self.written = False
        self.unfinished = False
        self.sentences = 0
        self._speech_ended_at = speech_ended_at
        self._final_at = final_at
        self._text_sent_at: float | None = None
        self._audio_came_at: float | None = None
        self._splitter = SentenceSplitter()
        self._pieces: list[str] = []
        self._segments: list[_Segment] = []

    @property
    def text(self) -> str:
        """All that was written of it."""
        return "".join(self._pieces).strip()

    def receive_text(self, piece: str) -> list[str]:
        """Take a piece of the text; returns the sentences that can be spoken now."""
        self._pieces.append(piece)
        return self._count(self._splitter.receive(piece))

    def end_text(self) -> list[str]:
        """No more text follows; returns the sentences that are left."""
        self.written = True
        return self._count(self._splitter.end())

    def stop_writing(self) -> None:
        """The rest of the text will not come; a sentence that was begun is not spoken."""
        self.written = self.unfinished = True

    def begin_segment(self, texts: Sequence[str], *, sent_at: float, came_at: float) -> bool:
        """The first audio of `texts`, sent at `sent_at`, came; True for the reply's first."""
        self._segments.append(_Segment(" ".join(texts)))
        if self._audio_came_at is not None:
            return False
        self._text_sent_at, self._audio_came_at = sent_at, came_at
        return True

    def receive_audio(self, audio_ms: float) -> None:
        """More audio of the segment begun last."""
        self._segments[-1].audio_ms += audio_ms

    def end_segment(self) -> None:
        """All audio of the segment begun last has come."""
        if self._segments:
            self._segments[-1].complete = True

    @property
    def segments(self) -> list[SpokenSegment]:
        """What was sent to be spoken so far, and how much of it has come."""
        return [SpokenSegment(part.text, part.audio_ms, part.complete) for part in self._segments]

    def heard(self, played_ms: float) -> str:
        """The words that were heard when `played_ms` of it had been played."""
        return heard_text(self.segments, played_ms)

    def latencies(self, sound_at: float) -> Latencies | None:
        """How long each step took, when its first sample sounds at `sound_at`."""
        if self._text_sent_at is None or self._audio_came_at is None:
            return None
        # Rounded before they are subtracted: the parts make up the whole.
        final, text, audio, sound = (
            round((at - self._speech_ended_at) * 1000)
            for at in (self._final_at, self._text_sent_at, self._audio_came_at, sound_at)
        )
        return Latencies(
            speech_end_to_final=final,
            final_to_reply=text - final,
            reply_to_audio=audio - text,
            audio_to_sound=sound - audio,
            total=sound,
        )

    def _count(self, sentences: list[str]) -> list[str]:
        # A dash or a smiley on its own is nothing to say, and some routes refuse it.
        speakable = [text for text in sentences if any(map(str.isalnum, text))]
        self.sentences += len(speakable)
        return speakable
