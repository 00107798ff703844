"""Text-to-speech over connections that come and go: whose audio it is, and what is spoken."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.errors import (
    AuthenticationRejected,
    GatewayError,
    SessionClosed,
)
from slng_edge.protocol.session_events import (
    Broken,
    Odd,
    ReplyAudio,
    ReplyCut,
    ReplyDone,
    SegmentBegan,
    SegmentDone,
    SessionReady,
    TtsEvent,
)
from slng_edge.protocol.tts_exchange import TtsExchange, TtsTimes
from slng_edge.protocol.unified_tts import UnifiedTts

TIMES = TtsTimes(keepalive_s=30.0, first_audio_s=8.0, cleared_s=1.0)
GONE = SessionClosed("gone")
PCM = b"\1\2\3\4"


def exchange(**more: Any) -> TtsExchange:
    """An exchange at 24 kHz without a connection."""
    return TtsExchange(rate_hz=24000, times=TIMES, **more)


def connect(tts: TtsExchange, now: float, **more: Any) -> None:
    """Give it a connection that is ready."""
    tts.connected(UnifiedTts(model=None, voice="v", sample_rate_hz=24000), now, **more)
    assert tts.ready


def connected() -> TtsExchange:
    """An exchange that is ready at 0."""
    tts = exchange()
    connect(tts, 0.0)
    return tts


def sent(tts: TtsExchange, now: float) -> list[str]:
    """All that is due now: texts as they are, other messages by their type."""
    messages = []
    while (message := tts.next_message(now)) is not None:
        fields = json.loads(message)
        messages.append(fields.get("text", fields["type"]))
    return messages


def say(tts: TtsExchange, kind: str, now: float = 0.0, **fields: Any) -> list[TtsEvent]:
    """What the exchange makes of a message of the gateway."""
    return tts.receive(json.dumps({"type": kind, **fields}), now)


def chunk(
    tts: TtsExchange, data: bytes, sequence: int | None = None, now: float = 0.0
) -> list[TtsEvent]:
    """What the exchange makes of a chunk of audio."""
    numbered = {} if sequence is None else {"sequence": sequence}
    return say(tts, "audio_chunk", now, data=base64.b64encode(data).decode(), **numbered)


def reply(tts: TtsExchange, number: int, *texts: str) -> None:
    """A whole reply."""
    tts.open_reply(number)
    for text in texts:
        tts.add_text(number, text)
    assert tts.end_reply(number) == []


def speaking(*texts: str) -> TtsExchange:
    """An exchange whose reply 1 has its first segment on the wire."""
    tts = connected()
    reply(tts, 1, *(texts or ("Hello.",)))
    assert sent(tts, 0.0) == [(texts or ("Hello.",))[0], "flush"]
    return tts


def pcm_of(events: list[TtsEvent]) -> list[tuple[int, bytes, int]]:
    """Whose audio it was, its bytes and its rate."""
    return [
        (event.reply, event.pcm, event.rate_hz) for event in events if isinstance(event, ReplyAudio)
    ]


def kinds(events: list[TtsEvent]) -> list[type]:
    """The types of events."""
    return [type(event) for event in events]


def wav_header(*, rate_hz: int = 24000, channels: int = 1) -> bytes:
    """A header whose sizes are not known yet."""
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * 2, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + form + b"data\xff\xff\xff\xff"


# Connection


def test_text_waits_for_ready() -> None:
    """Init is the first message, and alone until the gateway is ready."""
    tts = exchange()
    reply(tts, 1, "Hello.")
    assert (sent(tts, 0.0), tts.ready, tts.deadline()) == ([], False, None)
    tts.connected(0.0)
    assert sent(tts, 0.0) == ["init"]
    say(tts, "ready", 1.0)
    assert tts.ready
    assert sent(tts, 1.0) == ["Hello.", "flush"]


def test_keepalives_fill_the_silence() -> None:
    """One is due when nothing was sent for its interval."""
    tts = connected()
    assert (sent(tts, 29.9), tts.deadline()) == ([], 30.0)
    assert (sent(tts, 30.0), tts.deadline()) == (["keepalive"], 60.0)


def test_a_gateway_that_is_not_ready_in_time_is_given_up_once() -> None:
    """The deadline is told once; nothing is due afterwards."""
    tts = exchange()
    tts.connected(0.0)
    sent(tts, 0.0)
    assert (tts.deadline(), tts.expire(9.9)) == (10.0, [])
    assert "`ready` within 10 s" in str(broken(tts.expire(10.0)))
    assert (tts.expire(10.0), tts.deadline()) == ([], None)


def broken(events: list[TtsEvent]) -> GatewayError:
    """The error of the one event that says that the connection is of no use."""
    (event,) = events
    assert isinstance(event, Broken)
    return event.error


def test_the_last_message_of_a_ready_connection_is_close() -> None:
    """Without `ready` there is nothing to take leave of."""
    farewell = connected().farewell()
    assert farewell is not None
    assert json.loads(farewell) == {"type": "close"}
    assert exchange().farewell() is None


def test_messages_that_mean_nothing_change_nothing() -> None:
    """Those that are not understood are told of, the others are passed over."""
    tts = speaking()
    assert say(tts, "Metadata") == []
    assert say(tts, "segment_start", segment_id="a") == []
    assert say(tts, "segment_end", segment_id="a") == []
    assert kinds(say(tts, "surprise")) == [Odd]
    assert say(tts, "flushed") == [SegmentDone(1), ReplyDone(1)]


# Segments


def test_the_first_sentence_is_spoken_alone_and_the_rest_together() -> None:
    """It sounds while the others are written; those flow as one segment."""
    tts = speaking("One.", "Two.", "Three.")
    assert say(tts, "flushed") == [SegmentDone(1)]
    assert sent(tts, 0.0) == ["Two.", "Three.", "flush"]
    assert say(tts, "flushed") == [SegmentDone(1), ReplyDone(1)]


def test_texts_that_come_late_are_a_segment_of_their_own() -> None:
    """One flush is outstanding at a time; the reply is done when it was ended and all has come."""
    tts = connected()
    tts.open_reply(1)
    assert sent(tts, 0.0) == []
    tts.add_text(1, "One.")
    assert sent(tts, 0.0) == ["One.", "flush"]
    tts.add_text(1, "Two.")
    assert sent(tts, 0.0) == []
    assert say(tts, "flushed") == [SegmentDone(1)]
    assert sent(tts, 0.0) == ["Two.", "flush"]
    assert say(tts, "flushed") == [SegmentDone(1)]
    assert tts.end_reply(1) == [ReplyDone(1)]
    assert tts.end_reply(1) == []


def test_replies_are_spoken_one_after_the_other() -> None:
    """The second begins when the first is done, again with its first sentence alone."""
    tts = speaking("One.")
    reply(tts, 2, "A.", "B.")
    reply(tts, 3)
    assert sent(tts, 0.0) == []
    assert say(tts, "flushed") == [SegmentDone(1), ReplyDone(1)]
    assert sent(tts, 0.0) == ["A.", "flush"]
    say(tts, "flushed")
    sent(tts, 0.0)
    assert say(tts, "flushed") == [SegmentDone(2), ReplyDone(2), ReplyDone(3)]


def test_a_reply_without_text_is_done_at_once() -> None:
    """Nothing has to be sent for it."""
    tts = exchange()
    tts.open_reply(1)
    assert tts.end_reply(1) == [ReplyDone(1)]


def test_a_text_for_a_reply_that_is_over_is_dropped() -> None:
    """So is one for a reply that never was."""
    tts = speaking()
    say(tts, "flushed")
    tts.add_text(1, "Too late.")
    tts.add_text(7, "Never.")
    assert sent(tts, 0.0) == []


# Audio


def test_the_first_audio_of_a_segment_begins_it() -> None:
    """It says which texts sound, when the first was sent, and how long that took."""
    tts = connected()
    reply(tts, 1, "Hello.")
    sent(tts, 2.0)
    assert chunk(tts, PCM, now=2.5) == [
        SegmentBegan(1, ("Hello.",), 0.5, 2.0),
        ReplyAudio(1, PCM, 24000),
    ]
    assert tts.receive(PCM, 3.0) == [ReplyAudio(1, PCM, 24000)]


def test_audio_that_nobody_asked_for_is_dropped() -> None:
    """Before the first text and after the end of a segment it belongs to nobody."""
    tts = connected()
    assert chunk(tts, PCM) == []
    reply(tts, 1, "Hello.")
    assert chunk(tts, PCM) == []
    sent(tts, 0.0)
    say(tts, "audio_end")
    assert chunk(tts, PCM) == []


def test_audio_may_split_samples() -> None:
    """An odd byte is carried over; one alone is no sound yet."""
    tts = speaking()
    assert tts.receive(b"\1", 0.0) == []
    assert pcm_of(tts.receive(b"\2\3", 0.0)) == [(1, b"\1\2", 24000)]
    assert pcm_of(tts.receive(b"\4", 0.0)) == [(1, b"\3\4", 24000)]


def test_half_a_sample_does_not_run_into_the_next_segment() -> None:
    """Otherwise all that follows would be noise."""
    tts = speaking("One.", "Two.")
    tts.receive(PCM + b"\5", 0.0)
    say(tts, "flushed")
    sent(tts, 0.0)
    assert pcm_of(tts.receive(PCM, 0.0)) == [(1, PCM, 24000)]


def test_a_wav_header_is_stripped_and_its_rate_counts() -> None:
    """At the start of each segment, however it is split; a segment without one keeps the rate."""
    tts = speaking("One.", "Two.", "Three.")
    header = wav_header(rate_hz=16000)
    assert chunk(tts, header[:20]) == []
    assert pcm_of(chunk(tts, header[20:] + PCM)) == [(1, PCM, 16000)]
    say(tts, "flushed")
    sent(tts, 0.0)
    assert pcm_of(chunk(tts, header + PCM)) == [(1, PCM, 16000)]
    assert pcm_of(chunk(tts, header)) == [(1, header, 16000)]


def test_audio_that_cannot_be_played_cuts_the_reply() -> None:
    """Played as mono it would be noise; the rest of it is cleared away."""
    tts = speaking("One.", "Two.")
    (cut,) = chunk(tts, wav_header(channels=2) + PCM)
    assert isinstance(cut, ReplyCut)
    assert "2 channels" in str(cut.error)
    assert sent(tts, 0.0) == ["clear"]


def test_a_repeated_sequence_is_dropped() -> None:
    """The listener must not hear a chunk twice; a count that begins anew is no repeat."""
    tts = speaking()
    chunk(tts, PCM, 0)
    assert chunk(tts, PCM, 0) == []
    assert pcm_of(chunk(tts, b"\7\7", 1)) == [(1, b"\7\7", 24000)]
    assert pcm_of(chunk(tts, b"\5\6", 0)) == [(1, b"\5\6", 24000)]


def test_the_next_segment_counts_from_its_own_start() -> None:
    """The same number and bytes in another segment are another sound."""
    tts = speaking("One.", "Two.")
    chunk(tts, PCM, 0)
    say(tts, "flushed")
    sent(tts, 0.0)
    assert kinds(chunk(tts, PCM, 0)) == [SegmentBegan, ReplyAudio]


def test_a_skipped_sequence_is_told_and_played() -> None:
    """A gap is for the log; the audio that did come is heard."""
    tts = speaking()
    chunk(tts, PCM, 3)
    assert chunk(tts, PCM, 5) == [
        Odd("audio sequence jumps from 3 to 5"),
        ReplyAudio(1, PCM, 24000),
    ]


# Terminals


@pytest.mark.parametrize(
    "terminal",
    [
        {"type": "flushed"},
        {"type": "Flushed"},
        {"type": "audio_end", "duration": 1.0},
        {"type": "done"},
        {"type": "end"},
        {"type": "event", "data": {"event": "complete"}},
    ],
)
def test_either_terminal_after_our_flush_ends_the_utterance_once(terminal: dict[str, Any]) -> None:
    """`flushed` and `audio_end` are alternatives, and have other names."""
    tts = speaking()
    assert tts.receive(json.dumps(terminal), 0.0) == [SegmentDone(1), ReplyDone(1)]
    assert tts.receive(json.dumps(terminal), 0.0) == []


@pytest.mark.parametrize(("first", "second"), [("flushed", "audio_end"), ("audio_end", "flushed")])
def test_the_second_terminal_of_a_segment_does_not_end_the_next(first: str, second: str) -> None:
    """Routes that send both: the late one comes when the next segment is on its way."""
    tts = speaking("One.", "Two.", "Three.")
    assert say(tts, first) == [SegmentDone(1)]
    assert sent(tts, 0.0) == ["Two.", "Three.", "flush"]
    assert say(tts, second) == []
    assert pcm_of(chunk(tts, PCM)) == [(1, PCM, 24000)]
    assert say(tts, first) == [SegmentDone(1), ReplyDone(1)]
    assert say(tts, second) == []


def test_a_terminal_before_our_flush_ends_no_utterance() -> None:
    """It ends a segment of the gateway's own; ours goes on."""
    tts = connected()
    reply(tts, 1, "Hello.")
    assert json.loads(tts.next_message(0.0) or "")["text"] == "Hello."
    assert say(tts, "audio_end") == []
    assert pcm_of(chunk(tts, PCM)) == [(1, PCM, 24000)]
    assert sent(tts, 0.0) == ["flush"]
    assert say(tts, "audio_end") == [SegmentDone(1), ReplyDone(1)]


