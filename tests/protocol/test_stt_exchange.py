"""Speech-to-text over connections that come and go: who said what, and what was lost."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.errors import (
    AuthenticationRejected,
    GatewayError,
    LocalProtocolError,
    RemoteProtocolError,
    ServerReportedError,
    SessionClosed,
)
from slng_edge.protocol.classic_stt import ClassicStt
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
from slng_edge.protocol.stt_exchange import (
    CLOSES_WITHIN_S,
    FINALS,
    MESSAGE_BYTES,
    SETTLE_S,
    STRAY_FINALS,
    WORDS_CHARS,
    SttDialect,
    SttExchange,
    SttTimes,
)
from slng_edge.protocol.token_bucket import WINDOW_S
from slng_edge.protocol.unified_stt import UnifiedStt

TIMES = SttTimes(keepalive_s=5.0, final_s=5.0, offline_keep_s=30.0)
GONE = SessionClosed("gone")
SECOND = b"\1\0" * 1000
"""One second of audio at the rate of these tests."""


def exchange(*, keep_s: float = 60.0, join_finals: bool = True, **more: Any) -> SttExchange:
    """An exchange at 1000 Hz without a connection."""
    return SttExchange(rate_hz=1000, keep_s=keep_s, times=TIMES, join_finals=join_finals, **more)


def connect(stt: SttExchange, now: float, **dialect: Any) -> None:
    """Give it a connection that is ready."""
    stt.connected(UnifiedStt(sample_rate_hz=1000, **dialect), now)
    assert stt.ready


def connected(*, binary_audio: bool = True, **changes: Any) -> SttExchange:
    """An exchange that has a connection since 0."""
    stt = exchange(**changes)
    connect(stt, 0.0, binary_audio=binary_audio)
    return stt


def type_of(message: str | bytes | None) -> str | None:
    """The type of a message that we sent, "binary" for audio."""
    if message is None:
        return None
    return "binary" if isinstance(message, bytes) else str(json.loads(message)["type"])


def sent(stt: SttExchange, now: float) -> list[str | None]:
    """The types of all that is due now."""
    types = []
    while (message := stt.next_message(now)) is not None:
        types.append(type_of(message))
    return types


def say(stt: SttExchange, kind: str, now: float, **fields: Any) -> list[SttEvent]:
    """What the exchange makes of a message of the gateway."""
    return stt.receive(json.dumps({"type": kind, **fields}), now)


def final(stt: SttExchange, text: str, now: float, **fields: Any) -> list[SttEvent]:
    """What the exchange makes of a final."""
    return say(stt, "final_transcript", now, transcript=text, **fields)


def utter(stt: SttExchange, now: float, pcm: bytes = SECOND) -> int:
    """An utterance, begun and ended; returns its number."""
    number = stt.open_utterance()
    assert stt.add_audio(number, pcm) == []
    stt.end_utterance(number, now)
    return number


def finalized(now: float = 0.0, **changes: Any) -> tuple[SttExchange, int]:
    """An exchange whose first utterance is sent and finalized, and its number."""
    stt = connected(**changes)
    number = utter(stt, now)
    assert sent(stt, now)[-1] == "finalize"
    return stt, number


# Connection


def test_a_route_that_does_not_close_after_an_answer_is_not_taken_for_one_any_more() -> None:
    """What was learned of it by one close is forgotten by the first that does not come."""
    stt, _ = finalized()
    stt.one_utterance = True
    assert stt.deadline() == 5.0  # nothing is answered yet
    final(stt, "words", 1.0)
    assert stt.deadline() == 1.0 + CLOSES_WITHIN_S
    assert (stt.expire(1.29), stt.one_utterance) == ([], True)
    stt.disconnected(GONE)
    assert stt.deadline() is None
    connect(stt, 2.0)
    utter(stt, 2.0)
    sent(stt, 2.0)
    assert (stt.expire(2.5), stt.one_utterance) == ([], True)
    final(stt, "more", 3.0)
    assert (stt.expire(3.0 + CLOSES_WITHIN_S), stt.one_utterance) == ([], False)
    assert stt.deadline() == 7.0  # the keepalive


def test_an_exchange_joins_finals_and_knows_nothing_of_its_route() -> None:
    """Unless it is said to be for a recording."""
    stt = SttExchange(rate_hz=1000, keep_s=60.0, times=TIMES)
    assert stt.one_utterance is False
    connect(stt, 0.0)
    utter(stt, 0.0)
    sent(stt, 0.0)
    final(stt, "words", 0.5)
    assert (stt.pressing, stt.finished) == (False, False)


def test_just_so_much_speech_is_kept_and_not_a_sample_more() -> None:
    """What fits is no loss, and nothing is told of it."""
    stt = exchange(keep_s=2.0)
    number = stt.open_utterance()
    assert [stt.add_audio(number, bytes(200)) for _ in range(20)] == [[]] * 20
    assert stt.end_utterance(number, 0.0) == []
    number = stt.open_utterance()
    assert stt.add_audio(number, bytes(2)) == []
    (lost,) = stt.end_utterance(number, 0.0)
    why = "more speech than can be kept while there is no connection"
    assert lost == UtteranceLost(number, 100, why, over=False)


def test_the_end_of_what_nobody_began_loses_nothing() -> None:
    """Neither of it, nor of what is said next."""
    stt = exchange()
    assert stt.end_utterance(99, 0.0) == []
    number = stt.open_utterance()
    assert stt.add_audio(number, SECOND) == []
    assert stt.end_utterance(number, 1.0) == []


def test_speech_waits_for_a_connection() -> None:
    """Audio before `ready` gets close 1008, so it waits, and follows with its finalize."""
    stt = exchange()
    utter(stt, 0.0)
    assert (sent(stt, 0.0), stt.ready) == ([], False)
    assert say(stt, "final_transcript", 0.0, transcript="of nobody") == []
    connect(stt, 1.0)
    assert sent(stt, 1.0) == ["binary", "finalize"]


def test_audio_is_sent_as_base64_where_the_dialect_says_so() -> None:
    """The other form of audio carries the same bytes."""
    stt = connected(binary_audio=False)
    stt.add_audio(stt.open_utterance(), b"\1\2\3\4")
    message = stt.next_message(0.0)
    assert isinstance(message, str)
    assert base64.b64decode(json.loads(message)["data"]) == b"\1\2\3\4"


def test_no_message_holds_more_audio_than_every_plan_takes() -> None:
    """A long pre-roll comes in one piece and is sent in several."""
    stt = connected()
    pcm = bytes(3 * MESSAGE_BYTES)
    stt.add_audio(stt.open_utterance(), pcm)
    messages = [stt.next_message(0.0) for _ in range(3)]
    assert [len(message or b"") for message in messages] == [MESSAGE_BYTES] * 3


def test_half_a_sample_is_refused_where_it_is_handed_in() -> None:
    """The caller is told, not the thread that would have sent it."""
    stt = connected()
    number = stt.open_utterance()
    with pytest.raises(LocalProtocolError, match="3 bytes"):
        stt.add_audio(number, b"abc")
    assert stt.unsent_ms == 0


def test_unsent_audio_is_told_in_milliseconds() -> None:
    """It shrinks as messages are taken."""
    stt = connected()
    stt.add_audio(stt.open_utterance(), SECOND)
    assert stt.unsent_ms == 1000
    sent(stt, 0.0)
    assert stt.unsent_ms == 0


def test_keepalives_fill_the_silence() -> None:
    """One is due when nothing was sent for its interval, and every message puts it off."""
    stt = connected()
    assert stt.deadline() == 5.0
    assert (sent(stt, 4.9), sent(stt, 5.0), stt.deadline()) == ([], ["keepalive"], 10.0)
    stt.add_audio(stt.open_utterance(), SECOND)
    assert sent(stt, 8.0) == ["binary"]
    assert (sent(stt, 10.0), sent(stt, 13.0)) == ([], ["keepalive"])


def test_without_a_connection_nothing_is_due() -> None:
    """Neither before the first nor after the last."""
    stt = exchange()
    assert (stt.deadline(), stt.next_message(0.0)) == (None, None)
    connect(stt, 1.0)
    stt.disconnected(GONE)
    assert (stt.deadline(), stt.next_message(100.0)) == (None, None)


def test_the_last_message_of_a_connection_is_close() -> None:
    """Without one there is nothing to take leave of."""
    assert exchange().farewell() is None
    assert type_of(connected().farewell()) == "close"


def test_no_close_is_sent_that_the_plan_does_not_allow() -> None:
    """The gateway would refuse it; the connection is closed all the same."""
    stt = connected(messages_a_minute=1)
    sent(stt, WINDOW_S - 0.1)
    assert stt.farewell() is None
    stt.add_audio(stt.open_utterance(), SECOND)
    sent(stt, WINDOW_S + 1.0)
    assert type_of(stt.farewell()) == "close"


def test_the_last_message_that_the_plan_allows_is_sent() -> None:
    """A close, or a keepalive, needs no more than one."""
    stt = connected(messages_a_minute=2)
    assert type_of(stt.farewell()) == "close"
    assert sent(stt, 5.0) == ["keepalive"]
    assert stt.farewell() is None


def test_close_is_not_said_twice() -> None:
    """A recording has asked for it already."""
    stt, _ = recording()
    assert stt.farewell() is None


def test_a_close_after_the_last_answer_is_the_life_of_the_route() -> None:
    """`served` is so once all that was asked is answered, until more is or the socket changes."""
    stt, _ = finalized()
    assert not stt.served
    final(stt, "yes", 0.1)
    assert stt.served
    utter(stt, 1.0)
    assert stt.served  # the gateway does not know of it
    sent(stt, 1.0)
    assert not stt.served
    stt.disconnected(GONE)
    stt.expire(100.0)
    connect(stt, 101.0)
    assert (stt.pressing, stt.served, stt.answered) == (False, False, False)


@pytest.mark.parametrize(
    ("fields", "kind", "retryable"),
    [
        ({"code": "auth_error", "message": "no"}, AuthenticationRejected, False),
        ({"data": {"code": "503", "description": "busy"}}, Exception, True),
        ({"code": "backend_error", "error": "x", "retryable": False}, Exception, False),
    ],
)
def test_an_error_of_the_gateway_ends_the_connection(
    fields: dict[str, Any], kind: type[Exception], retryable: bool
) -> None:
    """Its error says whether trying again can help."""
    (broken,) = say(connected(), "Error", 0.0, **fields)
    assert isinstance(broken, Broken)
    assert isinstance(broken.error, kind)
    assert broken.error.retryable is retryable


def test_messages_that_mean_nothing_change_nothing() -> None:
    """Those that are not understood are told of, the others are passed over."""
    stt, number = finalized()
    assert say(stt, "Metadata", 0.0) == []
    assert say(stt, "utterance_end", 0.0, last_word_end=1.0) == []
    assert isinstance(say(stt, "surprise", 0.0)[0], Odd)
    assert isinstance(stt.receive(b"\0", 0.0)[0], Odd)
    assert final(stt, "yes", 1.0) == [Final(number, "yes", 1.0)]


# The end of the words


def test_the_end_of_the_words_is_told_with_all_of_them() -> None:
    """Of the finals so far; the utterance goes on until its own final."""
    stt = connected()
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    sent(stt, 0.0)
    final(stt, "what is", 1.0)
    assert say(stt, "utterance_end", 1.1, last_word_end=0.5) == [WordsEnded(number, "what is")]
    final(stt, "the time", 2.0)
    assert say(stt, "utterance_end", 2.1) == [WordsEnded(number, "what is the time")]
    stt.end_utterance(number, 2.2)
    assert sent(stt, 2.2) == ["finalize"]
    assert say(stt, "utterance_end", 2.3) == [WordsEnded(number, "what is the time")]
    assert [event.text for event in final(stt, "", 2.4)] == ["what is the time"]
    assert say(stt, "utterance_end", 2.5) == []


def test_an_end_of_words_without_words_is_none() -> None:
    """A partial is no promise: only what is final counts."""
    stt = connected()
    assert say(stt, "utterance_end", 0.0) == []
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    sent(stt, 0.0)
    say(stt, "partial_transcript", 1.0, transcript="what")
    assert say(stt, "utterance_end", 1.1) == []


def test_the_end_of_words_that_nobody_waits_for_is_not_told() -> None:
    """They were given up, and the gateway knows nothing of it."""
    stt = connected()
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    sent(stt, 0.0)
    final(stt, "what is", 1.0)
    stt.abandon(number)
    assert say(stt, "utterance_end", 1.1) == []


# Finals


def test_finals_are_joined_from_the_onset_to_the_answer_of_finalize() -> None:
    """Several finals of one utterance make one, with the least confidence and all its words."""
    stt = connected()
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    sent(stt, 0.0)
    word = {"word": "turn", "start": 0.1}
    assert final(stt, "turn on", 0.5, confidence=0.9, duration=1.0, words=[word]) == [
        Partial(number, "turn on")
    ]
    assert say(stt, "partial_transcript", 0.6, transcript="the l") == [
        Partial(number, "turn on the l")
    ]
    stt.end_utterance(number, 1.0)
    assert sent(stt, 1.0) == ["finalize"]
    assert final(stt, "the light", 1.25, confidence=0.5, duration=0.5, language="en") == [
        Final(number, "turn on the light", 0.25, 0.5, "en", 1.5, (word,))
    ]


def test_an_empty_final_after_finalize_is_an_answer() -> None:
    """Nothing more was said: what came before is the whole, which may be nothing."""
    stt = connected()
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    sent(stt, 0.0)
    final(stt, "hello", 0.5)
    assert final(stt, "", 0.6) == []
    stt.end_utterance(number, 1.0)
    sent(stt, 1.0)
    assert final(stt, "", 1.1) == [Final(number, "hello", pytest.approx(0.1))]
    second = utter(stt, 2.0)
    sent(stt, 2.0)
    assert final(stt, "", 2.0) == [Final(second, "", 0.0)]


def test_a_route_that_marks_its_answers_is_waited_for() -> None:
    """Once `from_finalize` was seen, a final without it does not answer, on that socket."""
    stt, first = finalized()
    assert final(stt, "one", 0.0, from_finalize=True) == [Final(first, "one", 0.0)]
    second = utter(stt, 1.0)
    sent(stt, 1.0)
    assert final(stt, "two", 1.0) == [Partial(second, "two")]
    assert final(stt, "", 1.5, from_finalize=True) == [Final(second, "two", 0.5)]
    stt.disconnected(GONE)
    connect(stt, 2.0)
    third = utter(stt, 2.0)
    sent(stt, 2.0)
    assert final(stt, "three", 2.0) == [Final(third, "three", 0.0)]


def test_a_marked_final_before_finalize_answers_nothing() -> None:
    """It belongs to the utterance, which goes on."""
    stt = connected()
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    sent(stt, 0.0)
    assert final(stt, "so", 0.0, from_finalize=True) == [Partial(number, "so")]


def test_transcript_and_final_transcript_of_the_same_words_are_one() -> None:
    """The repetition neither doubles the words nor starts another utterance."""
    stt, number = finalized()
    events = say(stt, "transcript", 0.5, transcript="yes", is_final=True)
    assert events == [Final(number, "yes", 0.5)]
    assert final(stt, "yes", 0.5) == []


def test_finals_passed_through_from_deepgram_count() -> None:
    """`Results` with a word for a truth is a final like any other."""
    stt, number = finalized()
    channel = {"alternatives": [{"transcript": "yes", "confidence": 0.25}]}
    assert say(stt, "Results", 1.0, is_final="true", channel=channel) == [
        Final(number, "yes", 1.0, 0.25)
    ]


def test_one_finalize_is_outstanding_at_a_time() -> None:
    """What is said before the answer of the last waits for it: a final says not whose it is."""
    stt = connected()
    first, second = utter(stt, 0.0), utter(stt, 0.0)
    assert sent(stt, 0.0) == ["binary", "finalize"]
    assert final(stt, "one", 1.0) == [Final(first, "one", 1.0)]
    assert sent(stt, 1.0) == ["binary", "finalize"]
    assert final(stt, "two", 3.0) == [Final(second, "two", 2.0)]


def kept() -> tuple[SttExchange, int]:
    """An exchange that has just sent an utterance of before its connection, and its number."""
    stt = exchange()
    number = utter(stt, 0.0)
    connect(stt, 2.0)
    assert sent(stt, 2.0) == ["binary", "finalize"]
    return stt, number


def test_speech_that_was_kept_is_answered_when_no_more_finals_come() -> None:
    """It went out faster than it was spoken: a final of a part of it may come after `finalize`."""
    stt, number = kept()
    assert final(stt, "one", 2.5) == [Partial(number, "one")]
    assert stt.deadline() == 2.5 + SETTLE_S
    assert say(stt, "partial_transcript", 3.0, transcript="tw") == [Partial(number, "one tw")]
    assert stt.deadline() == 3.0 + SETTLE_S
    assert final(stt, "two", 3.5) == [Partial(number, "one two")]
    assert stt.expire(3.5) == []
    assert stt.expire(3.5 + SETTLE_S) == [Final(number, "one two", 1.5 + SETTLE_S)]


@pytest.mark.parametrize(
    ("text", "fields"),
    [("two", {"duration": 0.5}), ("", {}), ("two", {"from_finalize": True})],
)
def test_speech_that_was_kept_is_answered_at_once_where_that_is_sure(
    text: str, fields: dict[str, Any]
) -> None:
    """Finals that cover all of it, an empty one, or one that is marked."""
    stt, number = kept()
    final(stt, "one", 2.5, duration=0.5)
    (answer,) = final(stt, text, 2.6, **fields)
    assert isinstance(answer, Final)
    assert (answer.utterance, answer.text) == (number, f"one {text}".strip())


def test_speech_that_was_kept_is_waited_for_where_nearly_nine_tenths_are_spoken_of() -> None:
    """To the thousandth: ten seconds of audio are ten seconds."""
    stt = exchange()
    number = utter(stt, 1.0, SECOND * 10)
    connect(stt, 2.0)
    sent(stt, 2.0)
    assert final(stt, "one", 2.5, duration=8.995) == [Partial(number, "one")]


def test_a_partial_of_speech_that_is_not_settling_waits_for_its_answer() -> None:
    """The final that answers is waited for as long as ever."""
    stt, number = finalized()
    assert say(stt, "partial_transcript", 1.0, transcript="wo") == [Partial(number, "wo")]
    assert stt.deadline() == 5.0


def test_speech_that_goes_on_after_it_was_kept_is_answered_by_the_first_final() -> None:
    """By then the gateway is not behind any more."""
    stt = exchange()
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    connect(stt, 2.0)
    sent(stt, 2.0)
    stt.add_audio(number, SECOND)
    stt.end_utterance(number, 3.0)
    sent(stt, 3.0)
    assert final(stt, "yes", 3.5) == [Final(number, "yes", 0.5)]


def test_a_connection_that_breaks_before_finals_have_settled_brings_them_anew() -> None:
    """What came of it is not counted twice."""
    stt, number = kept()
    final(stt, "one", 2.5)
    stt.disconnected(GONE)
    connect(stt, 4.0)
    sent(stt, 4.0)
    assert final(stt, "one two", 4.5, duration=1.0) == [
        Final(number, "one two", 0.5, duration_s=1.0)
    ]


def test_words_that_nobody_waits_for_are_stray() -> None:
    """They are told of, and silence is not; partials of nothing say nothing."""
    stt = connected()
    assert final(stt, "what", 0.0) == [StrayFinal("what")]
    assert final(stt, "", 0.0) == []
    assert say(stt, "partial_transcript", 0.0, transcript="wh") == []


def test_stray_words_are_counted_for_each_connection() -> None:
    """So many are told; one more breaks it."""
    stt = connected()
    for now in (0.0, 10.0):
        for _ in range(STRAY_FINALS):
            assert final(stt, "what", now) == [StrayFinal("what")]
        (broken,) = final(stt, "what", now)
        assert isinstance(broken, Broken)
        assert "21 times" in str(broken.error)
        stt.disconnected(GONE)
        connect(stt, now + 5.0)


@pytest.mark.parametrize(
    ("count", "words"), [(FINALS, "x"), (1, "x" * WORDS_CHARS)], ids=["finals", "words"]
)
def test_one_utterance_has_so_many_words_and_no_more(count: int, words: str) -> None:
    """A gateway that goes on is not telling what was said."""
    stt = connected()
    stt.add_audio(stt.open_utterance(), SECOND)
    for _ in range(count):
        (partial,) = final(stt, words, 1.0)
        assert isinstance(partial, Partial)
    (broken,) = final(stt, "x", 1.0)
    assert isinstance(broken, Broken)
    assert "more words than one utterance can have" in str(broken.error)


def test_what_is_odd_is_told_with_the_reason() -> None:
    """And breaks nothing."""
    assert say(connected(), "surprise", 0.0) == [Odd("unknown type 'surprise'")]


def test_an_empty_partial_says_nothing() -> None:
    """It would blank what was shown."""
    stt, _ = finalized()
    assert say(stt, "partial_transcript", 0.0, transcript="") == []


def test_speech_that_finds_no_room_is_told_by_the_second() -> None:
    """A television and no network make one event a second, and one for the rest at the end."""
    stt = exchange(keep_s=1.0)
    number = stt.open_utterance()
    told = [event for _ in range(175) for event in stt.add_audio(number, bytes(40))]
    assert [event.ms for event in told] == [1000, 1000]
    (rest,) = stt.end_utterance(number, 0.0)
    assert isinstance(rest, UtteranceLost)
    assert (rest.ms, rest.over) == (500, False)
    assert stt.end_utterance(number, 0.0) == []


# A recording that is sent whole


def recording() -> tuple[SttExchange, int]:
    """An exchange that has sent a recording, `finalize` and `close`, and its number."""
    stt = connected(join_finals=False)
    number = utter(stt, 1.0)
    assert sent(stt, 1.0) == ["binary", "finalize", "close"]
    return stt, number


def test_each_final_of_a_recording_is_given_as_it_comes() -> None:
    """Before `finalize` and after it; the gateway's own close is the end."""
    stt = connected(join_finals=False)
    assert not stt.finished
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    sent(stt, 0.0)
    assert final(stt, "one", 0.0) == [Final(number, "one", 0.0, answers=False)]
    assert final(stt, "", 0.0) == []
    assert say(stt, "partial_transcript", 0.0, transcript="tw") == [Partial(number, "tw")]
    stt.end_utterance(number, 1.0)
    sent(stt, 1.0)
    assert final(stt, "two", 1.5) == [Final(number, "two", 0.5, answers=False)]
    assert final(stt, "three", 2.0) == [Final(number, "three", 1.0, answers=False)]
    assert stt.served  # we have asked for the close
    assert not stt.finished
    assert stt.disconnected(SessionClosed("", code=1000)) == [Final(number, "", 0.0)]
    assert stt.finished


