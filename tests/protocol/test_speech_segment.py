"""One segment: what of it is unsent, and the samples that come of its audio."""

from __future__ import annotations

import struct

import pytest

from slng_edge.protocol.session_events import Odd, ReplyAudio, SegmentBegan, TtsEvent
from slng_edge.protocol.speech_segment import SpeechSegment
from slng_edge.protocol.vocabulary import Audio
from slng_edge.protocol.wav_header import WavHeaderStripper


def segment() -> SpeechSegment:
    """A segment of reply 7 that was put together at 1 s."""
    return SpeechSegment(7, ("One.", "Two."), ["One. ", "Two."], 1.0)


def heard(
    speech: SpeechSegment, *chunks: Audio, header: WavHeaderStripper | None = None
) -> list[TtsEvent]:
    """What chunks that come at 3 s give out, but for the beginning."""
    header = header or WavHeaderStripper()
    events = [
        event
        for chunk in chunks
        for event in speech.receive(chunk, 3.0, header=header, rate_hz=24000)
    ]
    return [event for event in events if not isinstance(event, SegmentBegan)]


def audio(pcm: bytes, rate_hz: int = 24000) -> ReplyAudio:
    """Samples of the reply."""
    return ReplyAudio(7, pcm, rate_hz)


def wav(*, rate_hz: int = 16000, channels: int = 1) -> bytes:
    """A header whose sizes are not known yet."""
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * 2, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + form + b"data\xff\xff\xff\xff"


@pytest.mark.parametrize(
    ("chunks", "events"),
    [
        ([Audio(b"aabb")], [audio(b"aabb")]),
        ([Audio(b"aab"), Audio(b"bc"), Audio(b"c")], [audio(b"aa"), audio(b"bb"), audio(b"cc")]),
        ([Audio(b"a"), Audio(b"")], []),
        ([Audio(b"aa", 1), Audio(b"aa", 1), Audio(b"bb", 2)], [audio(b"aa"), audio(b"bb")]),
        ([Audio(b"aa", 1), Audio(b"bb", 1)], [audio(b"aa"), audio(b"bb")]),
        (
            [Audio(b"aa", 1), Audio(b"bb", 4)],
            [audio(b"aa"), Odd("audio sequence jumps from 1 to 4"), audio(b"bb")],
        ),
        ([Audio(b"aa", 4), Audio(b"bb", 0)], [audio(b"aa"), audio(b"bb")]),
        ([Audio(wav() + b"aa")], [audio(b"aa", 16000)]),
        ([Audio(wav(channels=2) + b"aabb")], []),
    ],
)
def test_whole_samples_come_out_each_once(chunks: list[Audio], events: list[TtsEvent]) -> None:
    """Whatever chunks repeat, skip, split or begin with."""
    assert heard(segment(), *chunks) == events


def test_its_first_samples_begin_it() -> None:
    """Once, with how long it took; half a sample is none."""
    speech = segment()
    header = WavHeaderStripper()
    events = [
        speech.receive(Audio(data), now, header=header, rate_hz=24000)
        for data, now in [(b"a", 2.0), (b"a", 3.5), (b"bb", 4.0)]
    ]
    assert events == [
        [],
        [SegmentBegan(7, ("One.", "Two."), 2.5, 1.0), audio(b"aa")],
        [audio(b"bb")],
    ]
    assert speech.sounded


def test_what_is_sent_again_is_new_in_everything() -> None:
    """Its messages, its chunks, their order, half a sample."""
    speech = segment()
    speech.on_the_wire = True
    speech.unsent.clear()
    speech.flushed(2.0)
    heard(speech, Audio(b"a", 8))
    speech.send_again(["One.", "Two."])
    assert (list(speech.unsent), speech.flush_due, speech.on_the_wire) == (
        ["One.", "Two."],
        True,
        False,
    )
    assert speech.silent_at(5.0) is None
    assert heard(speech, Audio(b"a", 8), Audio(b"a", 9)) == [audio(b"aa")]


def test_audio_is_waited_for_once_its_flush_is_out() -> None:
    """Each chunk puts the end of the wait off, and it is told once."""
    speech = segment()
    heard(speech, Audio(b"aa"))
    assert (speech.silent_at(5.0), speech.give_up_waiting(99.0, 5.0)) == (None, False)
    speech.flushed(2.0)
    assert speech.silent_at(5.0) == 7.0
    heard(speech, Audio(b"bb"))
    assert speech.silent_at(5.0) == 8.0
    assert [speech.give_up_waiting(now, 5.0) for now in (7.9, 8.0, 8.1)] == [False, True, False]


def test_what_is_unsent_may_be_cut_anew() -> None:
    """The gateway found it too large."""
    speech = segment()
    speech.cut_anew(["O", "ne."])
    assert (list(speech.unsent), speech.texts) == (["O", "ne."], ("One.", "Two."))