# Interruption


def test_after_an_interruption_nothing_is_heard_until_cleared() -> None:
    """Audio and terminals in flight are dropped, and the next reply waits for its turn."""
    tts = speaking("One.", "Two.")
    chunk(tts, PCM)
    tts.interrupt(1.0)
    reply(tts, 2, "Next.")
    assert chunk(tts, PCM, now=1.0) == []
    assert sent(tts, 1.0) == ["clear"]
    assert tts.deadline() == 2.0
    assert chunk(tts, PCM, now=1.1) == []
    assert say(tts, "flushed", 1.1) == []
    assert say(tts, "cleared", 1.2) == []
    assert sent(tts, 1.2) == ["Next.", "flush"]
    assert pcm_of(chunk(tts, PCM, now=1.3)) == [(2, PCM, 24000)]
    assert say(tts, "audio_end", 1.4) == [SegmentDone(2), ReplyDone(2)]


def test_a_reply_that_has_come_whole_is_cleared_as_well() -> None:
    """It may still sound here, and the gateway is told; nothing is mixed up with what follows."""
    tts = speaking()
    say(tts, "flushed")
    tts.interrupt(1.0)
    assert sent(tts, 1.0) == ["clear"]
    reply(tts, 2, "A.", "B.")
    assert sent(tts, 1.0) == []
    say(tts, "cleared", 1.1)
    assert sent(tts, 1.1) == ["A.", "flush"]
    assert say(tts, "flushed", 1.2) == [SegmentDone(2)]
    assert sent(tts, 1.2) == ["B.", "flush"]
    assert say(tts, "audio_end", 1.3) == []
    assert say(tts, "flushed", 1.4) == [SegmentDone(2), ReplyDone(2)]


