"""Text-to-speech over connections that come and go: whose audio it is, and what is spoken."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.errors import (
    AuthenticationRejected,
    GatewayError,
    ServerReportedError,
    SessionClosed,
)
from slng_edge.protocol.classic_tts import ClassicContext, ClassicTts
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
from slng_edge.protocol.token_bucket import WINDOW_S
from slng_edge.protocol.tts_exchange import (
    CLOSES_WITHIN_S,
    TtsDialect,
    TtsExchange,
    TtsTimes,
)
from slng_edge.protocol.unified_tts import UnifiedTts

TIMES = TtsTimes(keepalive_s=30.0, first_audio_s=8.0, cleared_s=1.0)
GONE = SessionClosed("gone")
PCM = b"\1\2\3\4"
PRO = TIER_LIMITS["pro"]


def exchange(**more: Any) -> TtsExchange:
    """An exchange at 24 kHz without a connection."""
    return TtsExchange(rate_hz=24000, times=TIMES, **more)


def connect(tts: TtsExchange, now: float, **more: Any) -> None:
    """Give it a connection that is ready."""
    tts.connected(UnifiedTts(model=None, voice="v", sample_rate_hz=24000), now, **more)
    assert tts.ready


def connected(**more: Any) -> TtsExchange:
    """An exchange that has a connection since 0."""
    tts = exchange(**more)
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


def speaking(*texts: str, **more: Any) -> TtsExchange:
    """An exchange whose reply 1 has its first segment on the wire."""
    tts = connected(**more)
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


def test_text_waits_for_a_connection() -> None:
    """What comes from one that is gone means nothing."""
    tts = exchange()
    reply(tts, 1, "Hello.")
    assert (sent(tts, 0.0), tts.ready, tts.deadline()) == ([], False, None)
    assert chunk(tts, PCM) == []
    connect(tts, 1.0)
    say(tts, "ready", 1.0)
    assert sent(tts, 1.0) == ["Hello.", "flush"]


def test_keepalives_fill_the_silence() -> None:
    """One is due when nothing was sent for its interval."""
    tts = connected()
    assert (sent(tts, 29.9), tts.deadline()) == ([], 30.0)
    assert (sent(tts, 30.0), tts.deadline()) == (["keepalive"], 60.0)


def broken(events: list[TtsEvent]) -> GatewayError:
    """The error of the one event that says that the connection is of no use."""
    (event,) = events
    assert isinstance(event, Broken)
    return event.error


def test_the_last_message_of_a_connection_is_close() -> None:
    """Without one there is nothing to take leave of."""
    farewell = connected().farewell()
    assert farewell is not None
    assert json.loads(farewell) == {"type": "close"}
    assert exchange().farewell() is None


def test_no_close_is_sent_that_the_plan_does_not_allow() -> None:
    """The gateway would refuse it; the connection is closed all the same."""
    tts = speaking(limits=replace(PRO, messages_a_minute=3))
    sent(tts, WINDOW_S - 0.1)
    assert tts.farewell() is None
    sent(tts, WINDOW_S)
    assert tts.farewell() is not None


def test_messages_that_mean_nothing_change_nothing() -> None:
    """Those that are not understood are told of, the others are passed over."""
    tts = speaking()
    assert say(tts, "Metadata") == []
    assert say(tts, "segment_start", segment_id="a") == []
    assert say(tts, "segment_end", segment_id="a") == []
    assert say(tts, "surprise") == [Odd("unknown type 'surprise'")]
    assert say(tts, "flushed") == [SegmentDone(1), ReplyDone(1)]


# Segments


def test_the_first_sentence_is_spoken_alone_and_the_rest_together() -> None:
    """It sounds while the others are written; those flow as one segment, in one message."""
    tts = speaking("One.", "Two.", "Three.")
    assert say(tts, "flushed") == [SegmentDone(1)]
    assert sent(tts, 0.0) == ["Two. Three.", "flush"]
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
    assert kinds(chunk(tts, PCM, 6)) == [ReplyAudio]


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
    assert sent(tts, 0.0) == ["Two. Three.", "flush"]
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
    assert json.loads(tts.next_message(1.0) or "")["text"] == "Two. Three."
    assert tts.disconnected(GONE) == []
    connect(tts, 2.0)
    assert chunk(tts, PCM, now=2.0) == []
    assert say(tts, "flushed", 2.0) == []
    assert sent(tts, 2.0) == ["Two. Three.", "flush"]
    assert chunk(tts, PCM, now=3.0)[0] == SegmentBegan(1, ("Two.", "Three."), 2.0, 1.0)


def test_what_came_for_the_first_attempt_does_not_count_for_the_second() -> None:
    """A header or half a sample is no sound: the second attempt begins anew with both."""
    tts = speaking()
    assert chunk(tts, wav_header(rate_hz=16000), 4) == []
    assert chunk(tts, b"\1", 5) == []
    tts.disconnected(GONE)
    assert (tts.deadline(), tts.expire(100.0)) == (None, [])
    connect(tts, 1.0)
    sent(tts, 1.0)
    assert chunk(tts, wav_header(rate_hz=16000), 7) == []
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
    connect(tts, 1.0)
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
    assert not tts.finished
    sent(tts, 0.0)
    assert tts.served
    chunk(tts, b"\5\6")
    assert not tts.served
    tts.disconnected(GONE)
    connect(tts, 1.0)
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


# What does not outlive a connection


def test_without_a_connection_nothing_is_due() -> None:
    """Neither a keepalive nor what was held back nor an answer that was awaited."""
    for tts in (
        connected(),
        speaking(),
        speaking("One.", limits=replace(PRO, messages_a_minute=3)),
    ):
        reply(tts, 2, "Next.")
        sent(tts, 1.0)
        assert tts.deadline() is not None
        tts.disconnected(GONE)
        assert (tts.deadline(), tts.next_message(100.0), tts.expire(100.0)) == (None, None, [])


@pytest.mark.parametrize("said", [False, True])
def test_a_clear_is_of_its_connection(said: bool) -> None:
    """Said or not yet, the next one has nothing to clear and nothing to wait for."""
    tts = speaking()
    tts.interrupt(0.0)
    assert sent(tts, 0.0) == ["clear"] if said else True
    tts.disconnected(GONE)
    assert (tts.deadline(), tts.expire(9.0)) == (None, [])
    connect(tts, 10.0)
    reply(tts, 2, "Next.")
    assert sent(tts, 10.0) == ["Next.", "flush"]


def test_what_a_connection_got_is_cleared_away_with_it() -> None:
    """An interruption after its end has nothing to clear on the next."""
    tts = speaking()
    tts.disconnected(GONE)
    tts.interrupt(0.0)
    connect(tts, 1.0)
    assert sent(tts, 1.0) == []


def test_a_change_of_voice_that_was_not_sent_is_the_next_connections_own() -> None:
    """Its dialect has the voice from the beginning."""
    tts = exchange()
    tts.connected(classic("elevenlabs"), 0.0)
    tts.change_voice("adam")
    tts.disconnected(GONE)
    connect(tts, 1.0)
    assert sent(tts, 1.0) == []


def test_a_voice_that_can_be_changed_does_not_make_a_spent_connection_useful() -> None:
    """Whose audio comes is as unclear as before."""
    tts = exchange()
    tts.connected(classic("elevenlabs"), 0.0)
    reply(tts, 1, "One.")
    sent(tts, 0.0)
    tts.interrupt(0.0)
    sent(tts, 0.0)
    tts.change_voice("adam")
    assert tts.spent


def test_terminals_are_counted_for_each_connection() -> None:
    """Those of the last one would end a segment of this one too early."""
    tts = speaking("One.", "Two.", "Three.")
    reply(tts, 2, "A.", "B.")
    for _ in range(2):
        say(tts, "flushed")
        say(tts, "audio_end")
        sent(tts, 0.0)
    tts.disconnected(GONE)
    connect(tts, 1.0)
    assert sent(tts, 1.0) == ["A.", "flush"]
    assert say(tts, "flushed", 1.0) == [SegmentDone(2)]
    assert sent(tts, 1.0) == ["B.", "flush"]
    assert say(tts, "audio_end", 1.0) == []
    assert say(tts, "flushed", 1.0) == [SegmentDone(2), ReplyDone(2)]


def test_terminals_are_counted_anew_after_a_clear() -> None:
    """Those of before would end a later segment too early."""
    tts = speaking("One.", "Two.", "Three.")
    for _ in range(2):
        say(tts, "flushed")
        say(tts, "audio_end")
        sent(tts, 0.0)
    tts.interrupt(0.0)
    reply(tts, 2, "A.", "B.")
    sent(tts, 0.0)
    say(tts, "cleared")
    assert sent(tts, 0.0) == ["A.", "flush"]
    assert say(tts, "flushed") == [SegmentDone(2)]
    assert sent(tts, 0.0) == ["B.", "flush"]
    assert say(tts, "audio_end") == []
    assert say(tts, "flushed") == [SegmentDone(2), ReplyDone(2)]


def test_the_rate_of_a_header_is_of_its_connection() -> None:
    """The next may be of another model."""
    tts = speaking("One.", "Two.")
    assert pcm_of(chunk(tts, wav_header(rate_hz=16000) + PCM)) == [(1, PCM, 16000)]
    say(tts, "flushed")
    assert tts.answered
    tts.disconnected(GONE)
    connect(tts, 1.0)
    assert not tts.answered
    sent(tts, 1.0)
    assert pcm_of(chunk(tts, PCM)) == [(1, PCM, 24000)]


def test_what_another_model_speaks_does_not_count_for_a_providers_minute() -> None:
    """Nor does it after the provider's model is back."""
    tts = exchange()
    connect(tts, 0.0, chars_a_minute=20)
    tts.disconnected(GONE)
    connect(tts, 1.0)
    reply(tts, 1, "Fourteen chars", "seven..")
    assert sent(tts, 1.0) == ["Fourteen chars", "flush"]
    say(tts, "flushed", 1.0)
    tts.disconnected(GONE)
    connect(tts, 2.0, chars_a_minute=20)
    assert sent(tts, 2.0) == ["seven..", "flush"]


