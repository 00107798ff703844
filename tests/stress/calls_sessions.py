"""The sessions, called from many threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path

from conversation_scripts import Heard, config_for, wait_until
from labelled_sound import LabelReader, labelled_voice, numbers_of
from stress.outcome import Crowd, Outcome, at_once

from slng_edge import SttSession, TtsSession
from slng_edge.protocol.session_events import Final, ReplyAudio, ReplyCut, ReplyDone, UtteranceLost
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer


def stt_session(outcome: Outcome, folder: Path, seed: int, length_s: float) -> None:
    """Utterances from several threads, one at a time; each has one final or one loss."""
    served = LocalGateway(stt=LabelReader(_VOICES), tts=ToneSynthesizer(), keep_history=False)
    heard = Heard()
    with served:
        config = config_for(served.url, "stt.final_timeout_s=1.0")
        session = SttSession(config, on_event=heard, api_key="")
        session.start()
        turn = threading.Lock()
        opened: list[int] = []
        said = iter(range(len(_VOICES)))

        def utter() -> None:
            with turn:  # any one thread at a time
                voice = _VOICES[next(said) % len(_VOICES)]
                number = session.open_utterance()
                for start in range(0, len(voice), 1600):
                    session.add_audio(number, voice[start : start + 1600])
                session.end_utterance(number, time.monotonic())
                opened.append(number)
            time.sleep(0.1)

        crowd = Crowd(outcome, StopIteration)
        for index in range(3):
            crowd.add(f"utters-{index}", utter, pause_s=0.05)
        crowd.add("retries", session.retry_now, pause_s=0.01)
        crowd.add("looks again", session.look_again, pause_s=0.01)
        crowd.add("waits", lambda: session.wait_ready(5.0), pause_s=0.01)
        with crowd:
            time.sleep(length_s)

        def answered() -> list[int]:
            return [each.utterance for each in list(heard.events) if isinstance(each, Final)]

        wait_until(lambda: set(opened) <= set(answered()), 8.0)
        lost = [each for each in list(heard.events) if isinstance(each, UtteranceLost)]
        outcome.check(not lost, f"lost without a fault: {lost}")
        outcome.check(sorted(answered()) == opened, f"{opened} got {answered()}")
        words = [each.text for each in list(heard.events) if isinstance(each, Final)]
        numbers = [number for text in words for number in numbers_of(text)]
        outcome.check(len(numbers) == len(set(numbers)) == len(opened), f"words: {words}")
        at_once(outcome, "speech-to-text", session.stop, limit_s=3.5)


_VOICES = {number: labelled_voice(number, 300) for number in range(40)}


def tts_session(outcome: Outcome, folder: Path, seed: int, length_s: float) -> None:
    """Replies, voices and interruptions from many threads; what is not interrupted comes whole."""
    served = LocalGateway(stt=ScriptRecognizer(["x"]), tts=ToneSynthesizer(), keep_history=False)
    heard: deque[object] = deque()
    with served:
        config = config_for(served.url, "tts.first_audio_timeout_s=2.0", "gateway.tier=enterprise")

        def on_event(event: object) -> None:
            heard.append(event)
            if isinstance(event, ReplyDone):
                session.look_again()  # as a callback may
                session.retry_now()

        session = TtsSession(config, on_event=on_event, api_key="")
        session.start()
        numbers = iter(range(1, 10**6))
        turn = threading.Lock()

        def speak() -> None:
            with turn:
                number = next(numbers)
                session.open_reply(number)
            for text in ("One.", "Two."):
                session.add_text(number, text)
            session.end_reply(number)
            time.sleep(0.05)

        crowd = Crowd(outcome)
        for index in range(2):
            crowd.add(f"speaks-{index}", speak, pause_s=0.05)
        crowd.add("interrupts", lambda: session.interrupt(time.monotonic()), pause_s=0.3)
        crowd.add("voices", lambda: session.change_voice(f"aura-2-{time.time()}"), pause_s=0.4)
        crowd.add("retries", session.retry_now, pause_s=0.02)
        with crowd:
            time.sleep(length_s)
        session.interrupt(time.monotonic())
        last = next(numbers)
        session.open_reply(last)
        session.add_text(last, "And this is the last of them.")
        session.end_reply(last)

        def over() -> bool:
            return any(
                isinstance(each, ReplyDone | ReplyCut) and each.reply == last
                for each in list(heard)
            )

        outcome.check(wait_until(over, 10.0), "the last reply does not end")
        sound = [
            each for each in list(heard) if isinstance(each, ReplyAudio) and each.reply == last
        ]
        outcome.check(sound, "the last reply has no sound")
        done = [each.reply for each in list(heard) if isinstance(each, ReplyDone)]
        outcome.check(len(done) == len(set(done)), f"done twice: {done}")
        at_once(outcome, "text-to-speech", session.stop, limit_s=3.5)