def test_nothing_is_cleared_where_the_gateway_has_got_nothing() -> None:
    """Neither before the first text of a connection, nor twice for one."""
    tts = connected()
    tts.open_reply(1)
    tts.interrupt(0.0)
    assert sent(tts, 0.0) == []
    reply(tts, 2, "Hello.")
    sent(tts, 0.0)
    tts.interrupt(0.0)
    tts.interrupt(0.1)
    assert sent(tts, 0.1) == ["clear"]
    assert tts.deadline() == 1.0


def test_cleared_before_our_clear_answers_nothing() -> None:
    """One that comes unasked, or before ours was sent, does not open the way for late audio."""
    tts = speaking("One.", "Two.")
    assert say(tts, "cleared") == []
    assert say(tts, "flushed") == [SegmentDone(1)]
    sent(tts, 0.0)
    tts.interrupt(0.0)
    reply(tts, 2, "Next.")
    say(tts, "cleared")
    assert sent(tts, 0.0) == ["clear"]


def test_a_gateway_that_does_not_clear_is_left() -> None:
    """Whose audio comes is unclear then: the socket is replaced, and the next reply waits."""
    tts = speaking()
    tts.interrupt(0.0)
    reply(tts, 2, "Next.")
    sent(tts, 0.0)
    assert tts.expire(0.9) == []
    assert "`cleared` within 1 s" in str(broken(tts.expire(1.0)))
    assert tts.disconnected(GONE) == []
    connect(tts, 2.0)
    assert sent(tts, 2.0) == ["Next.", "flush"]