def test_a_marked_final_is_the_end_of_a_recording() -> None:
    """A route that marks its answer need not be waited for."""
    stt, number = recording()
    assert final(stt, "one", 1.5) == [Final(number, "one", 0.5, answers=False)]
    assert final(stt, "two", 2.0, from_finalize=True) == [Final(number, "two", 1.0)]
    assert stt.disconnected(SessionClosed("", code=1000)) == []


def test_the_wait_for_a_recording_runs_from_the_last_message() -> None:
    """A long one takes its time; a gateway that then neither speaks nor closes has said all."""
    stt, number = recording()
    assert stt.deadline() == 6.0
    final(stt, "one", 5.0)
    say(stt, "partial_transcript", 8.0, transcript="tw")
    assert stt.expire(12.9) == []
    assert stt.expire(13.0) == [Final(number, "", 12.0)]


def test_a_recording_of_which_nothing_is_out_is_sent_again() -> None:
    """It loses nothing; also where the gateway closes although `close` was not yet said."""
    stt = connected(join_finals=False)
    utter(stt, 1.0)
    assert type_of(stt.next_message(1.0)) == "binary"
    assert stt.disconnected(SessionClosed("", code=1000)) == []
    connect(stt, 2.0)
    assert sent(stt, 2.0) == ["binary", "finalize", "close"]
    assert stt.disconnected(GONE) == []
    assert stt.disconnected(RemoteProtocolError("odd")) == []