def test_a_gateway_whose_audio_is_of_no_use_has_its_time_to_be_cleared() -> None:
    """It is told to drop the text, and waited for like any other time."""
    tts = speaking()
    assert ReplyCut in kinds(chunk(tts, wav_header(channels=2), now=1.0))
    assert sent(tts, 1.0) == ["clear"]
    assert tts.expire(1.5) == []
    assert kinds(tts.expire(2.0)) == [Broken]


def test_a_missing_cleared_is_told_once() -> None:
    """The connection is given up for it, and that takes a moment."""
    tts = speaking()
    tts.interrupt(0.0)
    sent(tts, 0.0)
    assert kinds(tts.expire(1.0)) == [Broken]
    assert (tts.expire(1.0), tts.deadline()) == ([], 30.0)


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


# What a plan and a provider allow


def test_a_segment_waits_until_all_of_its_messages_may_go() -> None:
    """Once begun it would be synthesized without its end; the deadline says when it goes."""
    tts = connected(limits=replace(PRO, messages_a_minute=4))
    reply(tts, 1, "One.", "Two.")
    assert sent(tts, 1.0) == ["One.", "flush"]
    say(tts, "flushed", 2.0)
    assert sent(tts, 2.0) == []  # one message is left: a text without its flush
    assert tts.at_rest
    assert tts.deadline() == 31.0  # a keepalive is due then,
    assert sent(tts, 31.0) == []  # and would hold the text up
    assert tts.deadline() == WINDOW_S
    assert sent(tts, WINDOW_S - 0.1) == []
    assert sent(tts, WINDOW_S) == ["Two.", "flush"]


