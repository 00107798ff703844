"""The voice loop as a program whose media pass faster than real time, with somebody to speak.

    python -m slng_edge.benchmarks.accelerated_loop SPEED VOICE.wav [-s SECTION.KEY=VALUE ...] ...

Takes the options of `slng-edge` and writes events as `run --events -` does. Each line on standard
input is somebody who says what is in VOICE.wav; the room is quiet else.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slng_edge.audio import backends
from slng_edge.audio.media_clock import MediaClock
from slng_edge.audio.null_backend import NullSource
from slng_edge.audio.wav_files import read_wav
from slng_edge.benchmarks import speech
from slng_edge.config_loading import load_config
from slng_edge.pcm import Samples
from slng_edge.protocol.tier_limits import TIER_LIMITS
from slng_edge.voice_loop import Died, Flowed, VoiceLoop


class AskedVoice(NullSource):
    """A microphone in a quiet room in which somebody speaks when asked to. Implements `Source`.

    `speak` belongs to any thread.
    """

    def __init__(self, voice: Samples, *, rate_hz: int, frame_ms: float, clock: MediaClock) -> None:
        super().__init__(rate_hz=rate_hz, frame_ms=frame_ms, clock=clock)
        self.name = "voice"
        self._voice = _in_frames(voice, self.frame_samples)
        self._room = _in_frames(speech.room(1.0), self.frame_samples)
        self._asked = threading.Semaphore(0)
        self._at = len(self._voice)

    def speak(self) -> None:
        """Say it once, or once more when it has been said."""
        self._asked.release()

    def read(self) -> Samples | None:
        """The next frame; None after `close`."""
        if super().read() is None:
            return None
        if self._at == len(self._voice):
            if not self._asked.acquire(blocking=False):
                return self._room[self._frames % len(self._room)]
            self._at = 0
        self._at += 1
        return self._voice[self._at - 1]


def main(argv: Sequence[str]) -> int:
    """Run until standard input ends; 1 where a thread died."""
    parser = argparse.ArgumentParser()
    parser.add_argument("speed", type=float)
    parser.add_argument("voice")
    parser.add_argument("--config")
    parser.add_argument("-s", dest="overrides", action="append", default=[])
    args, _ = parser.parse_known_args(argv)
    _, _, samples = read_wav(args.voice)
    clock = MediaClock(args.speed)
    microphones: list[AskedVoice] = []

    def build(
        rest: str, *, rate_hz: int, frame_ms: float, channel: int, clock: MediaClock
    ) -> AskedVoice:
        microphones.append(
            AskedVoice(samples[:, 0], rate_hz=rate_hz, frame_ms=frame_ms, clock=clock)
        )
        return microphones[-1]

    backends.SOURCES["device"] = build
    config = load_config(args.config, args.overrides)
    limits = TIER_LIMITS[config.gateway.tier]
    # Its minutes pass as fast as the media.
    limits = replace(limits, messages_a_minute=round(args.speed * limits.messages_a_minute))
    loop = VoiceLoop(config, limits=limits, clock=clock)
    events = threading.Thread(target=_tell, args=(loop,), name="tell")
    with loop:
        events.start()
        for _ in sys.stdin:
            microphones[-1].speak()
            while not loop.notices.empty():
                match loop.notices.get():
                    case Died(thread, error):
                        raise RuntimeError(f"the thread {thread} died") from error
                    case Flowed():
                        pass
    events.join()
    return 0


def _tell(loop: VoiceLoop) -> None:
    for stamped in loop.events():
        sys.stdout.write(json.dumps(stamped.as_json()) + "\n")
        sys.stdout.flush()


def _in_frames(samples: Samples, size: int) -> list[Samples]:
    padded = np.pad(samples, (0, -len(samples) % size)).astype(np.int16)
    return list(padded.reshape(-1, size))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