def test_a_close_without_any_final_is_no_answer() -> None:
    """The recording is sent once more; without a final, again, it is lost. An empty one answers."""
    stt, number = recording()
    assert stt.disconnected(SessionClosed("", code=1000)) == []
    connect(stt, 2.0)
    assert sent(stt, 2.0) == ["binary", "finalize", "close"]
    why = "the gateway closed without a final transcript, twice"
    lost = UtteranceLost(number, 1000, why, over=True)
    assert stt.disconnected(SessionClosed("", code=1000)) == [lost]
    stt, number = recording()
    assert final(stt, "", 1.5) == []
    assert stt.disconnected(SessionClosed("", code=1000)) == [Final(number, "", 0.0)]


def test_a_recording_that_is_out_in_part_is_not_sent_again() -> None:
    """Its first words would come twice."""
    stt, number = recording()
    final(stt, "one", 1.5)
    (lost,) = stt.disconnected(GONE)
    assert isinstance(lost, UtteranceLost)
    assert (lost.utterance, lost.ms, lost.over) == (number, 1000, True)
    assert "a part of the words is out already" in lost.why


def test_speech_after_a_recording_waits_for_the_next_connection() -> None:
    """The one that was told to close takes none: it is spent once nothing is awaited on it."""
    stt, first = recording()
    second = utter(stt, 1.0)
    assert (sent(stt, 1.0), stt.spent, stt.at_rest, stt.deadline()) == ([], False, False, 6.0)
    assert final(stt, "one", 2.0, from_finalize=True) == [Final(first, "one", 1.0)]
    assert (sent(stt, 60.0), stt.spent, stt.at_rest, stt.deadline()) == ([], True, True, None)
    assert stt.disconnected(SessionClosed("", code=1000)) == []
    assert not stt.spent
    connect(stt, 2.0)
    assert sent(stt, 2.0) == ["binary", "finalize", "close"]
    assert final(stt, "two", 3.0) == [Final(second, "two", 1.0, answers=False)]
    assert stt.disconnected(SessionClosed("", code=1000)) == [Final(second, "", 0.0)]


