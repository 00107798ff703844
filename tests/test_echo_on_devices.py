"""The loop before a loudspeaker that it hears itself by, on a private sound server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conversation_scripts import RATE_HZ, config_for, conversation, wait_until, write_wav
from echo_on_devices import EchoRoom, interruptions
from simulated_room import REPLY_DBFS, recording
from virtual_sound import VirtualSound

from slng_edge.simulator import LocalGateway, ScriptRecognizer
from slng_edge.simulator.synthesizers import FliteSynthesizer

pytestmark = [
    pytest.mark.sound,
    pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed"),
]

COUPLING_DB = -10.0
ANSWER = (
    "Here is what I found about the history of the steam engine. "
    "It was improved by James Watt in the eighteenth century, and changed the world."
)
WORDS = "no that is not what i meant"
VOLUME = 0.35
"""Brings flite to about `REPLY_DBFS`."""


def test_it_hears_who_interrupts_and_not_itself(
    virtual_sound: VirtualSound, tmp_path: Path
) -> None:
    """A reply whose echo is in the microphone goes on; a voice over the next one ends it."""
    spoken = FliteSynthesizer("rms").synthesize(WORDS, RATE_HZ)
    voice = recording(write_wav(tmp_path / "words.wav", spoken))
    # Twice as loud as the echo: what is noticed at equal loudness is a matter of chance.
    (said,) = interruptions(tmp_path, [voice], REPLY_DBFS + COUPLING_DB + 6)
    with (
        LocalGateway(stt=ScriptRecognizer([WORDS]), tts=FliteSynthesizer()) as served,
        EchoRoom(virtual_sound, COUPLING_DB),
    ):
        devices = ("audio.input=default", "audio.output=default", "audio.echo_cancel=off")
        config = config_for(served.url, *devices, f"audio.volume={VOLUME}")
        with conversation(config) as (loop, recorder):
            recorder.wait_for("device", which="input", state="open")
            recorder.wait_for("device", which="output", state="open")
            recorder.wait_for("state", state="idle")

            loop.ask(ANSWER)
            recorder.wait_for("playback_start")
            assert wait_until(lambda: recorder.jsons("playback_end"), 20)
            assert recorder.jsons("playback_end")[0]["played_ms"] > 7000
            assert "paused" not in recorder.states()
            assert recorder.jsons("speech_start") == []

            loop.ask(ANSWER)
            recorder.wait_for("playback_start", count=2)
            virtual_sound.speak_into_microphone(said.wav).wait()
            recorder.wait_for("state", state="paused")
            assert recorder.wait_for("interrupted")["by"] == "speech"
