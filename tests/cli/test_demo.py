"""`slng-edge demo`: the whole loop on one machine, with no key and no sound card."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from command_line import SlngEdge, read_wav_file
from small_disk import NO_ROOM, mount_rights, needs_mounts

from slng_edge.audio.resampling import Resampler
from slng_edge.simulator import PocketsphinxRecognizer

QUESTION = "where is the nearest train station"

needs_engines = pytest.mark.skipif(
    shutil.which("flite") is None, reason="flite is not installed (apt install flite)"
)


@pytest.fixture
def alone(tmp_path: Path) -> SlngEdge:
    """The command, without any gateway configured."""
    return SlngEdge(tmp_path, "")


def words_in(path: Path) -> str:
    """What a recognizer understands of a WAV file."""
    rate_hz, samples = read_wav_file(path)
    resampler = Resampler(rate_hz, 16000)
    pcm = resampler.receive(samples).tobytes() + resampler.end().tobytes()
    stream = PocketsphinxRecognizer().open(16000, "en")
    try:
        stream.receive(pcm)
        return stream.finish().text
    finally:
        stream.close()


@needs_engines
def test_the_question_is_heard_and_the_reply_can_be_understood(
    alone: SlngEdge, tmp_path: Path
) -> None:
    """It prints the turn as it happens, and leaves the reply as a recording."""
    ended = alone("demo", timeout_s=60)
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert "pocketsphinx hears, flite speaks" in lines[0]
    shown = "\n".join(line[10:].strip() for line in lines[2:])
    order = ["[listening]", "… where", "heard: ", "[thinking]", "answers: ", "[speaking]", "[idle]"]
    places = [shown.index(word) for word in order[:-1]] + [shown.rindex("[idle]")]
    assert places == sorted(places)
    assert f'heard: "{QUESTION}"' in shown
    assert f'answers: "{QUESTION}"' in shown
    assert QUESTION in words_in(tmp_path / "demo-reply.wav")
    played = ended.out.endswith("and was played on the speaker just now\n")
    assert played or "no speaker here to play it on" in ended.err


def test_it_is_played_where_there_is_a_speaker(alone: SlngEdge) -> None:
    """And says that it was."""
    ended = alone("demo", "-s", "audio.output=null", timeout_s=60)
    assert ended.status == 0
    assert ended.out.endswith("and was played on the speaker just now\n")


@pytest.mark.parametrize("library", ["pocketsphinx", "pyaudio"])
def test_it_does_without_what_it_can_do_without(alone: SlngEdge, library: str) -> None:
    """A script hears in the place of a recognizer; a missing speaker is no failure."""
    ended = alone.without(library, "demo")
    assert ended.status == 0
    assert f'heard: "{QUESTION}"' in ended.out
    assert ("a script hears" in ended.out) == (library == "pocketsphinx")


def test_what_it_cannot_do_without_is_named(alone: SlngEdge) -> None:
    """With the line that installs it."""
    ended = alone.without("websockets", "demo")
    assert ended.status == 1
    assert ended.err.startswith("slng-edge: the local gateway needs websockets")
    assert "pip install 'slng-edge[gateway]'" in ended.err


def test_it_answers_as_configured(alone: SlngEdge, tmp_path: Path) -> None:
    """A responder of one's own can be tried without a key."""
    answer = tmp_path / "answer"
    answer.write_text("#!/bin/sh\ncat >/dev/null\necho It is around the corner.\n")
    answer.chmod(0o755)
    argv = ("-s", "responder.kind=command", "-s", f'responder.command=["{answer}"]')
    ended = alone("demo", *argv, "-s", "audio.output=null", timeout_s=60)
    assert ended.status == 0
    assert 'answers: "It is around the corner.' in ended.out


def test_a_folder_that_takes_no_file_is_said(alone: SlngEdge, tmp_path: Path) -> None:
    """Before anybody waits for a reply; no device failed, so it is no 74."""
    (tmp_path / "demo-reply.wav").mkdir()
    ended = alone("demo", timeout_s=60)
    assert ended.status == 1
    assert "cannot write demo-reply.wav: Is a directory; make room, or run it in" in ended.err


@needs_mounts
def test_a_full_disk_leaves_no_half_reply(alone: SlngEdge, tmp_path: Path) -> None:
    """It would be taken for a whole one; nor does that of the last time stay."""
    disk = tmp_path / "disk"
    disk.mkdir()
    rights = " ".join(mount_rights())
    ended = alone.shell(
        f"export slng_edge; {rights} sh -c 'mount -t tmpfs -o size=8k x {disk} && cd {disk} && "
        "echo old >demo-reply.wav; $slng_edge demo >/dev/null; echo $?; ls -A'"
    )
    assert ended.out == "1\n"
    assert f"cannot write demo-reply.wav: {NO_ROOM}; make room, or run it in" in ended.err


def test_ctrl_c_ends_it_quietly(alone: SlngEdge) -> None:
    """While the question is asked."""
    process = alone.start("demo")
    assert process.stdout is not None
    while b"[listening]" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    ended = alone.checked(process.returncode, out, err)
    assert (ended.status, ended.err) == (130, "")