def test_close_is_held_back_like_any_other_message() -> None:
    """With what follows the recording; nothing else goes before it."""
    stt = connected(join_finals=False, messages_a_minute=2)
    utter(stt, 1.0)
    utter(stt, 1.0)
    assert sent(stt, 1.0) == ["binary", "finalize"]
    assert final(stt, "one", 3.0) == [Final(1, "one", 2.0, answers=False)]
    assert sent(stt, 4.0) == []
    assert stt.deadline() == 6.0  # its keepalive, which may not go either
    assert (sent(stt, 6.0), stt.deadline()) == ([], 8.0)  # the wait for the next final
    assert stt.expire(8.0) == [Final(1, "", 7.0)]
    assert stt.deadline() == WINDOW_S
    assert sent(stt, WINDOW_S) == ["close"]
    assert stt.spent


def test_where_there_is_no_close_the_first_final_after_finalize_ends_a_recording() -> None:
    """Nothing else would: the gateway keeps the connection open."""
    stt = exchange(join_finals=False)
    stt.connected(classic(), 0.0)
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    assert sent(stt, 0.0) == ["binary"]
    assert say(stt, "transcript", 0.5, text="one", is_final=True) == [
        Final(number, "one", 0.0, answers=False)
    ]
    stt.end_utterance(number, 1.0)
    assert sent(stt, 1.0) == ["finalize"]
    assert final(stt, "two", 2.0) == [Final(number, "two", 1.0)]
    assert (stt.pressing, stt.spent, stt.served) == (False, False, True)


