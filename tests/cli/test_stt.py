"""`slng-edge stt`: words of files and of standard input, in every format."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import time
from pathlib import Path

import pytest
from command_line import RATE_HZ, SlngEdge, speech_like, write_wav

from slng_edge.simulator import Faults, LocalGateway, ScriptRecognizer, ToneSynthesizer


@pytest.fixture
def talk(tmp_path: Path) -> str:
    """Two seconds of sound in a WAV file."""
    return write_wav(tmp_path / "talk.wav", speech_like(2.0)).name


def test_a_file_is_sent_whole_and_its_final_is_a_line(
    slng_edge: SlngEdge, gateway: LocalGateway, talk: str
) -> None:
    """Every sample of it, and nothing beside the words on standard output."""
    ended = slng_edge("stt", talk)
    assert (ended.status, ended.out, ended.err) == (0, "one two three four\n", "")
    assert gateway.connections[0].audio == speech_like(2.0).tobytes()


def test_every_final_is_a_line_of_its_own(
    slng_edge: SlngEdge, gateway: LocalGateway, talk: str
) -> None:
    """A gateway that ends sentences by itself."""
    gateway.faults = Faults("several_finals=2")
    ended = slng_edge("stt", "--realtime", talk)
    assert ended.status == 0
    assert len(ended.out.splitlines()) == 2
    assert ended.out.split() == ["one", "two", "three", "four"]


def test_json_is_an_event_a_line_partials_included(slng_edge: SlngEdge, talk: str) -> None:
    """In the vocabulary of all events."""
    ended = slng_edge("stt", "--format", "json", talk)
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert {event["type"] for event in events} == {"partial", "final"}
    assert events[-1]["type"] == "final"
    assert events[-1]["text"] == "one two three four"
    assert all({"t", "at"} <= set(event) for event in events)
    assert "words" not in events[-1]


def test_words_have_their_times(slng_edge: SlngEdge, talk: str) -> None:
    """`--words` asks the gateway for them."""
    ended = slng_edge("stt", "--words", "--format", "json", talk)
    words = json.loads(ended.out.splitlines()[-1])["words"]
    assert [word["word"] for word in words] == ["one", "two", "three", "four"]
    assert words[-1]["end"] == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("srt", "1\n00:00:00,000 --> 00:00:02,000\none two three four\n\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\none two three four\n\n"),
    ],
)
def test_subtitles_have_the_times_of_the_file(
    slng_edge: SlngEdge, talk: str, format: str, expected: str
) -> None:
    """A player shows them at the right moment."""
    assert slng_edge("stt", "--format", format, talk).out == expected


def test_a_file_at_the_pace_of_a_microphone_takes_its_length(
    slng_edge: SlngEdge, gateway: LocalGateway, talk: str
) -> None:
    """`--realtime`: two seconds of audio are two seconds on the wire."""
    assert slng_edge("stt", "--realtime", talk).status == 0
    times = [
        at
        for at, sender, message in gateway.connections[0].messages
        if sender == "client" and isinstance(message, bytes)
    ]
    assert 1.5 < times[-1] - times[0] < 3.0


def test_any_rate_and_channel_will_do(
    slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path
) -> None:
    """44.1 kHz stereo: the wanted channel is resampled, and keeps its length."""
    left = speech_like(1.0, 44100)
    stereo = b"".join(bytes(2) + sample.tobytes() for sample in left)
    write_wav(tmp_path / "stereo.wav", stereo, rate_hz=44100, channels=2)
    assert slng_edge("stt", "stereo.wav", "-s", "audio.input_channel=1").status == 0
    audio = gateway.connections[0].audio
    assert len(audio) / 2 == pytest.approx(RATE_HZ, abs=2)
    assert any(audio)


def test_standard_input_is_raw_audio(slng_edge: SlngEdge, gateway: LocalGateway) -> None:
    """Half a sample at the end is left out."""
    pcm = speech_like(1.0).tobytes()
    ended = slng_edge("stt", "-", stdin=pcm + b"x")
    assert (ended.status, ended.out) == (0, "one two three four\n")
    assert gateway.connections[0].audio == pcm


def test_partials_come_while_standard_input_is_open(slng_edge: SlngEdge) -> None:
    """Nobody waits for the end to see the first words."""
    process = slng_edge.start("stt", "-", "--format", "json")
    assert process.stdin is not None
    assert process.stdout is not None
    # As from a microphone: words are told with the next piece of sound.
    until = time.monotonic() + 20
    while not select.select([process.stdout], [], [], 0.1)[0] and time.monotonic() < until:
        process.stdin.write(speech_like(0.1).tobytes())
        process.stdin.flush()
    first = json.loads(process.stdout.readline())
    assert first["type"] == "partial"
    assert process.poll() is None
    out, err = process.communicate(timeout=20)
    assert slng_edge.checked(process.returncode, out, err).status == 0


def test_silence_is_no_words_and_no_error(slng_edge: SlngEdge) -> None:
    """Exit status 0 and nothing on standard output."""
    with LocalGateway(stt=ScriptRecognizer([""]), tts=ToneSynthesizer()) as deaf:
        slng_edge.url = deaf.url
        ended = slng_edge("stt", "-", stdin=bytes(RATE_HZ))
    assert (ended.status, ended.out, ended.err) == (0, "", "")


def test_a_subtitle_file_without_words_is_still_one(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """WebVTT has a first line."""
    write_wav(tmp_path / "silence.wav", bytes(RATE_HZ))
    with LocalGateway(stt=ScriptRecognizer([""]), tts=ToneSynthesizer()) as deaf:
        slng_edge.url = deaf.url
        assert slng_edge("stt", "--format", "vtt", "silence.wav").out == "WEBVTT\n\n"


def test_a_file_as_microphone_is_gated_and_ends(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """Without FILE the microphone is heard; a `file:` one ends, and its words are awaited."""
    samples = b"".join((bytes(RATE_HZ), speech_like(1.0).tobytes(), bytes(2 * RATE_HZ)))
    write_wav(tmp_path / "room.wav", samples)
    ended = slng_edge("stt", "-s", "audio.input=file:room.wav")
    assert (ended.status, ended.out) == (0, "one two three four\n")
    assert "Ctrl-C ends it" in ended.err


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (("stt", "--realtime", "long.wav"), 130),
        (("stt", "-"), 130),
        (("stt", "-s", "audio.input=file:long.wav"), 0),
    ],
)
def test_ctrl_c_ends_it_quietly(
    slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path, argv: tuple[str, ...], status: int
) -> None:
    """At once; the microphone, which has no end of its own, with 0."""
    write_wav(tmp_path / "long.wav", speech_like(30.0))
    process = slng_edge.start(*argv)
    assert gateway.wait_for(
        lambda: gateway.connections and gateway.connections[0].of_type("server", "ready"), 20
    )
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.wait(5)
    out, err = process.communicate()
    ended = slng_edge.checked(process.returncode, out, err)
    assert ended.status == status
    assert "slng-edge:" not in ended.err


def test_a_connection_that_breaks_in_the_middle_is_made_up_for(
    slng_edge: SlngEdge, gateway: LocalGateway, talk: str
) -> None:
    """The file is sent again, whole, on a new connection."""
    gateway.faults = Faults("reset_after_bytes=20000@1")
    ended = slng_edge("stt", talk)
    assert (ended.status, ended.out) == (0, "one two three four\n")
    assert gateway.connections[-1].audio == speech_like(2.0).tobytes()


def test_no_final_is_said(slng_edge: SlngEdge, gateway: LocalGateway, talk: str) -> None:
    """After one more attempt on a new connection."""
    gateway.faults = Faults("no_final")
    ended = slng_edge("stt", talk, "-s", "stt.final_timeout_s=0.3")
    assert ended.status == 69
    assert "2000 ms of speech are lost: the gateway closed without a final" in ended.err


def on_a_terminal(slng_edge: SlngEdge, *argv: str) -> str:
    """What `slng-edge ARGV` shows on a terminal."""
    master, terminal = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as shown:
        process = slng_edge.start(*argv, stdout=terminal)
        os.close(terminal)
        written = b""
        with contextlib.suppress(OSError):  # a terminal ends with EIO
            while data := shown.read(4096):
                written += data
        _, err = process.communicate(timeout=10)
    assert slng_edge.checked(process.returncode, written, err).status == 0
    return written.decode()


def test_partials_are_shown_on_a_terminal_and_wiped(slng_edge: SlngEdge, talk: str) -> None:
    """One line that is written anew; the final stays."""
    shown = on_a_terminal(slng_edge, "stt", "--realtime", talk)
    lines = shown.split("\r\x1b[K")
    assert "one two" in lines
    assert "one two three four\r\n" in lines


def test_the_gateway_cannot_steer_the_terminal(slng_edge: SlngEdge, talk: str) -> None:
    """Control characters are shown as escapes, and a final is one line."""
    with LocalGateway(
        stt=ScriptRecognizer(["red \x1b[31m alert\nand more"]), tts=ToneSynthesizer()
    ) as gateway:
        slng_edge.url = gateway.url
        shown = on_a_terminal(slng_edge, "stt", talk)
        assert "\x1b[31m" not in shown
        assert shown.count("\n") == 1
        assert slng_edge("stt", talk).out == "red \\x1b[31m alert and more\n"