def test_an_interruption_without_a_connection_sends_nothing_later() -> None:
    """What was to be spoken is dropped, and a new connection has nothing to clear."""
    tts = exchange()
    reply(tts, 1, "Hello.")
    tts.interrupt(0.0)
    connect(tts, 1.0)
    assert sent(tts, 1.0) == []


# Connections that break


def test_before_the_first_audio_the_texts_are_sent_once_more() -> None:
    """On the next connection, whole; the latency counts from the first time they were sent."""
    tts = connected()
    reply(tts, 1, "One.", "Two.", "Three.")
    sent(tts, 0.0)
    say(tts, "flushed")
    assert json.loads(tts.next_message(1.0) or "")["text"] == "Two."
    assert tts.disconnected(GONE) == []
    connect(tts, 2.0)
    assert chunk(tts, PCM, now=2.0) == []
    assert say(tts, "flushed", 2.0) == []
    assert sent(tts, 2.0) == ["Two.", "Three.", "flush"]
    assert chunk(tts, PCM, now=3.0)[0] == SegmentBegan(1, ("Two.", "Three."), 2.0, 1.0)


def test_what_came_for_the_first_attempt_does_not_count_for_the_second() -> None:
    """A header or half a sample is no sound: the second attempt begins anew with both."""
    tts = speaking()
    assert chunk(tts, wav_header(rate_hz=16000), 4) == []
    tts.disconnected(GONE)
    connect(tts, 1.0)
    sent(tts, 1.0)
    assert chunk(tts, wav_header(rate_hz=16000), 4) == []
    assert chunk(tts, PCM, 0) == [
        SegmentBegan(1, ("Hello.",), 0.0, 0.0),
        ReplyAudio(1, PCM, 16000),
    ]