def test_the_next_connection_has_a_minute_of_its_own() -> None:
    """The bucket is per connection."""
    tts = speaking("One.", "Two.", limits=replace(PRO, messages_a_minute=3))
    say(tts, "flushed")
    assert sent(tts, 0.0) == []
    tts.disconnected(GONE)
    connect(tts, 1.0)
    assert sent(tts, 1.0) == ["Two.", "flush"]


def test_a_keepalive_that_is_not_allowed_yet_is_put_off() -> None:
    """The deadline is the time at which it may go."""
    tts = connected(limits=replace(PRO, messages_a_minute=1))
    assert (sent(tts, 30.0), tts.deadline()) == ([], WINDOW_S)
    assert (sent(tts, WINDOW_S), tts.deadline()) == (["keepalive"], WINDOW_S + 30.0)


def test_a_clear_that_is_not_allowed_in_time_costs_the_connection() -> None:
    """`cleared` cannot come: the connection is replaced, as where it does not come."""
    tts = speaking(limits=replace(PRO, messages_a_minute=3))
    tts.interrupt(10.0)
    assert sent(tts, 10.0) == []
    assert tts.deadline() == 11.0
    assert say(tts, "cleared", 10.5) == []
    assert sent(tts, 10.5) == []
    assert "`cleared` within 1 s" in str(broken(tts.expire(11.0)))


def test_a_clear_that_is_allowed_in_time_goes_late() -> None:
    """A moment is not worth a connection."""
    tts = speaking(limits=replace(PRO, messages_a_minute=3))
    tts.interrupt(WINDOW_S - 0.5)
    assert sent(tts, WINDOW_S - 0.5) == []
    assert tts.deadline() == WINDOW_S
    assert sent(tts, WINDOW_S) == ["clear"]
    say(tts, "cleared", WINDOW_S + 0.25)
    assert tts.deadline() == WINDOW_S + 30.0