@pytest.mark.parametrize("code", [1000, 1001, 1005])
def test_a_gateway_that_closes_has_said_all_of_a_recording(code: int) -> None:
    """With any close that is no complaint."""
    stt, number = recording()
    final(stt, "one", 1.5)
    assert stt.disconnected(SessionClosed("", code=code)) == [Final(number, "", 0.0)]
    assert (stt.pressing, stt.answered) == (False, True)
    connect(stt, 2.0)
    assert sent(stt, 2.0) == []


@pytest.mark.parametrize(
    "error",
    [
        SessionClosed("", code=1011),
        SessionClosed("", code=1000, by_us=True),
        RemoteProtocolError("odd"),
    ],
)
def test_a_complaint_is_not_the_end_of_a_recording(error: GatewayError) -> None:
    """What is out of it cannot be taken back: the rest is lost."""
    stt, number = recording()
    final(stt, "one", 1.5)
    (lost,) = stt.disconnected(error)
    assert isinstance(lost, UtteranceLost)
    assert (lost.utterance, lost.over) == (number, True)


# What is lost, and what is not


def test_an_utterance_without_a_final_is_replayed_once() -> None:
    """It is sent again on a new connection, whole, and its final is its own."""
    stt, number = finalized()
    assert stt.deadline() == 5.0
    assert stt.expire(4.9) == []
    (broken,) = stt.expire(5.0)
    assert isinstance(broken, Broken)
    assert "no final transcript within 5 s: connecting anew" in str(broken.error)
    assert stt.expire(5.0) == []
    assert stt.disconnected(broken.error) == []
    connect(stt, 6.0)
    assert sent(stt, 6.0) == ["binary", "finalize"]
    assert final(stt, "yes", 7.0, duration=1.0) == [Final(number, "yes", 1.0, duration_s=1.0)]


def test_an_utterance_without_a_final_for_the_second_time_is_lost() -> None:
    """It is reported with its length, and the socket that could still bring its words retired."""
    stt, number = finalized()
    stt.disconnected(GONE)
    (broken,) = expired_twice(stt)
    assert isinstance(broken, Broken)
    stt.disconnected(broken.error)
    connect(stt, 20.0)
    sent(stt, 20.0)
    lost, broken = stt.expire(25.0)
    assert lost == UtteranceLost(number, 1000, "no final transcript within 5 s, twice", over=True)
    assert isinstance(broken, Broken)
    assert "no final transcript within 5 s, twice" in str(broken.error)
    assert stt.expire(100.0) == []


def expired_twice(stt: SttExchange) -> list[SttEvent]:
    """Reconnect after the first loss of a connection and let the final not come."""
    connect(stt, 10.0)
    sent(stt, 10.0)
    return stt.expire(15.0)


def test_a_replay_gets_its_own_time_to_find_a_connection() -> None:
    """An utterance that had waited long before it was sent is not lost at its replay."""
    stt = exchange()
    number = utter(stt, 0.0)
    connect(stt, 29.0)
    sent(stt, 29.0)
    (broken,) = stt.expire(34.0)
    assert isinstance(broken, Broken)
    stt.disconnected(broken.error)
    assert stt.expire(63.9) == []
    assert stt.expire(64.0) == [UtteranceLost(number, 1000, "no connection for 30 s", over=True)]


def test_what_was_understood_is_taken_where_the_answer_does_not_come() -> None:
    """A final before finalize is enough: nothing is sent again."""
    stt = connected()
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    sent(stt, 0.0)
    final(stt, "hello", 0.0)
    stt.end_utterance(number, 1.0)
    sent(stt, 1.0)
    assert stt.expire(6.0) == [Final(number, "hello", 5.0)]