def test_texts_are_not_sent_a_third_time() -> None:
    """The second connection that breaks cuts the reply."""
    tts = speaking()
    tts.disconnected(GONE)
    connect(tts, 1.0)
    sent(tts, 1.0)
    assert tts.disconnected(GONE) == [ReplyCut(1, GONE)]


def test_a_connection_that_never_got_the_texts_does_not_count() -> None:
    """They wait for one that is ready."""
    tts = speaking()
    tts.disconnected(GONE)
    tts.connected(1.0)
    assert tts.disconnected(GONE) == []
    connect(tts, 2.0)
    assert sent(tts, 2.0) == ["Hello.", "flush"]


def test_after_the_first_audio_the_reply_is_cut() -> None:
    """The listener would hear it twice; the next reply is not touched by it."""
    tts = speaking("One.", "Two.")
    reply(tts, 2, "Next.")
    chunk(tts, PCM)
    assert tts.disconnected(GONE) == [ReplyCut(1, GONE)]
    connect(tts, 1.0)
    assert sent(tts, 1.0) == ["Next.", "flush"]


def test_a_cut_reply_does_not_hold_up_an_empty_one() -> None:
    """What waited behind it for its turn is done as well."""
    tts = speaking()
    reply(tts, 2)
    chunk(tts, PCM)
    assert tts.disconnected(GONE) == [ReplyCut(1, GONE), ReplyDone(2)]


def test_a_connection_with_nothing_in_flight_breaks_without_harm() -> None:
    """What waits is spoken on the next."""
    tts = connected()
    assert tts.disconnected(GONE) == []
    reply(tts, 1, "Hello.")
    connect(tts, 1.0)
    assert sent(tts, 1.0) == ["Hello.", "flush"]


def test_a_close_after_an_utterance_is_the_life_of_the_route() -> None:
    """So it is while the next segment is on its way, but not once that has begun to sound."""
    tts = speaking("One.", "Two.")
    assert not tts.served
    chunk(tts, PCM)
    assert not tts.served
    say(tts, "audio_end")
    assert tts.served
    sent(tts, 0.0)
    assert tts.served
    chunk(tts, b"\5\6")
    assert not tts.served
    tts.disconnected(GONE)
    tts.connected(1.0)
    assert not tts.served


