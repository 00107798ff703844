"""`slng-edge run`: the service, from its start to its exit status."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest
from command_line import KEY, RATE_HZ, SlngEdge, read_wav_file, speech_like, write_wav

from slng_edge.simulator import Faults, LocalGateway


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """A question in a quiet room as the microphone, a file as the speaker."""
    quiet = bytes(RATE_HZ)
    room = quiet + speech_like(1.0).tobytes() + 2 * quiet
    write_wav(tmp_path / "room.wav", room)
    return ("-s", "audio.input=file:room.wav", "-s", "audio.output=file:speaker.wav")


def events_of(text: str) -> list[dict[str, object]]:
    """The events in JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def states_of(events: list[dict[str, object]]) -> list[object]:
    """The states in order."""
    return [event["state"] for event in events if event["type"] == "state"]


def wait_for_line(file: Path, words: str, timeout_s: float = 20.0) -> None:
    """Wait until `words` stand in `file`."""
    until = time.monotonic() + timeout_s
    while not (file.exists() and words in file.read_text()):
        assert time.monotonic() < until, f"{words} did not come"
        time.sleep(0.05)


def ended_after(slng_edge: SlngEdge, process: Popen[bytes], number: int) -> tuple[int, float]:
    """Send a signal; the exit status and how long it took to end."""
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    slng_edge.checked(process.returncode, out, err)
    return process.returncode, time.monotonic() - began


def test_a_spoken_question_gets_a_spoken_reply(
    slng_edge: SlngEdge, files: tuple[str, ...], tmp_path: Path
) -> None:
    """With every event on standard output, and 0 when the file has ended."""
    ended = slng_edge("run", *files, "--events", "-")
    assert ended.status == 0
    events = events_of(ended.out)
    assert states_of(events) == ["starting", "idle", "listening", "thinking", "speaking", "idle"]
    (final,) = (event for event in events if event["type"] == "final")
    assert final["text"] == "one two three four"
    assert any(event["type"] == "turn" for event in events)
    _, samples = read_wav_file(tmp_path / "speaker.wav")
    assert np.abs(samples).max() > 5000


def test_events_are_appended_to_a_file(
    slng_edge: SlngEdge, files: tuple[str, ...], tmp_path: Path
) -> None:
    """So that a restart does not wipe what came before."""
    (tmp_path / "events").write_text('{"t": 0, "at": "", "type": "before"}\n')
    assert slng_edge("run", *files, "--events", "events").status == 0
    events = events_of((tmp_path / "events").read_text())
    assert events[0]["type"] == "before"
    assert states_of(events)[-1] == "idle"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_leaves_a_valid_recording(
    slng_edge: SlngEdge, tmp_path: Path, number: int
) -> None:
    """Within five seconds, in the middle of a sentence."""
    write_wav(tmp_path / "room.wav", speech_like(30.0))
    files = ("-s", "audio.input=file:room.wav", "-s", "audio.output=file:speaker.wav")
    process = slng_edge.start("run", *files, "--events", "events")
    wait_for_line(tmp_path / "events", '"listening"')
    status, took_s = ended_after(slng_edge, process, number)
    assert status == 0
    assert took_s < 5.0
    assert len(read_wav_file(tmp_path / "speaker.wav")[1]) > 0


def test_a_key_refused_at_the_start_is_77(
    slng_edge: SlngEdge, files: tuple[str, ...], gateway: LocalGateway
) -> None:
    """The unit does not restart on it."""
    gateway.refuse_new = 401
    ended = slng_edge("run", *files, "--events", "-")
    assert ended.status == 77
    assert "HTTP 401" in ended.err.splitlines()[-1]
    assert "error" in states_of(events_of(ended.out))


def test_a_key_refused_later_is_no_end(
    slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path
) -> None:
    """The state is `error`, and the process goes on until it is told to end."""
    write_wav(tmp_path / "room.wav", bytes(60 * RATE_HZ))
    files = ("-s", "audio.input=file:room.wav", "-s", "audio.output=null")
    process = slng_edge.start("run", *files, "--events", "events")
    wait_for_line(tmp_path / "events", '"idle"')
    gateway.refuse_new = 401
    gateway.drop_all()
    wait_for_line(tmp_path / "events", '"error"')
    time.sleep(0.5)
    assert process.poll() is None
    assert ended_after(slng_edge, process, signal.SIGTERM)[0] == 0


def test_a_gateway_that_was_never_reached_is_69(
    slng_edge: SlngEdge, files: tuple[str, ...]
) -> None:
    """When a file input has ended and what was said cannot be sent any more."""
    slng_edge.url = "ws://127.0.0.1:9"
    ended = slng_edge("run", *files, "--events", "-", "-s", "stt.offline_keep_s=1")
    assert ended.status == 69
    assert "never reached" in ended.err.splitlines()[-1]
    events = events_of(ended.out)
    assert "offline" in states_of(events)
    assert any(event["type"] == "lost" for event in events)


def test_speech_before_the_gateway_is_there_is_answered_later(
    slng_edge: SlngEdge, files: tuple[str, ...], gateway: LocalGateway
) -> None:
    """It is kept and sent once there is a connection."""
    gateway.faults = Faults("refuse=503@1-2")
    ended = slng_edge("run", *files, "--events", "-")
    assert ended.status == 0
    events = events_of(ended.out)
    assert [event["text"] for event in events if event["type"] == "final"] == ["one two three four"]


def test_a_config_that_is_wrong_at_reload_changes_nothing(
    slng_edge: SlngEdge, tmp_path: Path
) -> None:
    """SIGHUP with a broken file: it says so and goes on."""
    write_wav(tmp_path / "room.wav", bytes(60 * RATE_HZ))
    config = tmp_path / "c.toml"
    config.write_text('[audio]\ninput = "file:room.wav"\noutput = "null"\n')
    process = slng_edge.start("run", "--config", str(config), "--events", "events")
    wait_for_line(tmp_path / "events", '"idle"')
    config.write_text("[audio]\ninptu = 1\n")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.8)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    ended = slng_edge.checked(process.returncode, out, err)
    assert ended.status == 0
    assert "audio.inptu is not a known key; did you mean audio.input?" in ended.err


def test_sigusr1_prints_the_stack_of_every_thread(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """For whoever looks for a hang."""
    write_wav(tmp_path / "room.wav", bytes(60 * RATE_HZ))
    files = ("-s", "audio.input=file:room.wav", "-s", "audio.output=null")
    process = slng_edge.start("run", *files, "--events", "events")
    wait_for_line(tmp_path / "events", '"idle"')
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert err.count(b"Thread 0x") > 5
    assert KEY.encode() not in err