def test_a_providers_characters_are_counted_over_connections() -> None:
    """Deepgram counts by the key; a connection to another model is not held up by them."""
    tts = exchange()
    connect(tts, 0.0, chars_a_minute=20)
    reply(tts, 1, "Fourteen chars", "seven..")
    assert sent(tts, 1.0) == ["Fourteen chars", "flush"]
    say(tts, "flushed")
    assert sent(tts, 1.0) == []
    tts.disconnected(GONE)
    connect(tts, 2.0, chars_a_minute=20)
    assert sent(tts, 2.0) == []
    assert (sent(tts, 32.0), tts.deadline()) == ([], 1.0 + WINDOW_S)  # no keepalive either
    tts.disconnected(GONE)
    connect(tts, 33.0)
    assert sent(tts, 33.0) == ["seven..", "flush"]


def test_a_text_over_the_size_of_the_plan_is_split_at_its_sentences() -> None:
    """Each piece is a segment of its own or flows with others, as texts do."""
    first, second = "One two three. " * 30, "Four five six. " * 30
    tts = connected(limits=TIER_LIMITS["free"])
    reply(tts, 1, first + second)
    (text, flush) = sent(tts, 0.0)
    assert (len(text) <= 500, flush) == (True, "flush")
    say(tts, "flushed")
    (rest, _) = sent(tts, 0.0)
    assert f"{text} {rest}" == (first + second).strip()


def test_texts_of_a_segment_go_as_one_message() -> None:
    """As far as a plan's size and the length of a segment allow."""
    tts = speaking("One.", "a" * 300, "b" * 199, "c", limits=TIER_LIMITS["free"])
    say(tts, "flushed")
    assert sent(tts, 0.0) == [f"{'a' * 300} {'b' * 199}", "flush"]
    say(tts, "flushed")
    assert sent(tts, 0.0) == ["c", "flush"]


def test_a_text_of_nothing_but_blanks_is_none() -> None:
    """Routes refuse it, and there is nothing to be heard."""
    tts = connected()
    tts.open_reply(1)
    tts.add_text(1, " \n")
    assert (sent(tts, 0.0), tts.end_reply(1)) == ([], [ReplyDone(1)])


TOO_LARGE = [
    SessionClosed("", code=4002),
    SessionClosed("", code=1009),
    ServerReportedError("payload_too_large", "", retryable=False),
]


@pytest.mark.parametrize("error", TOO_LARGE)
def test_a_text_that_was_too_large_is_halved_once(error: GatewayError) -> None:
    """In flight and waiting alike, at the ends of words; a second time it is an error."""
    first, second = " ".join(["one"] * 60), " ".join(["two"] * 40)
    tts = speaking(first, second, "eight")
    tts.disconnected(error)
    mended = tts.mend(error)
    assert isinstance(mended, SessionClosed)
    assert (mended.by_us, mended.retryable, mended.code) == (True, True, 1009)
    assert str(mended).endswith("Sending shorter texts")
    connect(tts, 1.0)
    *messages, flush = sent(tts, 1.0)
    assert ("".join(messages), flush) == (first, "flush")
    assert [len(message) for message in messages] == [116, 116, 7]
    assert kinds(chunk(tts, PCM, now=1.0)) == [SegmentBegan, ReplyAudio]
    say(tts, "flushed", 1.0)
    assert sent(tts, 1.0) == [" ".join(["two"] * 30), "flush"]
    say(tts, "flushed", 1.0)
    assert sent(tts, 1.0) == [" ".join([*["two"] * 10, "eight"]), "flush"]
    assert tts.mend(error) is error


def test_what_waits_is_halved_where_nothing_is_in_flight() -> None:
    """It would be too large in its turn."""
    tts = connected()
    reply(tts, 1, " ".join(["one"] * 60))
    error = SessionClosed("", code=4002)
    assert tts.disconnected(error) == []
    tts.mend(error)
    connect(tts, 1.0)
    assert sent(tts, 1.0) == [" ".join(["one"] * 30), "flush"]
    tts = connected()
    tts.disconnected(error)
    tts.mend(error)
    connect(tts, 1.0)
    reply(tts, 1, "w " * 800)
    assert len(sent(tts, 1.0)[0]) in range(900, 1001)


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("x" * 300, [300]),
        (f"{'a' * 90} {'b' * 300}", [91, 300]),
        (" ".join(["x" * 19] * 20), [180, 180, 39]),
        (" ".join(["x" * 39] * 6), [80, 80, 79]),
        ("all that is as short as a sentence goes out as it was", [53]),
        (" ".join(["x" * 19] * 6), [100, 19]),
    ],
)
def test_no_word_is_cut_to_be_smaller(text: str, lengths: list[int]) -> None:
    """No message is longer than half of what was too large, but for a word or a sentence."""
    tts = speaking(text)
    error = SessionClosed("", code=4002)
    tts.disconnected(error)
    tts.mend(error)
    connect(tts, 1.0)
    *messages, _ = sent(tts, 1.0)
    assert [len(message) for message in messages] == lengths
    assert "".join(messages) == text