def test_a_close_after_an_interruption_is_the_life_of_the_route() -> None:
    """A reply that was cleared is an utterance that has ended."""
    tts = speaking()
    tts.interrupt(0.0)
    assert not tts.served
    sent(tts, 0.0)
    say(tts, "cleared")
    assert tts.served


def test_a_gateway_that_falls_silent_is_left() -> None:
    """Without audio the texts are sent again; each piece of audio puts the deadline off."""
    tts = speaking()
    assert (tts.deadline(), tts.expire(7.9)) == (8.0, [])
    assert str(broken(tts.expire(8.0))) == "audio did not come within 8 s"
    assert tts.expire(8.0) == []
    assert tts.disconnected(GONE) == []
    connect(tts, 10.0)
    sent(tts, 10.0)
    chunk(tts, PCM, now=15.0)
    assert tts.expire(22.9) == []
    error = broken(tts.expire(23.0))
    assert "the rest of the audio" in str(error)
    assert tts.disconnected(error) == [ReplyCut(1, error)]


def test_audio_before_our_flush_sets_no_deadline() -> None:
    """The gateway owes nothing yet."""
    tts = connected()
    reply(tts, 1, "Hello.")
    tts.next_message(0.0)
    chunk(tts, PCM)
    assert tts.deadline() == 30.0


# Errors of the gateway


def test_an_error_that_passes_ends_the_connection() -> None:
    """The segment is sent again on the next, as it has not sounded."""
    tts = speaking()
    error = broken(say(tts, "error", data={"code": 503, "message": "busy"}))
    assert error.retryable
    assert tts.disconnected(error) == []


def test_an_error_that_does_not_pass_cuts_the_reply() -> None:
    """To send the text again cannot help; what may still come of it is cleared away."""
    tts = speaking("One.", "Two.")
    reply(tts, 2, "Next.")
    (cut,) = say(tts, "error", code="invalid_request", message="no letters")
    assert isinstance(cut, ReplyCut)
    assert (cut.reply, cut.error.retryable) == (1, False)
    assert chunk(tts, PCM) == []
    assert sent(tts, 0.0) == ["clear"]
    assert chunk(tts, PCM) == []
    say(tts, "cleared")
    assert sent(tts, 0.0) == ["Next.", "flush"]


def test_what_the_gateway_says_of_retrying_wins() -> None:
    """An error that would pass by its code is final where the event says so."""
    tts = speaking()
    assert kinds(say(tts, "error", code="backend_error", retryable=False)) == [ReplyCut]


def test_an_error_without_a_text_on_the_wire_ends_the_connection() -> None:
    """Final or not: no reply is to blame, and those that wait are kept."""
    tts = connected()
    reply(tts, 1, "Hello.")
    assert isinstance(broken(say(tts, "error", code="auth_error")), AuthenticationRejected)
    assert tts.disconnected(GONE) == []
    connect(tts, 1.0)
    assert sent(tts, 1.0) == ["Hello.", "flush"]


# Properties


class Gateway:
    """Speaks what it is sent, byte by byte of its text, when it is told to go on."""

    def __init__(self, *, both: bool) -> None:
        self.both = both
        self.queue: list[str | bytes] = []
        self.text = ""

    def receive(self, message: str) -> None:
        fields = json.loads(message)
        match fields["type"]:
            case "init":
                self.queue.append('{"type": "ready"}')
            case "text":
                self.text += fields["text"]
            case "flush":
                self.queue += [self.text[n : n + 1].encode() * 2 for n in range(len(self.text))]
                self.queue += ['{"type": "flushed"}', '{"type": "audio_end"}'][: 1 + self.both]
                self.text = ""
            case "clear":
                # What is on its way already still arrives.
                self.queue = [*self.queue[:3], '{"type": "cleared"}']
                self.text = ""


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "connect",
                "connect",
                "drop",
                "open",
                "text",
                "text",
                "end",
                "reply",
                "reply",
                "interrupt",
                "go",
                "go",
                "go",
                "go",
                "error",
                "stuck",
            ]
        ),
        st.integers(0, 6),
        st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.9, 1.0, 8.0, 31.0]),
    ),
    min_size=15,
    max_size=60,
)
"""What can happen, a number to choose with, and the seconds that pass then: mostly none, because
deep states need many steps in time.
"""


