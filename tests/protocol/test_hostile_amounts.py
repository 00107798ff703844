"""What decoders and exchanges do with more than anybody means: values, words, sound."""

from __future__ import annotations

import json

import pytest

from slng_edge.errors import RemoteProtocolError
from slng_edge.protocol.decoding import (
    IDENTIFIER_CHARS,
    VALUES,
    identifier_in,
    integer_in,
    parse_object,
)
from slng_edge.protocol.session_events import (
    Broken,
    Partial,
    ReplyAudio,
    ReplyCut,
    StrayFinal,
)
from slng_edge.protocol.speech_segment import (
    AUDIO_S,
    AUDIO_S_A_CHARACTER,
    PIECE_BYTES,
    REPEATS_WITHIN,
    SpeechSegment,
)
from slng_edge.protocol.stt_exchange import (
    FINALS,
    PARTIAL_CHARS,
    STRAY_FINALS,
    WORDS_CHARS,
    SttExchange,
    SttTimes,
)
from slng_edge.protocol.tts_exchange import TtsExchange, TtsTimes
from slng_edge.protocol.unified_stt import UnifiedStt
from slng_edge.protocol.unified_tts import UnifiedTts
from slng_edge.protocol.vocabulary import Audio, NotUnderstood
from slng_edge.protocol.wav_header import WavHeaderStripper

RATE_HZ = 24000


def final(text: str, **more: object) -> str:
    """The message."""
    return json.dumps({"type": "final_transcript", "transcript": text, **more})


def listening() -> tuple[SttExchange, int]:
    """An exchange that is connected, with an utterance of which a part is sent."""
    stt = SttExchange(rate_hz=16000, keep_s=30, times=SttTimes())
    stt.connected(UnifiedStt(sample_rate_hz=16000), 0.0)
    utterance = stt.open_utterance()
    stt.add_audio(utterance, bytes(6400))
    assert stt.next_message(0.0)
    return stt, utterance


# Decoding


