"""A text-to-speech exchange fed with any sequence of what its owner and its gateway can do."""

from __future__ import annotations

import json
import math

from fuzz.gateway_messages import TTS_FIELDS, TTS_TYPES, TTS_WORDS
from fuzz.shapes import joined, marked, messages, one_of, raw, utf8
from fuzz.stt_session import LONGEST_WAIT_MS, MOST_ROUNDS, MOST_STEPS, TIMES_MS, number
from fuzz.target import LONGEST_ODDITY, SEPARATOR, Target, check_error, check_line
from hypothesis import strategies as st

from slng_edge.errors import GatewayError
from slng_edge.protocol.dialects import tts_dialect_factory
from slng_edge.protocol.failures import error_for_close
from slng_edge.protocol.session_events import (
    Broken,
    Odd,
    ReplyAudio,
    ReplyCut,
    ReplyDone,
    SegmentBegan,
    SegmentDone,
    TtsEvent,
)
from slng_edge.protocol.tier_limits import TIER_LIMITS
from slng_edge.protocol.tts_exchange import TtsExchange, TtsTimes

LIMITS = TIER_LIMITS["free"]
_DIALECTS = {
    b"u": tts_dialect_factory(protocol="bridge", model="a/b", voice=""),
    b"o": tts_dialect_factory(protocol="classic", model="orpheus", voice="", context_id="ctx"),
    b"e": tts_dialect_factory(
        protocol="classic", model="elevenlabs", voice="", context_id="ctx", native_frames=True
    ),
}


class Session:
    """The exchange, and what has to hold of all that it says."""

    def __init__(self) -> None:
        self.exchange = TtsExchange(rate_hz=24000, times=TtsTimes(), limits=LIMITS)
        self.now = 0.0
        self.last = 0
        self.open: set[int] = set()
        self.began: set[int] = set()
        self.received_bytes = 0
        self.given_bytes = 0
        self.sent_at: list[float] = []
        self.asked = False

    def step(self, part: bytes) -> None:
        """One thing that happens."""
        what, rest = part[:1], part[1:]
        exchange = self.exchange
        match what:
            case b"o":
                self.last += 1
                self.open.add(self.last)
                exchange.open_reply(self.last)
            case b"s":
                exchange.add_text(self.last, rest.decode("utf-8", "surrogateescape"))
            case b"e":
                self.told(exchange.end_reply(self.last))
            case b"i":
                exchange.interrupt(self.now)
                self.open.clear()
            case b"v":
                exchange.change_voice(rest.decode("utf-8", "replace"))
            case b"c" if not exchange.ready:
                dialect = _DIALECTS.get(rest[:1], _DIALECTS[b"u"])()
                dialect.init()
                self.sent_at, self.asked = [self.now], False
                chars = 2400 if rest[1:2] == b"d" else None
                exchange.connected(dialect, self.now, chars_a_minute=chars)
            case b"d" if exchange.ready:
                self._drop(error_for_close(number(rest, 65535), ""))
            case b"r" | b"b":
                message = rest if what == b"b" else rest.decode("utf-8", "replace")
                self.received_bytes += len(message)
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
        """Every connection from now on breaks: each reply is done or cut all the same."""
        if self.last:
            self.told(self.exchange.end_reply(self.last))
        for number_of_reply in sorted(self.open):
            self.told(self.exchange.end_reply(number_of_reply))
        for _ in range(MOST_STEPS * 4):
            if not self.exchange.pressing:
                break
            if self.exchange.ready:
                self._drop(error_for_close(1006, ""))
            self.now += 130.0
            self.step(b"cu")
            self.settle()
        assert not self.exchange.pressing, "a reply that never ends"
        assert not self.open, f"nobody was told what became of {self.open}"

    def told(self, events: list[TtsEvent]) -> None:
        """Check what the exchange says."""
        for event in events:
            match event:
                case SegmentBegan(reply, texts, latency_s):
                    assert reply in self.open
                    assert texts
                    assert latency_s >= 0.0
                    self.began.add(reply)
                case ReplyAudio(reply, pcm, rate_hz):
                    assert reply in self.open, "audio of a reply that is over"
                    assert reply in self.began, "audio before the segment began"
                    assert self.asked, "audio that this connection was not asked for"
                    assert pcm
                    assert len(pcm) % 2 == 0
                    assert 4000 <= rate_hz <= 192_000
                    self.given_bytes += len(pcm)
                    assert self.given_bytes <= self.received_bytes
                case SegmentDone(reply):
                    assert reply in self.open
                case ReplyDone(reply):
                    self.open.remove(reply)
                case ReplyCut(reply, error):
                    check_error(error)
                    self.open.remove(reply)
                case Odd(why):
                    check_line(why, LONGEST_ODDITY)
                case Broken(error):
                    check_error(error)
                    if self.exchange.ready:
                        self._drop(error)

    def _check_sent(self, message: str) -> None:
        message.encode("utf-8")
        fields = json.loads(message)
        self.asked |= "text" in fields
        assert len(fields.get("text", "")) <= LIMITS.text_chars + 1, "a text over the plan's limit"
        self.sent_at.append(self.now)
        recent = [at for at in self.sent_at if at > self.now - 60.0]
        assert len(recent) <= LIMITS.messages_a_minute, "more messages than the plan allows"

    def _drop(self, error: GatewayError) -> None:
        self.told(self.exchange.disconnected(self.exchange.mend(error)))


def run(data: bytes) -> None:
    """Steps in any order."""
    session = Session()
    for step in data.split(SEPARATOR)[:MOST_STEPS]:
        session.step(step)
    session.finish()


_messages = marked(b"r", messages(TTS_TYPES, TTS_FIELDS))
_times = marked(b"t", TIMES_MS.map(lambda ms: str(ms).encode()))
REPLY = SEPARATOR.join((b"o", b"sOne.", b"e", b"n", b"b\1\0", b'r{"type":"flushed"}'))
_many = st.integers(1, 20).map(lambda times: SEPARATOR.join([REPLY] * times))
_closes = marked(b"d", st.sampled_from([1000, 1006, 1009, 1011, 4002]).map(lambda c: b"%d" % c))
_speech = marked(
    b"s", st.tuples(utf8, st.sampled_from([b" one.", b"!", b"a " * 300])).map(b"".join)
)
_steps = joined(
    *(_messages, _messages, _messages, _speech, _speech, _times, _closes, marked(b"b", raw), _many),
    *(
        one_of(b"o", b"e", b"n"),
        one_of(b"o", b"cu", b"n"),
        one_of(b"i", b"co", b"ce", b"cud", b"1"),
    ),
    *(one_of(b"vemma", b"n", b"t61000"),),
    most=30,
)
TARGETS = (
    Target(
        "tts_exchange",
        run,
        st.tuples(
            one_of(b"", b"cu\x1eo\x1esOne.\x1en\x1e", b"ce\x1eo\x1esOne.\x1en\x1e"), _steps
        ).map(b"".join),
        (
            *(b"\x1eo", b"\x1esHello there. ", b"\x1ee", b"\x1ei", b"\x1ecu", b"\x1eco", b"\x1ece"),
            *(b"\x1en", b"\x1ed1006", b"\x1et700", b"\x1et61000", b"\x1ebRIFF\x10\0\0\0WAVEfmt "),
            *(b'\x1er{"type":"', *TTS_WORDS),
        ),
    ),
)