def test_with_fallbacks_a_text_is_sent_once_more_to_each() -> None:
    """The first model gets it twice; what has not sounded is never cut for its sake."""
    tts = exchange(fallbacks=1)
    connect(tts, 0.0)
    reply(tts, 1, "One.")
    for now in (0.0, 1.0):
        assert sent(tts, now) == ["One.", "flush"]
        assert tts.disconnected(GONE) == []
        connect(tts, now + 0.5)
    assert sent(tts, 2.0) == ["One.", "flush"]
    assert tts.disconnected(GONE) == [ReplyCut(1, GONE)]


def test_other_errors_are_not_mended() -> None:
    """They are complained of as they are."""
    assert exchange().mend(GONE) is GONE


def test_a_text_that_is_too_large_ends_the_connection_only_while_it_can_be_mended() -> None:
    """Then to connect anew helps; after that it costs its own reply alone."""
    tts = speaking("one two three four.")
    error = broken(say(tts, "error", code="payload_too_large"))
    tts.disconnected(error)
    tts.mend(error)
    connect(tts, 1.0)
    sent(tts, 1.0)
    (cut,) = say(tts, "error", code="payload_too_large")
    assert isinstance(cut, ReplyCut)


# When the connection may change


def test_a_change_costs_nothing_while_no_text_is_on_the_wire() -> None:
    """A reply presses for a connection from its beginning to its last audio."""
    tts = exchange()

    def state() -> tuple[bool, bool, bool, bool]:
        return tts.pressing, tts.at_rest, tts.spent, tts.answered

    states = [state()]
    tts.open_reply(1)
    states.append(state())
    tts.add_text(1, "One.")
    connect(tts, 0.0)
    states.append(state())
    sent(tts, 0.0)
    states.append(state())
    chunk(tts, PCM)
    states.append(state())
    say(tts, "flushed")
    states.append(state())
    tts.end_reply(1)
    states.append(state())
    assert states == [
        (False, True, False, False),
        (True, True, False, False),
        (True, True, False, False),
        (True, False, False, False),
        (True, False, False, True),
        (True, True, False, True),
        (False, True, False, True),
    ]


def closing(*texts: str) -> TtsExchange:
    """A reply's first text goes out on a route that is known to close after each utterance."""
    tts = exchange()
    tts.one_utterance = True
    connect(tts, 0.0)
    reply(tts, 1, *texts)
    assert sent(tts, 0.0) == [texts[0], "flush"]
    return tts


def test_on_a_route_of_one_utterance_the_next_text_waits_for_its_close() -> None:
    """It does not go out on a connection that is about to go, and is the next one's."""
    tts = closing("One.", "Two.")
    say(tts, "audio_end", 1.0)
    assert (tts.spent, tts.at_rest, tts.pressing) == (False, True, True)
    assert (sent(tts, 1.0), tts.deadline()) == ([], 1.0 + CLOSES_WITHIN_S)
    assert (tts.expire(1.29), sent(tts, 1.29), tts.one_utterance) == ([], [], True)
    tts.disconnected(GONE)
    assert tts.deadline() is None
    connect(tts, 2.0)
    assert (sent(tts, 2.0), tts.one_utterance) == (["Two.", "flush"], True)


def test_a_route_that_does_not_close_is_not_taken_for_one_any_more() -> None:
    """What waited goes out on the same connection, and what follows it does not wait."""
    tts = closing("One.", "Two.")
    say(tts, "audio_end", 1.0)
    assert (tts.expire(1.0 + CLOSES_WITHIN_S), tts.one_utterance) == ([], False)
    assert sent(tts, 1.3) == ["Two.", "flush"]
    say(tts, "audio_end", 2.0)
    reply(tts, 2, "Next.")
    assert sent(tts, 2.0) == ["Next.", "flush"]


