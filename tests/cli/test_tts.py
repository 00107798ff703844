"""`slng-edge tts`: speech into files, into a pipe, and onto the speaker."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import SlngEdge, read_wav_file

from slng_edge.pcm import Samples
from slng_edge.simulator import Faults, LocalGateway, ToneSynthesizer


def tone_of(text: str, rate_hz: int = 24000) -> Samples:
    """What the gateway speaks."""
    return ToneSynthesizer().synthesize(text, rate_hz)


def test_a_text_is_written_to_a_file(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """A WAV file with every sample, and nothing on the terminal."""
    ended = slng_edge("tts", "Hello there.", "--out", "hello.wav")
    assert (ended.status, ended.raw, ended.err) == (0, b"", "")
    rate_hz, samples = read_wav_file(tmp_path / "hello.wav")
    assert rate_hz == 24000
    assert np.array_equal(samples, tone_of("Hello there."))


def test_raw_samples_go_to_a_pipe(slng_edge: SlngEdge) -> None:
    """`--out -`: s16le and no header."""
    ended = slng_edge("tts", "Hello.", "--out", "-")
    assert (ended.status, ended.err) == (0, "")
    assert ended.raw == tone_of("Hello.").tobytes()


def test_what_is_asked_for_reaches_the_gateway(slng_edge: SlngEdge, gateway: LocalGateway) -> None:
    """Model, voice and speed of the command line win over the configuration's."""
    argv = ("tts", "Hi.", "--out", "-", "-m", "acme/voice:1", "-v", "anna", "--speed", "1.5")
    assert slng_edge(*argv, "-s", "tts.voice=other").status == 0
    connection = gateway.connections[0]
    init = connection.of_type("client", "init")[0]
    assert connection.model == "acme/voice:1"
    assert (init["voice"], init["config"]["speed"]) == ("anna", 1.5)


def test_lines_are_spoken_while_more_are_awaited(slng_edge: SlngEdge) -> None:
    """`-` speaks each line as it comes."""
    process = slng_edge.start("tts", "-", "--out", "-")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"The first line\n")
    process.stdin.flush()
    first = tone_of("The first line").tobytes()
    assert process.stdout.read(len(first)) == first
    assert process.poll() is None
    process.stdin.write(b"and the second.\n")
    out, err = process.communicate(timeout=20)
    assert slng_edge.checked(process.returncode, out, err).status == 0
    assert out == tone_of("and the second.").tobytes()


def test_text_that_is_no_ascii_is_spoken_as_it_is(
    slng_edge: SlngEdge, gateway: LocalGateway
) -> None:
    """With or without the mark that some editors put in front."""
    text = "Grüße aus 東京 — ça va?"
    assert slng_edge("tts", "-", "--out", "-", stdin=b"\xef\xbb\xbf" + text.encode()).status == 0
    assert slng_edge("tts", text, "--out", "-").status == 0
    for connection in gateway.connections:
        assert connection.of_type("client", "text")[0]["text"] == text


def test_a_text_may_begin_with_a_dash(slng_edge: SlngEdge, gateway: LocalGateway) -> None:
    """After `--`."""
    assert slng_edge("tts", "--out", "-", "--", "-5 degrees").status == 0
    assert gateway.connections[0].of_type("client", "text")[0]["text"] == "-5 degrees"


def test_a_long_text_goes_out_in_messages_that_a_plan_allows(
    slng_edge: SlngEdge, gateway: LocalGateway
) -> None:
    """No word is lost, and none is cut; how long a message may be is the plan's to say."""
    for tier, longest in (("free", 500), ("pro", 2000)):
        words = [f"word{n}" for n in range(longest)]
        arguments = ("tts", "-", "--out", "long.wav", "-m", "slng/rime/arcana:3-en")
        tier_of = ("-s", f"gateway.tier={tier}")
        ended = slng_edge(*arguments, *tier_of, stdin=" ".join(words).encode())
        assert ended.status == 0
        texts = [message["text"] for message in gateway.connections[-1].of_type("client", "text")]
        assert longest / 4 < max(map(len, texts)) <= longest
        assert " ".join(texts).split() == words


def test_it_plays_to_the_end(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """On the configured output, here a file that says what sounded."""
    assert slng_edge("tts", "Hello there.", "-s", "audio.output=file:speaker.wav").status == 0
    _, samples = read_wav_file(tmp_path / "speaker.wav")
    sounding = np.flatnonzero(samples)
    wanted = np.flatnonzero(tone_of("Hello there."))
    assert sounding[-1] - sounding[0] == wanted[-1] - wanted[0]


@pytest.mark.parametrize("sink", [("--out", "out.wav"), ("-s", "audio.output=null")])
def test_ctrl_c_ends_it_quietly_while_it_waits_for_text(
    slng_edge: SlngEdge, gateway: LocalGateway, sink: tuple[str, ...]
) -> None:
    """Even though a thread waits for standard input."""
    process = slng_edge.start("tts", "-", *sink)
    assert gateway.wait_for(
        lambda: gateway.connections and gateway.connections[0].of_type("server", "ready"), 20
    )
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.wait(5)
    out, err = process.communicate()
    ended = slng_edge.checked(process.returncode, out, err)
    assert (ended.status, ended.err) == (130, "")


def test_what_has_come_is_in_the_file_after_ctrl_c(
    slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path
) -> None:
    """The file is valid at every moment."""
    gateway.faults = Faults("pace=realtime")
    process = slng_edge.start("tts", "word " * 100, "--out", "long.wav")
    file = tmp_path / "long.wav"
    until = time.monotonic() + 20
    while not (file.exists() and file.stat().st_size > 40000) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert slng_edge.checked(process.returncode, out, err).status == 130
    assert len(read_wav_file(file)[1]) > 15000


def test_a_reply_that_breaks_off_is_no_success(slng_edge: SlngEdge, gateway: LocalGateway) -> None:
    """What had sounded is not sent twice, and the reason is said."""
    gateway.faults = Faults("reset_after_bytes=9000")
    ended = slng_edge("tts", "Hello there, this takes a while.", "--out", "-")
    assert ended.status == 69
    assert "slng-edge: the connection ended without a close (1006)" in ended.err


def test_a_file_that_may_not_be_written_is_left_as_it_is(
    slng_edge: SlngEdge, tmp_path: Path
) -> None:
    """Here a program that runs; what was never opened is no half file."""
    program = tmp_path / "sleep"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as running:
        ended = slng_edge("tts", "hi", "--out", "sleep")
        running.kill()
    assert ended.status == 1
    assert "cannot write sleep: Text file busy" in ended.err
    assert program.exists()