def test_a_message_of_many_values_is_not_read() -> None:
    """They would take 25 times its size."""
    many = '{"type":"ready","a":[' + "{}," * VALUES + "0]}"
    read = parse_object(many)
    assert isinstance(read, NotUnderstood)
    assert "more than 100000 values" in read.why
    assert isinstance(parse_object('{"a":[' + "0," * (VALUES // 2) + "0]}"), dict)
    assert isinstance(parse_object(json.dumps({"data": "A" * 4 * VALUES})), dict)


def test_an_identifier_is_short_and_on_one_line() -> None:
    """It is shown to people."""
    shown = identifier_in({"session_id": "a\nb\x1b[2J" + "x" * 10_000}, "session_id")
    assert shown.startswith("a?b?[2J")
    assert len(shown) == IDENTIFIER_CHARS + 1
    assert identifier_in({"session_id": 10**4000}, "session_id") == ""
    assert identifier_in({"session_id": 7}, "session_id") == "7"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (2**63 - 1, 2**63 - 1),
        (-(2**63) + 1, -(2**63) + 1),
        (2**63, None),
        (10**4000, None),
        (True, None),
        (1.0, None),
    ],
)
def test_an_integer_has_64_bits(value: object, read: int | None) -> None:
    """What is larger is none."""
    assert integer_in({"sequence": value}, "sequence") == read


# Words


def test_a_partial_is_cut() -> None:
    """Nobody says as much in an utterance."""
    stt, utterance = listening()
    message = json.dumps({"type": "partial_transcript", "transcript": "a" * 100_000})
    assert stt.receive(message, 1.0) == [Partial(utterance, "a" * PARTIAL_CHARS)]


def test_words_without_end_cost_the_connection() -> None:
    """And what came of them does not count: the speech is sent again on the next."""
    stt, utterance = listening()
    words = "so it is " * 100
    count = 0
    while True:
        events = stt.receive(final(words), 1.0)
        count += 1
        if isinstance(events[-1], Broken):
            break
        assert count * len(words) <= WORDS_CHARS + len(words)
    [broken] = events
    assert isinstance(broken.error, RemoteProtocolError)
    assert broken.error.retryable
    assert stt.disconnected(broken.error) == []
    stt.connected(UnifiedStt(sample_rate_hz=16000), 2.0)
    assert stt.next_message(2.0) == bytes(6400)
    stt.end_utterance(utterance, 2.0)
    assert stt.next_message(2.0)
    assert stt.receive(final("hello"), 3.0) == [Partial(utterance, "hello")]


def test_empty_finals_without_end_cost_the_connection() -> None:
    """They hold nothing, and are kept all the same."""
    stt, _ = listening()
    for _ in range(FINALS):
        assert stt.receive(final(""), 1.0) == []
    assert isinstance(stt.receive(final(""), 1.0)[0], Broken)


def test_words_of_nobody_cost_the_connection() -> None:
    """Some are told; speech that is sent begins the count anew."""
    stt, utterance = listening()
    stt.end_utterance(utterance, 1.0)
    stt.next_message(1.0)
    stt.receive(final("hello"), 1.0)
    for _ in range(2):
        for _ in range(STRAY_FINALS):
            assert stt.receive(final("boo"), 2.0) == [StrayFinal("boo")]
            assert stt.receive(final(""), 2.0) == []
        utterance = stt.open_utterance()
        stt.add_audio(utterance, bytes(6400))
        stt.end_utterance(utterance, 2.0)
        stt.next_message(2.0)
        stt.next_message(2.0)
        stt.receive(final("hello"), 2.0)
    for _ in range(STRAY_FINALS):
        stt.receive(final("boo"), 3.0)
    [broken] = stt.receive(final("boo"), 3.0)
    assert isinstance(broken, Broken)
    assert isinstance(broken.error, RemoteProtocolError)


# Sound


def segment(text: str = "Hello.") -> SpeechSegment:
    """One that was sent."""
    made = SpeechSegment(1, (text,), [text], 0.0)
    made.flushed(0.0)
    return made


def receive(made: SpeechSegment, data: bytes, sequence: int | None = None) -> list[object]:
    """What a chunk gives out."""
    header = WavHeaderStripper()
    return [*made.receive(Audio(data, sequence), 1.0, header=header, rate_hz=RATE_HZ)]


def test_much_sound_at_once_is_handed_on_in_pieces() -> None:
    """What converts it to another rate makes twelve times as much of it."""
    pcm = bytes(range(250)) * 1000
    _, *pieces = receive(segment(), pcm)
    assert all(isinstance(piece, ReplyAudio) for piece in pieces)
    assert [len(piece.pcm) for piece in pieces] == [  # type: ignore[attr-defined]
        PIECE_BYTES,
        PIECE_BYTES,
        PIECE_BYTES,
        len(pcm) - 3 * PIECE_BYTES,
    ]
    assert b"".join(piece.pcm for piece in pieces) == pcm  # type: ignore[attr-defined]


def test_chunks_are_remembered_for_a_while() -> None:
    """One that comes again soon is dropped; the memory does not grow."""
    made = segment()
    for number in range(3 * REPEATS_WITHIN):
        assert receive(made, b"\x01\x02" * number + b"\x05\x06", number)
    assert receive(made, b"\x01\x02" * number + b"\x05\x06", number) == []
    assert len(made._chunks) == REPEATS_WITHIN


def test_a_text_does_not_sound_for_ever() -> None:
    """More audio than it can be is an error, and the reply ends with what came before."""
    tts = TtsExchange(rate_hz=RATE_HZ, times=TtsTimes())
    tts.connected(UnifiedTts(model=None, voice="", sample_rate_hz=RATE_HZ), 0.0)
    tts.open_reply(1)
    tts.add_text(1, "Hello.")
    tts.end_reply(1)
    while tts.next_message(0.0):
        pass
    second = bytes(2 * RATE_HZ)
    longest_s = int(AUDIO_S + AUDIO_S_A_CHARACTER * len("Hello."))
    for _ in range(longest_s):
        assert any(isinstance(event, ReplyAudio) for event in tts.receive(second, 1.0))
    [cut] = tts.receive(second, 1.0)
    assert isinstance(cut, ReplyCut)
    assert "far more audio" in str(cut.error)
    assert tts.next_message(1.0) == '{"type":"clear"}'