def test_a_route_is_known_better_also_where_nothing_more_is_to_be_said() -> None:
    """Once, and then nothing is due before the keepalive."""
    tts = closing("One.")
    say(tts, "audio_end", 1.0)
    assert tts.deadline() == 1.0 + CLOSES_WITHIN_S
    tts.expire(1.0 + CLOSES_WITHIN_S)
    assert (tts.one_utterance, tts.deadline()) == (False, 30.0)


def test_cleared_without_a_clear_serves_nobody() -> None:
    """Not even before anything was said."""
    tts = connected()
    say(tts, "cleared", 1.0)
    assert not tts.served


def test_after_an_interruption_the_close_is_waited_for_as_well() -> None:
    """A route may close then, too; where it does not, the next reply goes out all the same."""
    tts = closing("One.")
    tts.interrupt(0.5)
    reply(tts, 2, "Next.")
    assert sent(tts, 0.5) == ["clear"]
    say(tts, "cleared", 0.6)
    assert (sent(tts, 0.6), tts.deadline()) == ([], 0.6 + CLOSES_WITHIN_S)
    tts.expire(0.6 + CLOSES_WITHIN_S)
    assert sent(tts, 0.9) == ["Next.", "flush"]


def test_where_clear_is_not_acknowledged_the_connection_is_spent() -> None:
    """Whose audio comes is unclear: at once, and without a complaint a second later."""
    tts = exchange()
    tts.connected(classic("elevenlabs"), 0.0)
    reply(tts, 1, "One.")
    sent(tts, 0.0)
    tts.interrupt(1.0)
    reply(tts, 2, "Next.")
    assert not tts.spent  # before it is told to clear, the gateway goes on for nobody
    assert sent(tts, 1.0) == ["clear"]
    assert (tts.spent, tts.at_rest) == (True, True)
    assert chunk(tts, PCM, now=1.1) == []
    assert (sent(tts, 1.1), tts.expire(9.0)) == ([], [])
    tts.disconnected(GONE)
    connect(tts, 2.0)
    assert sent(tts, 2.0) == ["Next.", "flush"]


def test_where_stop_is_acknowledged_the_connection_stays() -> None:
    """`audio_end` is the answer to it."""
    tts = exchange()
    tts.connected(classic("orpheus"), 0.0)
    reply(tts, 1, "One.")
    sent(tts, 0.0)
    tts.interrupt(1.0)
    reply(tts, 2, "Next.")
    assert (sent(tts, 1.0), tts.spent) == (["stop"], False)
    say(tts, "audio_end", 1.1)
    assert sent(tts, 1.1) == ["Next.", "flush"]


def test_a_dialect_without_a_keepalive_sends_none() -> None:
    """And is not asked again and again."""

    class Silent(ClassicTts):
        def keepalive(self) -> str | None:  # type: ignore[override]
            return None

    tts = exchange()
    tts.connected(Silent(model="kokoro", voice="", context=ClassicContext("c")), 0.0)
    assert (sent(tts, 30.0), tts.deadline()) == ([], None)


def test_an_exchange_that_is_new_knows_nothing_of_its_route() -> None:
    """Whether it closes after each utterance is learned."""
    tts = exchange()
    assert tts.one_utterance is False
    assert not tts.served


def test_audio_and_the_end_of_it_may_come_in_one_message() -> None:
    """Some providers say so of the last piece."""
    tts = speaking("One.")
    audio = base64.b64encode(PCM).decode()
    events = tts.receive(json.dumps({"audio": audio, "isFinal": True}), 0.0)
    assert kinds(events) == [SegmentBegan, ReplyAudio, SegmentDone, ReplyDone]


def test_what_has_answered_has_answered_whatever_comes_next() -> None:
    """A segment of which a header alone has come sounds not yet."""
    tts = speaking("One.", "Two.")
    chunk(tts, PCM)
    say(tts, "flushed")
    sent(tts, 0.0)
    chunk(tts, wav_header())
    assert tts.answered


def test_a_voice_is_changed_live_where_the_dialect_can() -> None:
    """The message goes before the next text, as soon as the plan allows one."""
    tts = exchange(limits=replace(PRO, messages_a_minute=2))
    tts.connected(classic("elevenlabs"), 0.0)
    tts.change_voice("adam")
    message = tts.next_message(1.0)
    assert message is not None
    assert json.loads(message)["type"] == "configure"
    assert '"adam"' in message
    assert not tts.spent
    sent(tts, 31.0)
    tts.disconnected(GONE)
    tts.connected(classic("elevenlabs"), 40.0)
    tts.change_voice("eve")
    assert sent(tts, 60.0) == ["configure"]
    tts.change_voice("adam")
    assert (sent(tts, 89.0), tts.deadline()) == ([], 90.0)
    assert (sent(tts, 90.0), tts.deadline()) == ([], 40.0 + WINDOW_S)
    assert sent(tts, 40.0 + WINDOW_S) == ["configure"]