def test_a_broken_connection_costs_no_word() -> None:
    """What was in flight is sent again from its start, and the live audio follows."""
    stt = connected()
    number = stt.open_utterance()
    stt.add_audio(number, b"\1\0")
    sent(stt, 0.0)
    final(stt, "half of", 0.0)
    assert stt.disconnected(GONE) == []
    stt.add_audio(number, b"\2\0")
    assert (stt.ready, stt.next_message(1.0), stt.farewell()) == (False, None, None)
    connect(stt, 2.0)
    assert stt.next_message(2.0) == b"\1\0\2\0"
    stt.end_utterance(number, 3.0)
    assert sent(stt, 3.0) == ["finalize"]
    assert final(stt, "half of it", 3.0) == [Final(number, "half of it", 0.0)]


def test_without_a_connection_no_final_is_waited_for() -> None:
    """The time to answer begins anew when it is sent again, and its one replay is not used up."""
    stt, number = finalized()
    stt.disconnected(GONE)
    assert (stt.deadline(), stt.expire(29.0)) == (30.0, [])
    connect(stt, 29.0)
    sent(stt, 29.0)
    (broken,) = stt.expire(34.0)
    assert isinstance(broken, Broken)
    stt.disconnected(broken.error)
    connect(stt, 35.0)
    sent(stt, 35.0)
    assert final(stt, "yes", 36.0, duration=1.0) == [Final(number, "yes", 1.0, duration_s=1.0)]


@pytest.mark.parametrize(
    ("duration_s", "lost_ms"), [(0.25, 9750), (5.0, 5000), (10.0, 0), (11.0, 0), (None, 10000)]
)
def test_without_a_connection_what_was_understood_is_given_and_the_rest_reported(
    duration_s: float | None, lost_ms: int
) -> None:
    """Finals that had come before the connection broke are not thrown away."""
    stt = connected()
    number = stt.open_utterance()
    stt.add_audio(number, SECOND * 10)
    sent(stt, 0.0)
    final(stt, "hello", 0.0, duration=duration_s)
    stt.end_utterance(number, 1.0)
    stt.disconnected(GONE)
    assert stt.deadline() == 31.0
    assert stt.expire(31.0) == [
        UtteranceLost(number, lost_ms, "no connection for 30 s", over=False),
        Final(number, "hello", 0.0, duration_s=duration_s),
    ]


def test_each_utterance_that_finds_no_connection_is_reported() -> None:
    """Also where their times are up together."""
    stt = exchange()
    first, second = utter(stt, 0.0), utter(stt, 0.0, SECOND * 2)
    why = "no connection for 30 s"
    assert stt.expire(30.0) == [
        UtteranceLost(first, 1000, why, over=True),
        UtteranceLost(second, 2000, why, over=True),
    ]


def test_a_second_ready_forgets_nothing() -> None:
    """Only a new connection means that all is sent again."""
    stt = connected()
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    sent(stt, 0.0)
    final(stt, "hello", 0.0)
    say(stt, "ready", 0.5)
    assert say(stt, "partial_transcript", 0.5, transcript="you") == [Partial(number, "hello you")]


def test_speech_that_cannot_be_kept_is_reported() -> None:
    """The oldest goes first; the utterance itself is not over."""
    stt = exchange(keep_s=2.0)
    number = stt.open_utterance()
    assert stt.add_audio(number, SECOND * 2) == []
    (lost,) = stt.add_audio(number, SECOND)
    assert isinstance(lost, UtteranceLost)
    assert (lost.utterance, lost.over, lost.ms >= 1000) == (number, False, True)


def test_no_speech_is_reported_twice() -> None:
    """What had to go and what is given up make up what was said."""
    stt = exchange(keep_s=2.0)
    number = stt.open_utterance()
    lost = [event for _ in range(5) for event in stt.add_audio(number, SECOND)]
    stt.end_utterance(number, 0.0)
    lost += stt.expire(30.0)
    assert sum(event.ms for event in lost if isinstance(event, UtteranceLost)) == 5000


def test_sent_speech_that_made_room_is_lost_with_its_connection() -> None:
    """Nothing is lost without being told: the next connection cannot get it again."""
    stt = connected(keep_s=2.0)
    number = stt.open_utterance()
    for second in range(3):
        assert stt.add_audio(number, SECOND) == []
        sent(stt, float(second))
    (lost,) = stt.disconnected(GONE)
    assert isinstance(lost, UtteranceLost)
    assert (lost.utterance, lost.ms, lost.over) == (number, 1000, False)
    assert "gone" in lost.why


# Abandoned


def test_an_abandoned_utterance_that_was_not_sent_is_gone() -> None:
    """Its audio is neither sent nor reported, and what is said to it later is passed over."""
    stt = exchange()
    number = stt.open_utterance()
    stt.add_audio(number, SECOND)
    stt.abandon(number)
    stt.abandon(number)
    assert stt.add_audio(number, SECOND) == []
    stt.end_utterance(number, 0.0)
    connect(stt, 1.0)
    assert sent(stt, 1.0) == []
    assert stt.expire(100.0) == []


def test_the_words_of_an_abandoned_utterance_are_not_those_of_the_next() -> None:
    """What the gateway has of it is finalized and its finals are stray until the answer."""
    stt = connected()
    first = stt.open_utterance()
    stt.add_audio(first, SECOND)
    sent(stt, 0.0)
    stt.abandon(first)
    assert stt.add_audio(first, SECOND) == []
    stt.end_utterance(first, 0.5)
    second = stt.open_utterance()
    stt.add_audio(second, SECOND)
    assert final(stt, "stop", 0.5) == [StrayFinal("stop")]
    assert sent(stt, 1.0) == ["finalize"]
    assert say(stt, "partial_transcript", 1.0, transcript="it") == []
    assert final(stt, "it", 1.0) == [StrayFinal("it")]
    stt.end_utterance(second, 2.0)
    sent(stt, 2.0)
    assert final(stt, "go", 2.0) == [Final(second, "go", 0.0)]


