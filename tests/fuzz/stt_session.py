"""A speech-to-text exchange fed with any sequence of what its owner and its gateway can do."""

from __future__ import annotations

import json
import math

from fuzz.gateway_messages import STT_FIELDS, STT_TYPES, STT_WORDS
from fuzz.shapes import joined, marked, messages, one_of, raw
from fuzz.target import (
    LONGEST_ODDITY,
    SEPARATOR,
    Target,
    check_error,
    check_line,
    check_number,
    check_text,
)
from hypothesis import strategies as st

from slng_edge.errors import GatewayError
from slng_edge.protocol.dialects import stt_dialect_factory
from slng_edge.protocol.failures import error_for_close
from slng_edge.protocol.session_events import (
    Broken,
    Final,
    Odd,
    Partial,
    StrayFinal,
    SttEvent,
    UtteranceLost,
    WordsEnded,
)
from slng_edge.protocol.stt_exchange import MESSAGE_BYTES, SttExchange, SttTimes

RATE_HZ = 16000
MESSAGES_A_MINUTE = 20
MOST_STEPS = 200
MOST_ROUNDS = 200
LONGEST_WAIT_MS = 600_000
_DIALECTS = {
    b"u": stt_dialect_factory(protocol="bridge", model="a/b", sample_rate_hz=RATE_HZ),
    b"j": stt_dialect_factory(
        protocol="bridge", model="a/b", sample_rate_hz=RATE_HZ, binary_audio=False
    ),
    b"w": stt_dialect_factory(protocol="classic", model="whisper", sample_rate_hz=RATE_HZ),
}


def number(data: bytes, highest: int) -> int:
    """The decimal number that a step begins with, 0 where there is none."""
    digits = data[:7]
    while digits and not digits.isdigit():
        digits = digits[:-1]
    return min(int(digits or b"0"), highest)


