"""Real sound devices, through PortAudio and a sound server that is suspended, hangs and dies."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from conversation_scripts import Recorder, config_for, wait_until
from stress.outcome import Crowd, Outcome, at_once
from virtual_sound import VirtualSound, missing_for_virtual_sound

from slng_edge import VoiceLoop
from slng_edge.errors import ControlError
from slng_edge.events import EventBus
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

REOPENED_S = 25.0
"""A call into PortAudio is given up after 8 s, and a device is looked for every second."""


def sound(outcome: Outcome, folder: Path, seed: int, rounds: int) -> None:
    """A loop that talks, is muted and looked at while its sound server is ill; then it talks."""
    missing = missing_for_virtual_sound()
    if missing:
        outcome.counts[f"not played: {missing}"] += 1
        return
    rng = random.Random(seed)
    (folder / "sound").mkdir()
    server = VirtualSound(folder / "sound")
    served = LocalGateway(
        stt=ScriptRecognizer(["x"]), tts=ToneSynthesizer(), faults=["tls=good"], keep_history=False
    )
    with outcome.nothing_left("a loop on sound devices"), served:
        server.start()
        os.environ.update({name: server.environment[name] for name in _NAMES})
        try:
            _talk(outcome, rng, server, served, rounds)
        finally:
            for name in _NAMES:
                del os.environ[name]
            server.stop()


_NAMES = ("ALSA_CONFIG_PATH", "PULSE_SERVER")


def _talk(
    outcome: Outcome, rng: random.Random, server: VirtualSound, served: LocalGateway, rounds: int
) -> None:
    config = config_for(
        served.url,
        f"gateway.ca_file={served.ca_file}",
        "audio.input=default",
        "audio.output=default",
        "turn.barge_in=off",
    )
    loop = VoiceLoop(config, bus=EventBus(), api_key="")
    with Recorder(loop.bus) as recorder:
        loop.start()
        try:
            for which in ("input", "output"):
                recorder.wait_for("device", which=which, state="open")
            crowd = Crowd(outcome, ControlError)
            crowd.add("says", lambda: loop.say("Hello there.", now=True), pause_s=0.4)
            crowd.add("mutes", lambda: loop.mute(rng.random() < 0.5), pause_s=0.3)
            crowd.add("looks", lambda: (loop.counters(), loop.problems()), pause_s=0.02)
            with crowd:
                for _ in range(rounds):
                    time.sleep(1.0)
                    rng.choice(_ILLS)(server)
            loop.mute(False)
            loop.interrupt()
            _is_well_again(outcome, loop, recorder)
            at_once(outcome, "loop on sound devices", loop.stop, limit_s=5.0)
        finally:
            loop.stop()
            loop.bus.close()
    outcome.counts["loops on sound devices"] += 1


def _is_well_again(outcome: Outcome, loop: VoiceLoop, recorder: Recorder) -> None:
    ended = len(recorder.jsons("playback_end"))

    def says() -> bool:
        if loop.counters()["texts_waiting"] == 0:
            loop.say("And the last of them.")
        time.sleep(0.5)
        return len(recorder.jsons("playback_end")) > ended

    told = wait_until(says, REOPENED_S)
    outcome.check(told, f"it says nothing any more: {recorder.jsons()[-12:]}")


def _suspend(server: VirtualSound) -> None:
    server.suspend("vspk", "vmic")
    time.sleep(0.5)
    server.resume("vspk", "vmic")


def _hang(server: VirtualSound) -> None:
    server.freeze()
    time.sleep(2.0)
    server.thaw()


def _die(server: VirtualSound) -> None:
    server.stop()
    time.sleep(0.5)
    server.start()


_ILLS: tuple[Callable[[VirtualSound], None], ...] = (_suspend, _hang, _die)
