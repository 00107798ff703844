"""When a silent peer is asked whether it lives, and when it is given up."""

from __future__ import annotations

from typing import TypeAlias

import pytest

from slng_edge.gateway.liveness import (
    ANSWER_S,
    CATCH_UP_BYTES_PER_S,
    LOOK_S,
    PING_AFTER_S,
    UNACKNOWLEDGED_S,
    Dead,
    Liveness,
    Ping,
    Vitals,
)

PING_BYTES = 7
Verdict: TypeAlias = Ping | Dead | None


class Peer:
    """A connection with a peer in a world of its own time; 0 is when it was made.

    `run` calls `expire` whenever it is due, and sends the pings that come of it.
    """

    def __init__(self, *, answers: bool = True, pongs: bool = True) -> None:
        self.now = 0.0
        self.liveness = Liveness(0.0)
        self.silent_since: float | None = 0.0
        self.answers = answers
        self.pongs = pongs
        self.acknowledges = True
        self.sent_bytes = 0
        self.acknowledged_bytes = 0
        self.answered = False
        self.pings: list[float] = []

    def send(self, size: int) -> None:
        self.sent_bytes += size
        if self.acknowledges:
            self.acknowledged_bytes = self.sent_bytes

    def expire(self) -> Verdict:
        verdict = self.liveness.expire(
            self.now,
            Vitals(self.silent_since, self.answered, self.sent_bytes, self.acknowledged_bytes),
        )
        if isinstance(verdict, Ping):
            self.pings.append(self.now)
            self.send(PING_BYTES)
            if self.answers and self.acknowledges:
                self.silent_since = self.now + 0.001
                self.answered = self.answered or self.pongs
        return verdict

    def run(self, until: float) -> Dead | None:
        """Live on until then, or until the peer is found dead; `now` is when."""
        while self.liveness.deadline() <= until:
            self.now = max(self.now, self.liveness.deadline())
            verdict = self.expire()
            if isinstance(verdict, Dead):
                return verdict
        self.now = until
        return None


def test_nothing_is_asked_before_the_peer_was_silent_for_a_while() -> None:
    """A ping is due 4.5 s after the last byte, and not before."""
    peer = Peer()
    peer.now = PING_AFTER_S - 0.01
    assert peer.expire() is None
    assert peer.liveness.deadline() == PING_AFTER_S
    peer.now = PING_AFTER_S
    assert peer.expire() == Ping()


def test_a_peer_that_is_heard_is_not_asked() -> None:
    """No ping goes into a connection that has just received data."""
    peer = Peer()
    for second in range(1, 100):
        peer.silent_since = second - 0.5
        assert peer.run(second) is None
    assert peer.pings == []


def test_a_peer_that_answers_lives_for_ever() -> None:
    """An hour of silence: a ping each 4.5 s, each answered."""
    peer = Peer()
    assert peer.run(3600) is None
    assert 3600 / PING_AFTER_S - 2 <= len(peer.pings) <= 3600 / PING_AFTER_S


def test_what_silence_costs() -> None:
    """Keepalives of 26 bytes each 5 s and the pings: under 960 bytes a minute, also over TLS."""
    peer = Peer()
    peer.run(60)
    assert len(peer.pings) * PING_BYTES + 12 * 26 < 960
    assert len(peer.pings) * (PING_BYTES + 22) + 12 * (26 + 22) < 50 * 60 * (640 + 8 + 22) / 2000


@pytest.mark.parametrize("after_s", [0.0, 0.01, 2.0, 4.49])
@pytest.mark.parametrize("live", [False, True])
def test_a_frozen_process_is_found_within_ten_seconds(after_s: float, live: bool) -> None:
    """It acknowledges, and does not answer; live audio that it is sent changes nothing."""
    peer = Peer()
    peer.run(PING_AFTER_S + after_s)
    frozen_at = peer.now
    peer.answers = False
    dead = None
    while dead is None and peer.now < 60:
        dead = peer.run(peer.now + 0.02)
        if live:
            peer.send(640)
    assert dead is not None
    assert "does not answer a ping" in dead.why
    assert peer.now - frozen_at <= PING_AFTER_S + LOOK_S + ANSWER_S + 0.05 < 10


@pytest.mark.parametrize("after_s", [0.0, 0.01, 2.0, 4.49])
@pytest.mark.parametrize("pongs", [True, False])
@pytest.mark.parametrize("keepalive", [True, False])
def test_a_host_that_is_gone_is_found_within_ten_seconds(
    after_s: float, pongs: bool, keepalive: bool
) -> None:
    """Whether it ever answered a ping or not: it acknowledges nothing any more."""
    peer = Peer(answers=pongs, pongs=pongs)
    peer.run(3 * PING_AFTER_S + after_s)
    gone_at = peer.now
    if keepalive:
        peer.send(26)
    peer.acknowledges = False
    dead = peer.run(60)
    assert dead is not None
    assert "acknowledges nothing" in dead.why
    assert peer.now - gone_at <= UNACKNOWLEDGED_S + LOOK_S < 10


