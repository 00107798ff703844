"""The speech-to-text outbox: a journal of utterances with a send cursor.

An utterance stays in the journal, all of its audio and its finalize marker, until it is
answered. A new connection rewinds the cursor, so that what was in flight when the old one
broke is sent again from its start, and the live audio follows without a gap or a repeat.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from slng_edge.pcm import SAMPLE_BYTES


@dataclass(frozen=True)
class AudioDue:
    """Audio of one utterance is to be sent."""

    utterance: int
    pcm: bytes


@dataclass(frozen=True)
class FinalizeDue:
    """All audio of the utterance is out: `finalize` is to be sent."""

    utterance: int


@dataclass
class _Entry:
    utterance: int
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    sent: int = 0
    gone: int = 0
    ended: bool = False
    finalize_sent: bool = False


class UtteranceJournal:
    """What was said and not yet answered, in order.

    Args:
        keep_bytes: How much audio the journal holds at most. What comes on top
            pushes out the oldest audio of the oldest utterance.
        message_bytes: Whole samples; no message is larger. Waiting chunks are sent
            together up to this size, so that a backlog does not cost one message a frame.
    """

    def __init__(self, *, keep_bytes: int, message_bytes: int) -> None:
        self._keep_bytes = keep_bytes
        self._message_bytes = message_bytes
        self._entries: deque[_Entry] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def unsent_bytes(self) -> int:
        """Bytes of audio that the current connection has not got yet."""
        return sum(len(chunk) for entry in self._entries for chunk in entry.chunks[entry.sent :])

    def size_of(self, utterance: int) -> int:
        """Bytes of audio of the utterance, those that had to make room included."""
        return sum(each.size + each.gone for each in self._entries if each.utterance == utterance)

    def open(self, utterance: int) -> None:
        """Begin `utterance`; numbers rise."""
        self._entries.append(_Entry(utterance))

    def append(self, utterance: int, pcm: bytes) -> int:
        """Add audio to the utterance that was opened last.

        Returns:
            Bytes of the oldest audio that had to go, 0 where all of it fits.
            Audio of an utterance that is no longer kept is refused, and counts.
        """
        if not self._entries or self._entries[-1].utterance != utterance:
            return len(pcm)
        entry = self._entries[-1]
        entry.chunks += self._pieces(pcm)
        entry.size += len(pcm)
        self._size += len(pcm)
        return self._make_room()

    def end(self, utterance: int) -> None:
        """No more audio follows: `finalize` is due once all of it is out."""
        for entry in self._entries:
            if entry.utterance == utterance:
                entry.ended = True

    def forget(self, utterance: int) -> int:
        """Drop the utterance, answered or given up; returns the bytes it held."""
        for entry in self._entries:
            if entry.utterance == utterance:
                self._entries.remove(entry)
                self._size -= entry.size
                return entry.size
        return 0

    def cut(self, utterance: int) -> bool:
        """Send no more audio of the utterance; `finalize` is due for what is out.

        Returns:
            False where nothing of it was sent: then it is forgotten.
        """
        for entry in self._entries:
            if entry.utterance == utterance and (entry.sent or entry.gone):
                unsent = sum(map(len, entry.chunks[entry.sent :]))
                del entry.chunks[entry.sent :]
                entry.size -= unsent
                self._size -= unsent
                entry.ended = True
                return True
        self.forget(utterance)
        return False

    def rewind(self) -> list[tuple[int, int]]:
        """The connection is gone: everything that is not answered is due again.

        Returns:
            Utterances and how many bytes of each cannot be sent again: the gateway that
            had got them is gone, and they had to make room since.
        """
        gone = [(entry.utterance, entry.gone) for entry in self._entries if entry.gone]
        for entry in self._entries:
            entry.sent = 0
            entry.gone = 0
            entry.finalize_sent = False
        return gone

    @property
    def finalize_is_next(self) -> bool:
        """Whether `take` would give a `finalize`, and not audio or nothing."""
        for entry in self._entries:
            if entry.sent < len(entry.chunks):
                return False
            if entry.ended and not entry.finalize_sent:
                return True
        return False

    def halve_messages(self) -> None:
        """From now on no message is larger than half of what it was. Nothing may be in flight."""
        self._message_bytes = max(
            SAMPLE_BYTES, self._message_bytes // 2 // SAMPLE_BYTES * SAMPLE_BYTES
        )
        for entry in self._entries:
            entry.chunks = [piece for chunk in entry.chunks for piece in self._pieces(chunk)]

    def _pieces(self, pcm: bytes) -> list[bytes]:
        size = self._message_bytes
        return [pcm[start : start + size] for start in range(0, len(pcm), size)]

    def take(self) -> AudioDue | FinalizeDue | None:
        """What is to be sent next, oldest first; the cursor moves over it."""
        for entry in self._entries:
            if entry.sent < len(entry.chunks):
                return AudioDue(entry.utterance, self._take_chunks(entry))
            if entry.ended and not entry.finalize_sent:
                entry.finalize_sent = True
                return FinalizeDue(entry.utterance)
        return None

    def _take_chunks(self, entry: _Entry) -> bytes:
        start = entry.sent
        size = len(entry.chunks[start])
        entry.sent += 1
        while entry.sent < len(entry.chunks):
            size += len(entry.chunks[entry.sent])
            if size > self._message_bytes:
                break
            entry.sent += 1
        taken = entry.chunks[start : entry.sent]
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def _make_room(self) -> int:
        dropped = 0
        for entry in self._entries:
            count = 0
            while self._size > self._keep_bytes and count < len(entry.chunks):
                size = len(entry.chunks[count])
                count += 1
                entry.size -= size
                self._size -= size
                if count > entry.sent:
                    dropped += size
                else:
                    entry.gone += size  # the gateway has got it: only lost for a resend
            del entry.chunks[:count]
            entry.sent = max(0, entry.sent - count)
        return dropped