def test_an_abandoned_utterance_without_an_answer_retires_the_connection() -> None:
    """Its words could still come and be taken for the next one's; nothing of it is sent again."""
    stt, number = finalized()
    stt.abandon(number)
    (broken,) = stt.expire(5.0)
    assert isinstance(broken, Broken)
    assert "speech that was given up" in str(broken.error)
    assert (stt.expire(5.0), stt.pressing) == ([], False)
    stt.disconnected(broken.error)
    connect(stt, 6.0)
    assert sent(stt, 6.0) == []


def test_an_abandoned_utterance_ends_with_its_connection() -> None:
    """Nobody waits for it, so it is not sent again, and not reported."""
    stt, number = finalized()
    stt.abandon(number)
    assert stt.disconnected(GONE) == []
    connect(stt, 1.0)
    assert (sent(stt, 1.0), stt.expire(100.0)) == ([], [])


# What a plan allows


def test_a_finalize_that_the_plan_does_not_allow_yet_is_held_back() -> None:
    """It goes when a message is a minute old, and what was said after it goes behind it."""
    stt = connected(messages_a_minute=2)  # `init` was the first
    utter(stt, 10.0)
    assert sent(stt, 10.0) == ["binary", "finalize"]
    final(stt, "one", 10.5)
    second = utter(stt, 11.0)
    utter(stt, 11.5)
    assert sent(stt, 11.5) == ["binary"]
    assert stt.deadline() == 16.5  # a keepalive, which may not go either
    for now in (16.5, WINDOW_S - 0.1):
        assert (sent(stt, now), stt.deadline()) == ([], WINDOW_S)
    assert sent(stt, WINDOW_S) == ["finalize"]
    assert stt.deadline() == WINDOW_S + 5.0  # the wait for its final runs from here
    assert final(stt, "two", WINDOW_S + 1) == [Final(second, "two", 1.0)]
    assert sent(stt, WINDOW_S + 1) == ["binary"]
    assert sent(stt, 10.0 + WINDOW_S) == ["finalize"]


def test_the_deadline_is_when_it_may_go() -> None:
    """Also where a keepalive is due later; once it is out, that time is over."""
    stt = connected(messages_a_minute=2)
    utter(stt, 60.0)
    sent(stt, 60.0)
    final(stt, "one", 60.5)
    second = utter(stt, 61.0)
    assert (sent(stt, 61.0), stt.deadline()) == (["binary"], WINDOW_S)
    assert (sent(stt, WINDOW_S), stt.deadline()) == (["finalize"], WINDOW_S + 5.0)
    final(stt, "two", 63.0)
    assert (second, stt.deadline()) == (2, WINDOW_S + 5.0)


def test_a_finalize_that_was_held_back_and_is_wanted_no_more_is_not_waited_for() -> None:
    """The time at which it would have gone is no deadline any more."""
    stt = connected(messages_a_minute=1)
    number = utter(stt, 0.0)
    assert sent(stt, 0.0) == ["binary"]
    stt.disconnected(GONE)
    assert stt.deadline() == 30.0  # it is kept for so long
    connect(stt, 1.0)
    stt.abandon(number)
    assert sent(stt, 1.0) == []
    assert stt.deadline() == 6.0  # its keepalive


def test_a_keepalive_that_the_plan_does_not_allow_yet_is_put_off() -> None:
    """The deadline is the time at which it may go; speech meanwhile makes it needless."""
    stt = connected(messages_a_minute=1)
    assert (sent(stt, 5.0), stt.deadline()) == ([], WINDOW_S)
    stt.add_audio(stt.open_utterance(), SECOND)
    assert sent(stt, WINDOW_S - 1) == ["binary"]
    assert stt.deadline() == WINDOW_S + 4
    assert sent(stt, WINDOW_S) == []
    assert sent(stt, WINDOW_S + 4) == ["keepalive"]
    assert stt.deadline() == WINDOW_S + 9


def test_a_keepalive_is_put_off_until_one_message_may_go() -> None:
    """And not until there is room for more."""
    stt = connected(messages_a_minute=2)
    utter(stt, 3.0)
    sent(stt, 3.0)
    final(stt, "one", 3.5)
    assert (sent(stt, 8.0), stt.deadline()) == ([], WINDOW_S)
    assert sent(stt, WINDOW_S) == ["keepalive"]


def test_the_next_connection_has_a_minute_of_its_own() -> None:
    """The bucket is per connection."""
    stt = connected(messages_a_minute=2)
    utter(stt, 0.0)
    sent(stt, 0.0)
    stt.disconnected(GONE)
    connect(stt, 1.0)
    assert sent(stt, 1.0) == ["binary", "finalize"]


def test_a_dialect_without_a_keepalive_sends_none() -> None:
    """Nothing is due in silence, and no message of the plan's is used up for it."""
    stt = exchange(messages_a_minute=2)
    stt.connected(classic(), 0.0)
    assert (sent(stt, 5.0), stt.deadline()) == ([], None)
    utter(stt, 6.0)
    assert sent(stt, 6.0) == ["binary", "finalize"]


def classic() -> ClassicStt:
    """A dialect that has neither a keepalive nor a close."""
    return ClassicStt(model="whisper", sample_rate_hz=1000)


