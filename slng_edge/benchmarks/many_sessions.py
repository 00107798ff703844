"""Many speech-to-text sessions in one program, each fed a frame every 20 ms in real time.

    python -m slng_edge.benchmarks.many_sessions URL SESSIONS SECONDS

One thread feeds all of them, as a fleet's test driver would. It prints when the first frame was due
(`time.monotonic()`), then, when all have been fed, what share of a CPU that took.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence

from slng_edge.benchmarks import speech
from slng_edge.config_loading import load_config
from slng_edge.gateway.stt_session import SttSession
from slng_edge.pcm import PcmFormat

FRAME_MS = 20
READY_S = 30.0
LEAD_S = 0.2


def main(argv: Sequence[str]) -> int:
    """Feed them; returns when the last frame has been handed over and had time to go out."""
    url, sessions, seconds = argv[0], int(argv[1]), float(argv[2])
    config = load_config(os.devnull, ["gateway.tier=enterprise"], environ={})
    size = PcmFormat(speech.RATE_HZ).samples(FRAME_MS)
    clip = speech.room(1.0)
    frames = [clip[start : start + size] for start in range(0, len(clip), size)]
    with contextlib.ExitStack() as stack:
        made = [SttSession(config, url=url, api_key="local") for _ in range(sessions)]
        for session in made:
            session.start()
            stack.callback(session.stop)
        for session in made:
            session.wait_ready(READY_S)
        fed = [(session, session.open_utterance()) for session in made]
        first_s = time.monotonic() + LEAD_S
        _tell(first_s)
        cpu_before_s, before_s = time.process_time(), time.monotonic()
        for number in range(round(seconds * 1000 / FRAME_MS)):
            due_s = first_s + number * FRAME_MS / 1000
            time.sleep(max(0.0, due_s - time.monotonic()))
            frame = frames[number % len(frames)]
            for session, utterance in fed:
                session.add_audio(utterance, frame)
        time.sleep(LEAD_S)
        _tell((time.process_time() - cpu_before_s) / (time.monotonic() - before_s))
        sys.stdin.readline()  # sessions that end say so, which would be heard as well
    return 0


def _tell(number: float) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
