"""What is known of one utterance whose words are awaited: how far it is, and its finals so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from slng_edge.protocol.session_events import Final
from slng_edge.protocol.vocabulary import FinalTranscript

COVERED_SHARE = 0.9
"""Finals whose durations make up so much of the audio leave nothing to wait for."""

HURRIED_SHARE = 0.5
"""Audio that went out in less than half of the time it lasts was not sent as it was spoken."""


@dataclass
class AwaitedWords:
    """One utterance, from its beginning until it is answered or given up.

    Attributes:
        number: Its number.
        ended_at: When its audio was complete.
        kept: Whether a part of it was there before the connection that has it now.
        first_sent_at: When the first of it went out on this connection.
        finalize_sent_at: When `finalize` went out on this connection.
        hurried: Whether it was sent faster than it was spoken.
        settles_at: When the finals that came count as all of them, if nothing comes before.
        news_at: When something of it was heard last.
        replayed: Whether it was sent again because no final came.
        unwanted: Whether nobody waits for the words any more.
        finals_came: Whether any final came on this connection.
        given_out: Whether a part of the words is out already (recordings).
        finals: What came, in order.
    """

    number: int
    ended_at: float | None = None
    kept: bool = False
    first_sent_at: float | None = None
    finalize_sent_at: float | None = None
    hurried: bool = False
    settles_at: float | None = None
    news_at: float = 0.0
    replayed: bool = False
    unwanted: bool = False
    finals_came: bool = False
    given_out: bool = False
    finals: list[FinalTranscript] = field(default_factory=list)

    def begin_again(self) -> None:
        """A new connection: what was understood of it on the old one comes again."""
        self.kept = True
        self.finals.clear()
        self.finals_came = False

    def leave_connection(self) -> None:
        """The connection is gone, and what it was told with it."""
        self.first_sent_at = self.finalize_sent_at = self.settles_at = None
        self.hurried = False

    def sent(self, now: float) -> None:
        """Audio of it went out."""
        if self.first_sent_at is None:
            self.first_sent_at = now

    def asked(self, now: float, *, audio_s: float) -> None:
        """`finalize` went out, after `audio_s` seconds of audio."""
        self.finalize_sent_at = self.news_at = now
        began_at = now if self.first_sent_at is None else self.first_sent_at
        self.hurried = self.kept and now - began_at < HURRIED_SHARE * audio_s

    def covers(self, audio_s: float) -> bool:
        """Whether the finals speak of all of the audio, as far as they say of how much they do."""
        durations = [final.duration_s for final in self.finals if final.duration_s is not None]
        return bool(durations) and sum(durations) >= COVERED_SHARE * audio_s

    @property
    def chars(self) -> int:
        """How long the words so far are."""
        return sum(len(final.text) for final in self.finals)

    def text(self, more: str = "") -> str:
        """The words so far, and `more`."""
        return " ".join(part for part in (*(final.text for final in self.finals), more) if part)

    def final(self, finals: list[FinalTranscript], now: float) -> Final:
        """`finals` as one event."""
        spoken = [final for final in finals if final.text]
        confidences = [final.confidence for final in spoken if final.confidence is not None]
        durations = [final.duration_s for final in finals if final.duration_s is not None]
        asked_at = now if self.finalize_sent_at is None else self.finalize_sent_at
        return Final(
            utterance=self.number,
            text=" ".join(final.text for final in spoken),
            latency_s=now - asked_at,
            confidence=min(confidences, default=None),
            language=next((final.language for final in spoken if final.language), None),
            duration_s=sum(durations) if durations else None,
            words=tuple([word for final in finals for word in final.words]),
        )