@pytest.mark.parametrize(
    "error",
    [
        SessionClosed("", code=4002),
        SessionClosed("", code=1009),
        ServerReportedError("payload_too_large", "", retryable=False),
    ],
)
def test_messages_that_were_too_large_are_halved_once(error: GatewayError) -> None:
    """What was in flight is sent again in smaller ones; a second time it is an error."""
    stt = connected()
    number = stt.open_utterance()
    stt.add_audio(number, bytes(3 * MESSAGE_BYTES))
    sent(stt, 0.0)
    stt.disconnected(error)
    mended = stt.mend(error)
    assert isinstance(mended, SessionClosed)
    assert (mended.by_us, mended.retryable, mended.code) == (True, True, 1009)
    assert str(mended).endswith("Sending smaller messages")
    connect(stt, 1.0)
    messages = [stt.next_message(1.0) for _ in range(7)]
    assert [message and len(message) for message in messages] == [MESSAGE_BYTES // 2] * 6 + [None]
    assert stt.mend(error) is error


def test_other_errors_are_not_mended() -> None:
    """They are complained of as they are."""
    assert exchange().mend(GONE) is GONE


# When the connection may change


def test_a_change_costs_nothing_while_no_speech_is_unanswered() -> None:
    """Speech presses for a connection, whether there is one or not."""
    stt = exchange()
    states = [(stt.pressing, stt.at_rest, stt.spent, stt.answered)]
    number = utter(stt, 0.0)
    states.append((stt.pressing, stt.at_rest, stt.spent, stt.answered))
    connect(stt, 1.0)
    sent(stt, 1.0)
    states.append((stt.pressing, stt.at_rest, stt.spent, stt.answered))
    final(stt, "yes", 2.0, duration=1.0)
    states.append((stt.pressing, stt.at_rest, stt.spent, stt.answered))
    assert (number, states) == (
        1,
        [
            (False, True, False, False),
            (True, False, False, False),
            (True, False, False, False),
            (False, True, False, True),
        ],
    )


def test_silence_is_told_from_other_reasons_to_connect_anew() -> None:
    """Only a model that says nothing is to blame for it: code 1000, and given up by us."""
    stt, _ = finalized()
    (silent,) = stt.expire(5.0)
    stt, number = finalized()
    stt.abandon(number)
    (unclear,) = stt.expire(5.0)
    assert isinstance(silent, Broken)
    assert isinstance(unclear, Broken)
    errors = [silent.error, unclear.error]
    assert all(isinstance(error, SessionClosed) and error.by_us for error in errors)
    assert [error.code for error in errors if isinstance(error, SessionClosed)] == [1000, 1002]


# Properties

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "connect",
                "connect",
                "drop",
                "replace",
                "open",
                "audio",
                "end",
                "utter",
                "utter",
                "abandon",
                "final",
                "final",
                "marked",
                "empty",
                "partial",
            ]
        ),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 1.0, 4.0, 5.0, 12.0]),
    ),
    min_size=15,
    max_size=60,
)
"""What can happen, a number to choose with, and the seconds that pass then: mostly none, because
deep states need many steps in time.
"""


DIALECTS: list[Callable[[], SttDialect]] = [
    lambda: UnifiedStt(sample_rate_hz=1000),
    lambda: ClassicStt(model="whisper", sample_rate_hz=1000),
]


class Owner:
    """Drives an exchange as a session does: one socket at a time, retired when it is broken."""

    def __init__(
        self, *, join_finals: bool, messages_a_minute: int, dialect: Callable[[], SttDialect]
    ) -> None:
        self.stt = exchange(
            keep_s=3.0, join_finals=join_finals, messages_a_minute=messages_a_minute
        )
        self.dialect = dialect
        self.messages_a_minute = messages_a_minute
        self.sent_at: list[float] = []
        self.now = 100.0
        self.up = False
        self.open: list[int] = []
        self.opened: list[int] = []
        self.abandoned: set[int] = set()
        self.events: list[SttEvent] = []

    def do(self, operation: str, which: int) -> None:
        stt, now = self.stt, self.now
        match operation:
            case "connect" if not self.up:
                self.connect()
            case "drop" if self.up:
                self.drop(GONE if which else SessionClosed("", code=1000))
            case "replace" if self.up and stt.at_rest:
                self.drop(SessionClosed("its time is up", code=1000, by_us=True))
                self.connect()
            case "open" if not self.open:
                self.open.append(stt.open_utterance())
                self.opened.append(self.open[-1])
            case "audio" if self.open:
                self.take(stt.add_audio(self.open[-1], SECOND[: 2 * (which + 1) * 100]))
            case "end" if self.open:
                stt.end_utterance(self.open.pop(), now)
            case "utter":
                for step in ("end", "open", "audio", "end"):
                    self.do(step, which)
            case "abandon" if self.opened:
                number = self.opened[-1 - which % len(self.opened)]
                stt.abandon(number)
                self.abandoned.add(number)
            case "final" if stt.ready:
                self.take(final(stt, f"word{which}", now))
            case "marked" if stt.ready:
                self.take(final(stt, f"word{which}", now, from_finalize=True))
            case "empty" if stt.ready:
                self.take(final(stt, "", now))
            case "partial" if stt.ready:
                self.take(say(stt, "partial_transcript", now, transcript="w"))

    def take(self, events: list[SttEvent]) -> None:
        self.events += events
        broken = [event.error for event in events if isinstance(event, Broken)]
        if self.up and broken:
            self.drop(broken[0])

    def connect(self) -> None:
        self.up = True
        self.sent_at = [self.now]  # `init`
        self.stt.connected(self.dialect(), self.now)

    def drop(self, error: GatewayError) -> None:
        self.up = False
        self.take(self.stt.disconnected(error))

    def count(self, message: str | bytes | None) -> None:
        """No minute of a connection holds more messages than the plan allows."""
        if isinstance(message, str):
            self.sent_at.append(self.now)
            minute = [at for at in self.sent_at if at > self.now - 60.0]
            assert len(minute) <= self.messages_a_minute

    def settle(self) -> None:
        """Do all that is due now, and look whether the exchange can be waited for."""
        for _ in range(1000):
            events = self.stt.expire(self.now)
            self.take(events)
            message = self.stt.next_message(self.now) if self.up else None
            self.count(message)
            if not events and message is None:
                break
        else:
            raise AssertionError("there is always something due")
        deadline = self.stt.deadline()
        assert deadline is None or deadline > self.now
        assert self.stt.at_rest or self.stt.pressing


@settings(max_examples=300, deadline=None)
@given(OPERATIONS, st.booleans(), st.sampled_from([1, 3, 20, 1000]), st.sampled_from(DIALECTS))
def test_every_utterance_ends_once_and_no_wait_is_busy(
    operations: list[tuple[str, int, float]],
    join_finals: bool,
    messages_a_minute: int,
    dialect: Callable[[], SttDialect],
) -> None:
    """Whatever happens, each utterance has one end, and an idle exchange names a later time."""
    owner = Owner(join_finals=join_finals, messages_a_minute=messages_a_minute, dialect=dialect)
    for operation, which, seconds in operations:
        owner.do(operation, which)
        owner.settle()
        owner.now += seconds
        owner.settle()
    owner.do("end", 0)
    for _ in range(1200):
        if owner.up and owner.stt.spent:
            owner.drop(SessionClosed("it has done its work", code=1000, by_us=True))
        owner.settle()
        owner.now += 1.0
    ends = [
        event.utterance
        for event in owner.events
        if (isinstance(event, Final) and event.answers)
        or (isinstance(event, UtteranceLost) and event.over)
    ]
    assert len(ends) == len(set(ends))
    wanted = {number for number in owner.opened if number not in owner.abandoned}
    assert wanted <= set(ends) <= set(owner.opened)
