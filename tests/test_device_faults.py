"""Microphone and speaker are taken away from a real service, and come back.

The other faults are played by `scripts/device-faults`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conversation_scripts import config_for, conversation, gateway, voice, wait_until, write_wav
from device_faults import BACK_S, FAULTS, NOTICED_S, STATES, Kiosk, Room, kiosk
from virtual_sound import (
    MICROPHONE_NAME,
    SPEAKER_NAME,
    VirtualSound,
    missing_for_virtual_sound,
)

pytestmark = pytest.mark.sound

PLAYED = ("microphone unplugged", "speaker unplugged", "sound server killed")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kiosk]:
    """One process for all of the faults, which it has to survive."""
    missing = missing_for_virtual_sound()
    if missing:
        pytest.skip(f"no virtual sound: {missing}")
    folder = tmp_path_factory.mktemp("kiosk")
    with Room(folder) as room, kiosk(folder, room) as running:
        yield running


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("fault", PLAYED)
def test_a_device_that_goes_and_comes_back(service: Kiosk, fault: str, state: str) -> None:
    """Noticed, shown, reopened by the same process, which hears and speaks again."""
    before = service.resources()
    outcome = service.play(FAULTS[fault], state)
    assert outcome.noticed_ms <= NOTICED_S * 1000
    assert outcome.back_ms <= BACK_S * 1000
    threads, files = np.subtract(service.resources(), before)
    assert threads <= 0
    assert files <= 0
    assert service.longest_silence_s() < 5
    assert "ALSA lib" not in service.log


def noise(seconds: float) -> np.ndarray:
    """What a quiet room sounds like to a converter."""
    return np.random.default_rng(3).integers(-6, 7, int(seconds * 48000)).astype(np.int16)


def test_a_microphone_that_becomes_zeros(
    own_virtual_sound: VirtualSound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost within 2 s, `error` until there is sound again, and then it hears the next words."""
    monkeypatch.setattr("slng_edge.audio.device_zeros.NOISY_S", 0.5)
    monkeypatch.setattr("slng_edge.audio.device_source._watches", {})
    quiet = write_wav(tmp_path / "noise.wav", noise(0.9), 48000)
    room = np.concatenate([noise(0.6), voice(400, 48000), noise(0.3)])
    question = write_wav(tmp_path / "question.wav", room, 48000)
    with gateway("yes") as served:
        config = config_for(
            served.url, f"audio.input={MICROPHONE_NAME}", f"audio.output={SPEAKER_NAME}"
        )
        with conversation(config) as (_, recorder):
            recorder.wait_for("device", which="input", state="open")
            own_virtual_sound.speak_into_microphone(quiet).wait()
            ended = time.monotonic()
            recorder.wait_for("device", which="input", state="lost")
            assert time.monotonic() - ended < NOTICED_S
            recorder.wait_for("state", state="error")
            time.sleep(1.2)
            assert len(recorder.jsons("device")) == 3  # it does not flap
            own_virtual_sound.speak_into_microphone(question).wait()
            recorder.wait_for("device", which="input", state="reopened")
            recorder.wait_for("final", text="yes")
            recorder.wait_for("playback_end")


def test_a_microphone_that_was_always_zeros_is_told(
    virtual_sound: VirtualSound,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the status and once in the log; it is heard as before: it may have a noise gate."""
    monkeypatch.setattr("slng_edge.audio.device_source._watches", {})
    question = write_wav(tmp_path / "question.wav", voice(600, 48000), 48000)
    with gateway("yes") as served:
        config = config_for(served.url, "audio.input=default")
        with conversation(config) as (loop, recorder):
            recorder.wait_for("device", which="input", state="open")
            opened = time.monotonic()
            assert wait_until(lambda: "audio.input" in loop.problems())
            assert time.monotonic() - opened < NOTICED_S
            virtual_sound.speak_into_microphone(question).wait()
            recorder.wait_for("final", text="yes")
            assert loop.problems() == {}
            assert len(recorder.jsons("device")) == 2
    assert caplog.text.count("default: nothing but zeros since it was opened") == 1


def test_muted_nobody_has_the_microphone(virtual_sound: VirtualSound) -> None:
    """By the sound server's word: it is closed, and not only ignored."""

    def readers() -> int:
        return len(virtual_sound.listed("source-outputs"))

    with gateway("yes") as served:
        config = config_for(served.url, "audio.input=default")
        with conversation(config) as (loop, recorder):
            recorder.wait_for("device", which="input", state="open")
            assert readers() == 1
            loop.mute(True)
            recorder.wait_for("state", state="muted")
            assert wait_until(lambda: readers() == 0)
            loop.mute(False)
            recorder.wait_for("state", state="idle", count=2)
            assert readers() == 1
