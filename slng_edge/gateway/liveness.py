"""When to ask a silent peer whether it lives, and when to give it up. Pure: `now` is handed in.

Whatever dies is to be noticed within 10 s. There are two witnesses, and each sees one death:

* The peer's **kernel** acknowledges what was sent. A host, a router or a radio that is gone is
  one that acknowledges nothing, and to see that there must be something to acknowledge.
* The peer's **process** answers pings. One that is frozen, or half open behind a proxy, has a
  kernel that goes on acknowledging; only the missing answer tells.

So after `PING_AFTER_S` without a byte from the peer it is sent a ping. From there on:

    ping ──▶ not acknowledged ── nothing at all for UNACKNOWLEDGED_S ───────────────▶ dead
                │ a slow uplink acknowledges little by little: each bit begins the wait anew
                ▼
             acknowledged ── never answered a ping before ──▶ its host lives: ask again later
                │
                └── answers pings, and nothing for ANSWER_S after it ──────────────▶ dead

Any byte received, not only a pong, ends the wait: a peer that talks lives. That keeps pings out
of connections on which something is heard.

What is not held against a peer:

* **A full uplink.** While a backlog is resent, the ping stands behind it in our own kernel. The
  wait for its answer begins with its acknowledgement; which byte that is, is counted.
* **A backlog on the peer's side.** It answers pings in order, after the audio that came before.
  It is taken to work through that at `CATCH_UP_BYTES_PER_S`; live audio is slower and adds
  nothing, 30 s of speech at once add 7.5 s to the wait.
* **A reader of ours that is busy.** Who does not read sees no answer: time counts only while a
  thread waits for bytes (`Vitals.silent_since`).
* **A machine that slept.** A look that comes later than it was due judges nothing, as the answer
  may lie unread: it looks again.

Who sends may be waiting for room meanwhile, and cannot look: `ByteStream.send` then gives up by the
same measure, nothing acknowledged for `connection.SEND_TIMEOUT_S`. What remains unnoticed is a
frozen process that never answered a ping and is sent too little to fill its buffers: there the
deadlines of the protocol (`ready`, final, first audio) have to do.

Measured with two hosts in network namespaces, from the death to its being noticed: silent with
keepalives, host gone 5.5 to 7.7 s, process frozen 6.0 to 8.2 s (9.0 and 9.5 where it dies right
after its last byte); in live audio, host gone 8.3 to 8.9 s, frozen 6.0 to 8.2 s; sending flat out,
gone, frozen or not reading 8.8 to 9.2 s. 30 s of speech resent over 256 kbit/s ended nothing.

Cost in silence: one ping of 7 bytes each 4.5 s, 93 bytes a minute, 29 and 390 over TLS.
"""

from __future__ import annotations

from dataclasses import dataclass

PING_AFTER_S = 4.5
LOOK_S = 0.5
"""How often is looked whether a ping was acknowledged."""
ANSWER_S = 4.5
UNACKNOWLEDGED_S = 9.0
"""4.5 + 0.5 + 4.5 and 9.0 leave half a second of the 10 s (protocol.md) to a busy machine."""
CATCH_UP_BYTES_PER_S = 128_000
"""Four times real time at 16 kHz; more than the 96,000 of live audio at 48 kHz."""
OVERSLEPT_S = 1.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a connection knows of its peer at one moment.

    Attributes:
        silent_since: `time.monotonic()` since when a thread has been waiting for bytes; None
            while nobody waits.
        answers_pings: Whether it ever answered one.
        sent_bytes: Given to the kernel since the connection was made.
        acknowledged_bytes: Of those, what the peer's kernel has acknowledged.
    """

    silent_since: float | None
    answers_pings: bool
    sent_bytes: int
    acknowledged_bytes: int


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping is to be sent, before anything else."""


@dataclass(frozen=True, slots=True)
class Dead:
    """The peer is gone; `why` is for the log."""

    why: str


@dataclass(slots=True)
class _Asked:
    at: float
    end_bytes: int
    answer_by: float | None = None


class Liveness:
    """The watch over one connection, kept by the one thread that sends.

    Args:
        now: `time.monotonic()` at which the connection was made.
    """

    def __init__(self, now: float) -> None:
        self._look_at = now + PING_AFTER_S
        self._looked_at = now
        self._acknowledged_bytes = 0
        self._caught_up_at = now
        self._host_lived_at = now
        self._asked: _Asked | None = None

    def deadline(self) -> float:
        """When `expire` has to be called next; moves only in `expire`."""
        return self._look_at

    def expire(self, now: float, vitals: Vitals) -> Ping | Dead | None:
        """What follows from `vitals`; None before the deadline and where all is well.

        After `Ping` the caller sends one at once; after `Dead` it ends the connection.
        """
        if now < self._look_at:
            return None
        overslept = now > self._look_at + OVERSLEPT_S
        self._account(now, vitals.acknowledged_bytes)
        since = vitals.silent_since
        if since is None:
            self._asked = None
            self._look_at = now + PING_AFTER_S
            return None
        if self._asked is not None and since > self._asked.at:
            self._asked = None
        if self._asked is not None:
            dead = self._judge(self._asked, now, since, vitals)
            if dead is not None and overslept:
                self._look_at = now + LOOK_S
                return None
            if dead is not None or self._asked is not None:
                return dead
        due = max(since, self._host_lived_at) + PING_AFTER_S
        if now < due:
            self._look_at = due
            return None
        # The ping is the next thing sent: the byte after all that was sent before is of it.
        self._asked = _Asked(now, vitals.sent_bytes + 1)
        self._look_at = now + LOOK_S
        return Ping()

    def _account(self, now: float, acknowledged_bytes: int) -> None:
        before, self._looked_at = self._looked_at, now
        moved_bytes = acknowledged_bytes - self._acknowledged_bytes
        self._acknowledged_bytes = acknowledged_bytes
        self._caught_up_at = max(self._caught_up_at, before) + moved_bytes / CATCH_UP_BYTES_PER_S
        if moved_bytes > 0 and self._asked is not None:
            # At some time since the last look; the earliest keeps the promise of 10 s.
            self._host_lived_at = before

    def _judge(self, asked: _Asked, now: float, since: float, vitals: Vitals) -> Dead | None:
        if vitals.acknowledged_bytes < asked.end_bytes:
            until = max(since, self._host_lived_at) + UNACKNOWLEDGED_S
            self._look_at = min(now + LOOK_S, until)
            why = "it acknowledges nothing of what it is sent"
        elif not vitals.answers_pings:
            self._asked = None
            return None
        else:
            if asked.answer_by is None:  # once, as what is sent after the ping is no excuse
                after_s = (vitals.acknowledged_bytes - asked.end_bytes) / CATCH_UP_BYTES_PER_S
                asked.answer_by = max(now, self._caught_up_at - after_s) + ANSWER_S
            self._look_at = until = asked.answer_by
            why = "it does not answer a ping"
        if now < until:
            return None
        return Dead(f"nothing came from the gateway for {now - since:.1f} s, and {why}")