class Session:
    """The exchange, and what has to hold of all that it says."""

    def __init__(self, *, join_finals: bool) -> None:
        self.exchange = SttExchange(
            rate_hz=RATE_HZ,
            keep_s=2.0,
            times=SttTimes(),
            messages_a_minute=MESSAGES_A_MINUTE,
            join_finals=join_finals,
        )
        self.now = 0.0
        self.last = 0
        self.awaited: set[int] = set()
        self.ended = True
        self.closed = False
        self.received_chars = 0
        self.sent_at: list[float] = []
        self.finalizes = 0

    def step(self, part: bytes) -> None:
        """One thing that happens."""
        what, rest = part[:1], part[1:]
        exchange = self.exchange
        match what:
            case b"o":
                self._end()
                self.last, self.ended = exchange.open_utterance(), False
                self.awaited.add(self.last)
            case b"a" if self.last and not self.ended:
                pcm = b"\x01\x00" * (16 * number(rest, 3000))
                self.told(exchange.add_audio(self.last, pcm))
            case b"e":
                self._end()
            case b"x" if self.last:
                gone = number(rest, self.last) or self.last
                exchange.abandon(gone)
                self.awaited.discard(gone)
            case b"c" if not exchange.ready:
                self._connect(rest[:1])
            case b"d" if exchange.ready:
                self._drop(error_for_close(number(rest, 65535), ""))
            case b"r" | b"b":
                message = rest if what == b"b" else rest.decode("utf-8", "replace")
                self.received_chars += len(message)
                self.told(exchange.receive(message, self.now))
            case b"1":
                exchange.one_utterance = True
            case b"t":
                self.now += number(rest, LONGEST_WAIT_MS) / 1000
                self.settle()
            case _:
                self.send()

    def send(self) -> None:
        """Send all that is due."""
        for _ in range(MOST_ROUNDS):
            message = self.exchange.next_message(self.now)
            if message is None:
                return
            assert self.exchange.ready, "something was sent without a connection"
            assert not self.closed, "something was sent after `close`"
            self._check_sent(message)
        raise AssertionError("there is always one more message to send")

    def settle(self) -> None:
        """Do what the time asks for, until nothing is due at once any more."""
        for _ in range(MOST_ROUNDS):
            self.told(self.exchange.expire(self.now))
            self.send()
            deadline = self.exchange.deadline()
            if deadline is None or deadline > self.now:
                assert deadline is None or math.isfinite(deadline)
                return
        raise AssertionError("a deadline that has passed stays: the owner would spin")

    def finish(self) -> None:
        """The network is gone for good: every utterance has an end, one way or the other."""
        self._end()
        if self.exchange.ready:
            self._drop(error_for_close(1006, ""))
        self.now += LONGEST_WAIT_MS / 1000
        self.settle()
        assert not self.exchange.pressing
        assert not self.awaited, f"nobody was told what became of {self.awaited}"

    def told(self, events: list[SttEvent]) -> None:
        """Check what the exchange says."""
        for event in events:
            match event:
                case Partial(utterance, text) | WordsEnded(utterance, text):
                    assert utterance in self.awaited
                    check_text(text, 2 * self.received_chars)
                case Final():
                    self._check_final(event)
                case UtteranceLost(utterance, ms, why, over):
                    assert utterance in self.awaited
                    assert ms >= 0
                    check_line(why, 1200)
                    if over:
                        self.awaited.remove(utterance)
                case StrayFinal(text):
                    check_text(text, self.received_chars)
                case Odd(why):
                    check_line(why, LONGEST_ODDITY)
                case Broken(error):
                    check_error(error)
                    if self.exchange.ready:
                        self._drop(error)

    def _check_final(self, final: Final) -> None:
        assert final.utterance in self.awaited, "a final that nobody waits for"
        check_text(final.text, 2 * self.received_chars)
        check_number(final.latency_s)
        check_number(final.confidence, 1.0)
        check_number(final.duration_s)
        json.dumps(final.words, allow_nan=False, ensure_ascii=False).encode("utf-8")
        if final.answers:
            self.awaited.remove(final.utterance)
            self.finalizes = 0

    def _check_sent(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            assert 0 < len(message) <= MESSAGE_BYTES
            assert len(message) % 2 == 0
            return
        kind = json.loads(message)["type"]
        if kind == "audio":
            return
        self.closed = kind == "close"
        self.sent_at.append(self.now)
        recent = [at for at in self.sent_at if at > self.now - 60.0]
        assert len(recent) <= MESSAGES_A_MINUTE, "more messages in a minute than the plan allows"

    def _connect(self, kind: bytes) -> None:
        dialect = _DIALECTS.get(kind, _DIALECTS[b"u"])()
        dialect.init()
        self.sent_at, self.closed = [self.now], False
        self.exchange.connected(dialect, self.now)

    def _drop(self, error: GatewayError) -> None:
        self.told(self.exchange.disconnected(self.exchange.mend(error)))

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self.told(self.exchange.end_utterance(self.last, self.now))


def run(data: bytes) -> None:
    """Steps in any order; the first byte says whether it is a recording."""
    kind, *steps = data.split(SEPARATOR)
    session = Session(join_finals=kind != b"R")
    for step in steps[:MOST_STEPS]:
        session.step(step)
    session.finish()


_messages = marked(b"r", messages(STT_TYPES, STT_FIELDS))
TIMES_MS = st.sampled_from([0, 100, 300, 700, 1000, 5000, 30000, 62000]) | st.integers(0, 70000)
"""The deadlines themselves most of the time."""

_times = marked(b"t", TIMES_MS.map(lambda ms: str(ms).encode()))
UTTERANCE = SEPARATOR.join(
    (b"o", b"a20", b"n", b"e", b"n", b'r{"type":"final_transcript","transcript":"a"}')
)
_many = st.integers(1, 25).map(lambda times: SEPARATOR.join([UTTERANCE] * times))
_audio = marked(b"a", st.integers(0, 3000).map(lambda ms: str(ms).encode()))
_closes = marked(b"d", st.sampled_from([1000, 1006, 1009, 1011, 4002]).map(lambda c: b"%d" % c))
_steps = joined(
    *(_messages, _messages, _messages, _audio, _audio, _times, _closes, marked(b"b", raw), _many),
    *(one_of(b"o", b"e", b"n"), one_of(b"o", b"cu", b"n"), one_of(b"x", b"cw", b"cj", b"1", b"x1")),
    most=30,
)
TARGETS = (
    Target(
        "stt_exchange",
        run,
        st.tuples(one_of(b"C\x1e", b"R\x1e"), one_of(b"", b"cu\x1eo\x1ea300\x1en\x1e"), _steps).map(
            b"".join
        ),
        (
            *(b"\x1eo", b"\x1ea300", b"\x1ee", b"\x1ex", b"\x1ecu", b"\x1ecw", b"\x1ed1006"),
            *(b"\x1en", b"\x1et700", b"\x1et5000", b"\x1et60000", b'\x1er{"type":"', *STT_WORDS),
        ),
    ),
)