def test_a_peer_that_never_answered_a_ping_is_not_given_up_for_it() -> None:
    """Some routes ignore pings; they are asked on, as that shows that their host lives."""
    peer = Peer(answers=False)
    assert peer.run(600) is None
    assert len(peer.pings) == pytest.approx(600 / PING_AFTER_S, abs=15)


def test_a_byte_that_is_no_pong_answers_as_well() -> None:
    """Whoever talks lives, also one that had answered pings and does so no more."""
    peer = Peer()
    peer.run(5)
    peer.answers = False
    for second in range(6, 100):
        peer.silent_since = second - 0.5
        assert peer.run(second) is None


def test_a_full_uplink_is_not_a_dead_peer() -> None:
    """A backlog that takes a minute to go out: the ping waits behind it, and the verdict too."""
    peer = Peer()
    peer.run(5)
    peer.acknowledges = False
    peer.send(2_000_000)
    while peer.acknowledged_bytes < peer.sent_bytes:
        peer.acknowledged_bytes = min(peer.sent_bytes, peer.acknowledged_bytes + 32_000)
        assert peer.run(peer.now + 1) is None
    assert peer.now > 60
    acknowledged_at = peer.now - 1
    dead = peer.run(200)
    assert dead is not None
    assert ANSWER_S <= peer.now - acknowledged_at <= LOOK_S + ANSWER_S


def test_an_uplink_that_stops_in_the_middle_of_a_backlog_is_dead() -> None:
    """What counts is that it moves."""
    peer = Peer()
    peer.run(5)
    peer.acknowledges = False
    peer.send(2_000_000)
    for _ in range(20):
        peer.acknowledged_bytes += 32_000
        assert peer.run(peer.now + 1) is None
    stopped_at = peer.now
    dead = peer.run(200)
    assert dead is not None
    assert "acknowledges nothing" in dead.why
    assert UNACKNOWLEDGED_S - LOOK_S - 1 <= peer.now - stopped_at <= UNACKNOWLEDGED_S


def test_a_peer_may_work_through_a_backlog_before_it_answers() -> None:
    """It took 30 s of speech at once: it has a second for every 4 s of them."""
    peer = Peer()
    peer.run(PING_AFTER_S + 4.4)
    peer.send(960_000)
    peer.answers = False
    dead = peer.run(100)
    assert dead is not None
    catching_up_s = 960_000 / CATCH_UP_BYTES_PER_S
    assert peer.now >= PING_AFTER_S + 0.001 + catching_up_s + ANSWER_S


def test_what_is_sent_after_a_ping_is_no_excuse() -> None:
    """A frozen peer does not live longer for being sent more."""
    peer = Peer()
    peer.run(5)
    peer.answers = False
    dead = None
    while dead is None and peer.now < 60:
        dead = peer.run(peer.now + 0.1)
        if peer.pings[-1] > 5:
            peer.send(100_000)
    assert peer.now <= 5 + PING_AFTER_S + LOOK_S + ANSWER_S + 0.2


def test_time_does_not_count_while_nobody_reads() -> None:
    """The answer lies unread where the reader is busy; the silence begins when it reads on."""
    peer = Peer()
    peer.run(5)
    peer.silent_since = None
    peer.answers = False
    assert peer.run(100) is None
    assert len(peer.pings) == 1
    peer.silent_since = 100.0
    assert peer.run(100 + PING_AFTER_S - 0.01) is None
    assert len(peer.pings) == 1
    assert peer.run(200) is not None
    assert peer.now <= 110


def test_a_reader_that_gets_busy_calls_off_the_question() -> None:
    """A ping was sent; what answers it may lie unread."""
    peer = Peer()
    peer.run(5)
    peer.answers = False
    peer.run(2 * PING_AFTER_S + 0.1)
    assert len(peer.pings) == 2
    peer.silent_since = None
    assert peer.run(30) is None


def test_a_look_that_comes_late_judges_nothing() -> None:
    """After the machine slept the answer may lie unread: there is a second look."""
    peer = Peer()
    peer.run(5)
    peer.answers = False
    peer.run(2 * PING_AFTER_S + LOOK_S + 0.1)
    peer.now = 1000.0
    assert peer.expire() is None
    peer.silent_since = 1000.1
    assert peer.run(1000 + PING_AFTER_S) is None


def test_a_second_look_judges() -> None:
    """It was late once; where nothing has come by the next look, nothing will."""
    peer = Peer()
    peer.run(5)
    peer.answers = False
    peer.run(2 * PING_AFTER_S + LOOK_S + 0.1)
    peer.now = 1000.0
    assert peer.expire() is None
    peer.now = 1000.0 + LOOK_S
    assert isinstance(peer.expire(), Dead)