def test_no_text_goes_before_a_change_of_voice() -> None:
    """It would be spoken in the old one."""
    tts = exchange(limits=replace(PRO, messages_a_minute=2))
    tts.connected(classic("elevenlabs"), 0.0)
    sent(tts, 40.0)  # a keepalive
    tts.change_voice("eve")
    reply(tts, 1, "Hello.")
    assert (sent(tts, 41.0), tts.deadline()) == ([], WINDOW_S)
    assert sent(tts, WINDOW_S) == ["configure"]


def test_a_voice_that_cannot_be_changed_live_needs_another_connection() -> None:
    """What is in flight is spoken to its end; what follows waits for the next connection."""
    tts = speaking("One.", "Two.")
    tts.change_voice("other")
    assert (tts.spent, tts.at_rest) == (False, False)
    say(tts, "flushed")
    assert (tts.spent, sent(tts, 0.0)) == (True, [])
    tts.disconnected(GONE)
    connect(tts, 1.0)
    assert (tts.spent, sent(tts, 1.0)) == (False, ["Two.", "flush"])


def test_without_a_connection_a_voice_is_the_next_ones() -> None:
    """Its dialect is made with it; nothing is to be sent."""
    tts = exchange()
    tts.change_voice("other")
    connect(tts, 1.0)
    assert (tts.spent, sent(tts, 1.0)) == (False, [])


def test_silence_is_told_from_other_reasons_to_connect_anew() -> None:
    """Only a model that says nothing is to blame for it: code 1000, and given up by us."""
    silent = broken(speaking().expire(8.0))
    tts = speaking()
    tts.interrupt(0.0)
    sent(tts, 0.0)
    unclear = broken(tts.expire(1.0))
    assert isinstance(silent, SessionClosed)
    assert isinstance(unclear, SessionClosed)
    assert [(each.code, each.by_us) for each in (silent, unclear)] == [(1000, True), (1002, True)]


# Properties


class Gateway:
    """Speaks what it is sent, byte by byte of its text, when it is told to go on."""

    def __init__(self, *, both: bool, clears_with: str | None) -> None:
        self.both = both
        self.clears_with = clears_with
        self.queue: list[str | bytes] = []
        self.text = ""

    def receive(self, message: str) -> None:
        fields = json.loads(message)
        match fields["type"]:
            case "text" | "input_text":
                self.text += fields["text"].replace(" ", "")
            case "flush":
                self.queue += [self.text[n : n + 1].encode() * 2 for n in range(len(self.text))]
                self.queue += ['{"type": "audio_end"}', '{"type": "flushed"}'][: 1 + self.both]
                self.text = ""
            case "clear" | "stop" if self.clears_with is not None:
                # What is on its way already still arrives.
                self.queue = [*self.queue[:3], f'{{"type": "{self.clears_with}"}}']
                self.text = ""


@dataclass(frozen=True)
class Route:
    """What is spoken to: a dialect, and how its gateway behaves."""

    dialect: Callable[[], TtsDialect]
    both: bool = False
    clears_with: str | None = None
    closes: bool = False


def classic(model: str) -> ClassicTts:
    """A dialect of the classic protocol."""
    return ClassicTts(model=model, voice="", context=ClassicContext("c"))


def unified() -> UnifiedTts:
    """The dialect of the unified protocol."""
    return UnifiedTts(model=None, voice="v", sample_rate_hz=24000)


