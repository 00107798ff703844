"""Two plans on the free tier: one place, which speech-to-text and text-to-speech take in turns."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.connecting.connection_plan import TURN_S, Act, ConnectionPlan, Situation
from slng_edge.connecting.model_choice import ModelChoice
from slng_edge.gateway.connection_budget import Claim, ConnectionBudget

STEP_S = 0.1
HANDSHAKE_S = 0.3
GOODBYE_S = 0.2
PIECE_S = 1.0


@dataclass
class Piece:
    """A part of a job that is under way on the connection: nothing may change until it is done."""

    until: float


@dataclass
class Session:
    """A session as its link drives it, with jobs of some pieces each and pauses between them."""

    plan: ConnectionPlan
    claim: Claim
    rests_between_pieces: bool
    now: float = 0.0
    jobs: list[list[float]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    active: bool = False
    coming_ready_at: float | None = None
    leaving: list[float] = field(default_factory=list)
    piece: Piece | None = None
    decisions: int = 0

    def add_job(self, pieces: int) -> None:
        self.jobs.append([self.now, float(pieces)])

    def step(self, now: float) -> None:
        self.now = now
        while self.leaving and self.leaving[0] <= now:
            self.leaving.pop(0)
            self.claim.give_back()
        if self.coming_ready_at is not None and now >= self.coming_ready_at:
            self.plan.coming_ready(now)
        self.work()
        while self.decide():
            self.decisions += 1
            assert self.decisions < 10 + 20 * now / STEP_S

    def work(self) -> None:
        if self.piece is not None and self.now >= self.piece.until:
            self.piece = None
            self.jobs[0][1] -= 1
            if self.jobs[0][1] == 0:
                asked_at, _ = self.jobs.pop(0)
                self.waits.append(self.now - asked_at)
            elif not self.rests_between_pieces:
                self.piece = Piece(self.now + PIECE_S)

    def begin_piece(self) -> None:
        """The plan is asked first: it could take every pause."""
        if self.active and self.jobs and self.piece is None:
            self.piece = Piece(self.now + PIECE_S)

    def decide(self) -> bool:
        situation = Situation(
            pressing=bool(self.jobs),
            at_rest=self.piece is None and (self.rests_between_pieces or not self.jobs),
            place_free=self.claim.free,
            place_wanted=self.claim.wanted_by_another,
        )
        decision = self.plan.decide(self.now, situation)
        pressing = self.plan.wants_place(situation)
        match decision and decision.act:
            case Act.OPEN:
                if self.claim.take():
                    self.coming_ready_at = self.now + HANDSHAKE_S
                else:
                    self.plan.not_opened()
            case Act.TAKE_OVER:
                if self.active:
                    self.leaving.append(self.now + GOODBYE_S)
                self.active, self.coming_ready_at = True, None
            case Act.RETIRE:
                assert self.piece is None
                self.active = False
                self.leaving.append(self.now + GOODBYE_S)
            case Act.DROP_COMING:
                self.coming_ready_at = None
                self.leaving.append(self.now + GOODBYE_S)
        self.claim.press(pressing)
        return decision is not None


def free_tier() -> tuple[Session, Session]:
    """Speech-to-text, which stands, and text-to-speech, which comes when there is a reply."""
    budget = ConnectionBudget(1)

    def session(*, standing: bool) -> Session:
        return Session(
            ConnectionPlan(
                ModelChoice(("a",), cooldown_s=100.0),
                duration_s=300.0,
                standing=standing,
                resends=standing,
                uniform=lambda low, high: high,
            ),
            budget.claim(lambda: None),
            rests_between_pieces=not standing,
        )

    return session(standing=True), session(standing=False)


def run(stt: Session, tts: Session, begin_s: float, end_s: float) -> None:
    """Let the time pass."""
    for count in range(round(begin_s / STEP_S), round(end_s / STEP_S)):
        now = count * STEP_S
        for session in (stt, tts):
            session.step(now)
        for session in (stt, tts):
            session.begin_piece()
        assert stt.active + tts.active <= 1
        held = sum(
            each.active + (each.coming_ready_at is not None) + len(each.leaving)
            for each in (stt, tts)
        )
        assert held <= 1


def test_both_find_out_that_they_can_connect_and_speech_to_text_stays() -> None:
    """It has the place while nothing is to be said."""
    stt, tts = free_tier()
    run(stt, tts, 0.0, 5.0)
    assert (stt.active, tts.active) == (True, False)
    before = (stt.decisions, tts.decisions)
    run(stt, tts, 5.0, 60.0)
    assert (stt.decisions, tts.decisions) == before


def test_a_reply_gets_the_place_after_the_words_and_gives_it_back() -> None:
    """A turn of a conversation costs two handshakes and no more."""
    stt, tts = free_tier()
    run(stt, tts, 0.0, 5.0)
    stt.add_job(2)
    run(stt, tts, 5.0, 8.0)
    assert stt.waits == [pytest.approx(2.0, abs=2 * STEP_S)]
    tts.add_job(3)
    run(stt, tts, 8.0, 13.0)
    assert stt.active
    assert tts.waits[0] < 3 * PIECE_S + HANDSHAKE_S + GOODBYE_S + 5 * STEP_S


def test_a_long_reply_gives_way_in_a_pause_to_words_that_wait() -> None:
    """After its turn; and goes on when they are answered."""
    stt, tts = free_tier()
    run(stt, tts, 0.0, 5.0)
    tts.add_job(30)
    run(stt, tts, 5.0, 7.0)
    stt.add_job(1)
    run(stt, tts, 7.0, 5.0 + TURN_S + 5.0)
    assert len(stt.waits) == 1
    assert stt.waits[0] < TURN_S + 2 * PIECE_S
    run(stt, tts, 5.0 + TURN_S + 5.0, 60.0)
    assert len(tts.waits) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(1, 4), st.sampled_from([0.0, 0.5, 2.0, 15.0])),
        max_size=15,
    )
)
def test_every_job_of_both_is_done(jobs: list[tuple[bool, int, float]]) -> None:
    """Neither starves however much the other has to do, and no change of connection is in vain."""
    stt, tts = free_tier()
    now = 0.0
    for of_tts, pieces, pause_s in jobs:
        run(stt, tts, now, now + pause_s)
        now += pause_s
        (tts if of_tts else stt).add_job(pieces)
    # Each piece, and for each a change of connections and back.
    enough_s = sum(pieces for _, pieces, _ in jobs) * (PIECE_S + 2.0) + 10.0
    run(stt, tts, now, now + enough_s)
    assert (stt.jobs, tts.jobs) == ([], [])
