"""A conversation through PyAudio, on a private sound server with a virtual microphone."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from conversation_scripts import config_for, conversation, gateway, silence, voice, write_wav
from virtual_sound import SPEAKER_RATE_HZ, SpeakerRecording, VirtualSound

pytestmark = pytest.mark.sound

LONG = "this answer is long enough to be interrupted by whoever has heard enough of it"
OUTPUT_BUFFER_MS = 60
SILENT_WITHIN_MS = OUTPUT_BUFFER_MS + 40
"""From the interruption to a silent monitor (performance.md)."""
SLACK_MS = 60
"""For a machine that does other things: the recording's clock is good to some 10 ms."""


def loud_after(recording: SpeakerRecording, at: float) -> np.ndarray:
    """Times of the speaker's loud samples later than `at`, seconds of the monotonic clock."""
    times = recording.started_at + recording.loud() / SPEAKER_RATE_HZ
    return times[times > at]


def test_several_turns_with_an_interruption(virtual_sound: VirtualSound, tmp_path: Path) -> None:
    """Speech goes in by the microphone, the reply comes out of the speaker, and is cut off."""
    question = np.concatenate([voice(900), silence(100)])
    wav = write_wav(tmp_path / "question.wav", question)
    with gateway(LONG, "short", "the last") as served:
        config = config_for(served.url, "audio.input=default", "audio.output=default")
        with conversation(config) as (_, recorder), virtual_sound.record_speaker() as speaker:
            recorder.wait_for("device", which="input", state="open")
            recorder.wait_for("device", which="output", state="open")
            recorder.wait_for("state", state="idle")

            virtual_sound.speak_into_microphone(wav).wait()
            recorder.wait_for("playback_start")
            began = time.monotonic()
            interruption = virtual_sound.speak_into_microphone(wav)
            interrupted = recorder.wait_for("interrupted")
            at = time.monotonic()
            assert interrupted["by"] == "speech"
            assert interrupted["heard_text"] == LONG[: len(interrupted["heard_text"])] != LONG
            assert 0 < interrupted["played_ms"] < 3000
            interruption.wait()

            recorder.wait_for("playback_end")
            virtual_sound.speak_into_microphone(wav).wait()
            recorder.wait_for("playback_end", count=2)

            assert len(loud_after(speaker, began))
            second = recorder.jsons("playback_start")[1]["t"] - interrupted["t"] + at
            between = loud_after(speaker, at)
            cut_ms = (between[between < second - 0.05].max(initial=at) - at) * 1000
            assert cut_ms <= SILENT_WITHIN_MS + SLACK_MS
            states = recorder.states()
    finals = [event["text"] for event in recorder.jsons("final")]
    assert finals == [LONG, "short", "the last"]
    assert states.count("speaking") == 3
    assert recorder.jsons("lost") == []


def test_a_reply_is_whole_at_the_speaker(virtual_sound: VirtualSound, tmp_path: Path) -> None:
    """Neither its first nor its last sound is clipped on the way through the devices."""
    wav = write_wav(tmp_path / "question.wav", np.concatenate([voice(700), silence(100)]))
    with gateway("one two three") as served:
        config = config_for(served.url, "audio.input=default", "audio.output=default")
        with conversation(config) as (_, recorder), virtual_sound.record_speaker() as speaker:
            recorder.wait_for("state", state="idle")
            virtual_sound.speak_into_microphone(wav).wait()
            recorder.wait_for("playback_end")
            time.sleep(0.3)  # the monitor is behind the speaker
            loud = speaker.loud()
        sound_ms = (loud[-1] - loud[0]) * 1000 / SPEAKER_RATE_HZ
        expected_ms = recorder.jsons("playback_end")[0]["played_ms"]
    assert sound_ms == pytest.approx(expected_ms, abs=60)