class Owner:
    """Drives an exchange as a session does, against a gateway that speaks each reply's letter."""

    def __init__(self, *, both: bool) -> None:
        self.both = both
        self.tts = exchange()
        self.gateway: Gateway | None = None
        self.now = 100.0
        self.stuck = False
        self.opened: list[int] = []
        self.ended: set[int] = set()
        self.interrupted: set[int] = set()
        self.events: list[TtsEvent] = []

    def do(self, operation: str, count: int) -> None:
        tts, now, gateway = self.tts, self.now, self.gateway
        match operation:
            case "connect" if gateway is None:
                self.gateway, self.stuck = Gateway(both=self.both), False
                tts.connected(now)
                if count:
                    self.settle()
                    self.do("go", 1)
            case "drop" if gateway is not None:
                self.drop()
            case "open":
                self.do("end", 0)
                self.opened.append(len(self.opened) + 1)
                tts.open_reply(self.opened[-1])
            case "text" if self.opened:
                tts.add_text(self.opened[-1], letter(self.opened[-1]) * (count + 1))
            case "end" if self.opened and self.opened[-1] not in self.ended:
                self.ended.add(self.opened[-1])
                self.take(tts.end_reply(self.opened[-1]))
            case "reply":
                for step in ("open", "text", "text", "end"):
                    self.do(step, count)
            case "interrupt":
                done = over(self.events)
                self.interrupted |= {number for number in self.opened if number not in done}
                tts.interrupt(now)
            case "go" if gateway is not None and not self.stuck:
                for _ in range(min(count, len(gateway.queue))):
                    if self.gateway is gateway:
                        self.take(tts.receive(gateway.queue.pop(0), now))
            case "error" if gateway is not None and tts.ready:
                self.take(say(tts, "error", now, code="oops", retryable=count > 3))
            case "stuck":
                self.stuck = True

    def take(self, events: list[TtsEvent]) -> None:
        self.events += events
        if self.gateway and any(isinstance(event, Broken) for event in events):
            self.drop()

    def drop(self) -> None:
        self.gateway = None
        self.take(self.tts.disconnected(GONE))

    def settle(self) -> None:
        """Do all that is due now, and look whether the exchange can be waited for."""
        for _ in range(1000):
            events = self.tts.expire(self.now)
            self.take(events)
            message = self.tts.next_message(self.now) if self.gateway else None
            if message is not None and self.gateway:
                self.gateway.receive(message)
            if not events and message is None:
                break
        else:
            raise AssertionError("there is always something due")
        deadline = self.tts.deadline()
        assert deadline is None or deadline > self.now


def letter(number: int) -> str:
    """What a reply consists of."""
    return chr(64 + number)


def over(events: list[TtsEvent]) -> list[int]:
    """The replies that are over."""
    return [event.reply for event in events if isinstance(event, ReplyDone | ReplyCut)]


@settings(max_examples=300, deadline=None)
@given(OPERATIONS, st.booleans())
def test_every_reply_ends_once_with_its_own_audio_alone(
    operations: list[tuple[str, int, float]], both: bool
) -> None:
    """Whatever happens, each reply that is ended and not interrupted has one end, and no audio
    is credited to another reply; an idle exchange names a later time.
    """
    owner = Owner(both=both)
    for operation, count, seconds in operations:
        owner.do(operation, count)
        owner.settle()
        owner.now += seconds
        owner.settle()
    owner.do("end", 0)
    for _ in range(400):
        owner.do("connect", 0)
        owner.do("go", 6)
        owner.settle()
        owner.now += 0.5
    ends = over(owner.events)
    assert sorted(ends) == [n for n in owner.opened if n not in owner.interrupted]
    for number, pcm, _ in pcm_of(owner.events):
        assert pcm.decode() == letter(number) * 2