ROUTES = [
    Route(unified, clears_with="cleared"),
    Route(unified, clears_with="cleared", both=True),
    Route(unified, clears_with="cleared", closes=True),
    Route(unified),
    Route(lambda: classic("orpheus"), clears_with="audio_end"),
    Route(lambda: classic("elevenlabs")),
    Route(lambda: classic("deepgram")),
]

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "connect",
                "connect",
                "drop",
                "replace",
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
                "large",
                "voice",
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

    def __init__(self, route: Route, *, messages: int, chars: int | None) -> None:
        self.route = route
        self.messages = messages
        self.chars = chars
        self.tts = exchange(
            limits=replace(TIER_LIMITS["pro"], messages_a_minute=messages, text_chars=5)
        )
        self.gateway: Gateway | None = None
        self.now = 100.0
        self.stuck = False
        self.opened: list[int] = []
        self.ended: set[int] = set()
        self.interrupted: set[int] = set()
        self.events: list[TtsEvent] = []
        self.sent_at: list[float] = []
        self.chars_sent: list[tuple[float, int]] = []

    def do(self, operation: str, count: int) -> None:
        tts, now, gateway = self.tts, self.now, self.gateway
        match operation:
            case "connect" if gateway is None:
                self.connect()
            case "drop" if gateway is not None:
                self.drop(GONE)
            case "large" if gateway is not None:
                self.drop(SessionClosed("", code=4002))
            case "replace" if gateway is not None and tts.at_rest:
                self.drop(SessionClosed("its time is up", code=1000, by_us=True))
                self.connect()
            case "voice":
                tts.change_voice("other")
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
                        self.go(gateway)
            case "error" if gateway is not None:
                self.take(say(tts, "error", now, code="oops", retryable=count > 3))
            case "stuck":
                self.stuck = True

    def go(self, gateway: Gateway) -> None:
        message = gateway.queue.pop(0)
        self.take(self.tts.receive(message, self.now))
        if self.route.closes and self.gateway is gateway and isinstance(message, str):
            self.drop(SessionClosed("", code=1000))

    def take(self, events: list[TtsEvent]) -> None:
        self.events += events
        errors = [event.error for event in events if isinstance(event, Broken)]
        if self.gateway and errors:
            self.drop(errors[0])

    def connect(self) -> None:
        self.gateway = Gateway(both=self.route.both, clears_with=self.route.clears_with)
        self.stuck = False
        self.sent_at = [self.now]  # `init`
        dialect = self.route.dialect()
        dialect.init()
        self.tts.connected(dialect, self.now, chars_a_minute=self.chars)

    def drop(self, error: GatewayError) -> None:
        self.gateway = None
        closes = isinstance(error, SessionClosed) and error.code == 1000 and not error.by_us
        self.tts.one_utterance |= closes and self.tts.served
        self.take(self.tts.disconnected(error))
        self.tts.mend(error)

    def send(self, message: str, gateway: Gateway) -> None:
        """Within what the plan and the provider allow in any minute."""
        self.sent_at = [at for at in self.sent_at if at > self.now - 60.0] + [self.now]
        assert len(self.sent_at) <= self.messages
        text = json.loads(message).get("text", "")
        assert len(text) <= 7
        self.chars_sent = [(at, n) for at, n in self.chars_sent if at > self.now - 60.0]
        self.chars_sent.append((self.now, len(text)))
        assert self.chars is None or sum(n for _, n in self.chars_sent) <= self.chars
        gateway.receive(message)

    def settle(self) -> None:
        """Do all that is due now, and look whether the exchange can be waited for."""
        for _ in range(1000):
            events = self.tts.expire(self.now)
            self.take(events)
            message = self.tts.next_message(self.now) if self.gateway else None
            if message is not None and self.gateway:
                self.send(message, self.gateway)
            elif self.tts.spent:
                self.drop(SessionClosed("it has done its work", code=1000, by_us=True))
                self.connect()
            elif not events:
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


@settings(max_examples=400, deadline=None)
@given(
    OPERATIONS,
    st.sampled_from(ROUTES),
    st.sampled_from([4, 6, 20, 1000]),
    st.sampled_from([None, 10, 50]),
)
def test_every_reply_ends_once_with_its_own_audio_alone(
    operations: list[tuple[str, int, float]], route: Route, messages: int, chars: int | None
) -> None:
    """Whatever happens, each reply that is ended and not interrupted has one end, and no audio
    is credited to another reply; an idle exchange names a later time, and work alone keeps it
    from being at rest.
    """
    owner = Owner(route, messages=messages, chars=chars)
    for operation, count, seconds in operations:
        owner.do(operation, count)
        owner.settle()
        owner.now += seconds
        owner.settle()
    owner.do("end", 0)
    for _ in range(1000):
        owner.do("connect", 0)
        owner.settle()
        if not owner.tts.pressing:
            break
        if owner.gateway and owner.gateway.queue and not owner.stuck:
            owner.do("go", 6)
        else:
            owner.now = owner.tts.deadline() or owner.now + 0.5
        owner.settle()
    ends = over(owner.events)
    assert sorted(ends) == [n for n in owner.opened if n not in owner.interrupted]
    for number, pcm, _ in pcm_of(owner.events):
        assert pcm.decode() == letter(number) * 2
