"""Which frames follow a wake word, pure: frames in, a waking out.

The word's own sound never belongs to the command; what is said in the same breath always does.
So the last two seconds are kept, and when a word was said, everything after its end
(`word_end.py`) is handed out, the frame in which it ended with the word silenced. The sound that
this needs after the detection is waited for, except while a reply sounds: being interrupted
quickly is worth more than a cut at the very sample then.

A detection counts where the model's probability is over the threshold for as many scores in a
row as its recipe asks for, and no word was said within the refractory time. Time is the sound's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from slng_edge.listening.word_end import RATE_HZ, EndShape, Lateness, end_of_fall, find_word_end
from slng_edge.pcm import FrameSplitter, PcmFormat, Samples

HISTORY_MS = 2000
"""More than the latest detection after a word's end that was seen (1.3 s), with its context."""
FADE_MS = 5
"""The word fades out within this before its end: a click would be a consonant."""
STOP_WORD = "stop"
"""A word of this name silences a reply, and does nothing else."""
OWN_THRESHOLD = 0.5
"""What stands for the model's own cutoff on the scale of `Lateness`."""


@dataclass(frozen=True)
class WakeModel:
    """A word that an engine knows.

    Attributes:
        word: Its name.
        cutoff: The probability over which the recipe of the model takes it for said, within
            0 and 1, both excluded.
        in_a_row: Scores over it that are needed one after the other.
        lateness: When it says so.
        shape: What its end looks like, None where that is not known.
        stop: Whether it silences a reply and does nothing else.
    """

    word: str
    cutoff: float
    lateness: Lateness
    in_a_row: int = 1
    shape: EndShape | None = None
    stop: bool = False

    def on_recipe_scale(self, probability: float) -> float:
        """`probability` on a scale on which 0.5 is the model's own cutoff: its `Lateness` is so."""
        if probability <= self.cutoff:
            return OWN_THRESHOLD * probability / self.cutoff
        above = (probability - self.cutoff) / (1 - self.cutoff)
        return OWN_THRESHOLD + (1 - OWN_THRESHOLD) * above


class WakeEngine(Protocol):
    """A library that scores sound. One thread: the one that reads the microphone.

    Attributes:
        models: The words it was told to listen for.
        block_samples: How much it takes at a time, 16 kHz.
    """

    @property
    def models(self) -> Sequence[WakeModel]: ...

    @property
    def block_samples(self) -> int: ...

    def receive_block(self, block: Samples, with_stop: bool) -> Iterable[tuple[str, float]]:
        """The new scores, if any: words with their probabilities, 0 to 1.

        Args:
            block: `block_samples` at 16 kHz.
            with_stop: Whether words that stop a reply are listened for as well.
        """

    def reset(self) -> None:
        """Forget what came: what follows does not belong to it."""

    def close(self) -> None:
        """Release what the library holds; idempotent."""


class Converter(Protocol):
    """What brings the microphone's rate to 16 kHz (`Resampler`)."""

    def receive(self, samples: Samples) -> Samples: ...
    def end(self) -> Samples: ...


@dataclass(frozen=True)
class Woken:
    """A word was said.

    Attributes:
        word: Its name, as configured.
        score: The model's probability, over `wake.threshold`.
        frames: What came after the word's end, up to the frame just received, in order; the
            first is a copy with the word silenced where it ended within it. May be empty.
        stop: It silences a reply, and nothing else: there are no frames then.
        skip_frames: So many frames from now on still belong to the word, and are to be left
            out. Only while a reply sounds; 0 otherwise.
        fading_frames: The first so many of `frames` may be the word's last vowel, which the room
            lets ring: no speech begins in them.
    """

    word: str
    score: float
    frames: tuple[Samples, ...] = ()
    stop: bool = False
    skip_frames: int = 0
    fading_frames: int = 0


@dataclass(frozen=True)
class _Said:
    """A detection whose end is still looked for; positions are 16 kHz samples since the gap."""

    model: WakeModel
    score: float
    at: int
    wait_until: int


class _Ear:
    """An engine, and how far it has listened."""

    def __init__(self, engine: WakeEngine) -> None:
        self.engine = engine
        self.models = {model.word: model for model in engine.models}
        self.forget()

    def forget(self) -> None:
        self.splitter = FrameSplitter(self.engine.block_samples)
        self.position = 0
        self.in_a_row = dict.fromkeys(self.models, 0)


class WakeListener:
    """Listens for wake words. One thread: the one that reads the microphone.

    A frame takes as long as its engines do, and a detection 1 ms more; nothing runs while it is
    not called.

    Args:
        engines: What scores; each has words of its own.
        rate_hz: Rate of the frames.
        frame_ms: Length of each frame.
        threshold: The probability over which a word was said, 0 to 1.
        refractory_s: After a word was said, no word is for so long.
        converter: Brings `rate_hz` to 16 kHz; None where it is that.

    Raises:
        ValueError: there is no converter, and `rate_hz` is not 16000.
    """

    def __init__(
        self,
        engines: Sequence[WakeEngine],
        *,
        rate_hz: int,
        frame_ms: int,
        threshold: float,
        refractory_s: float,
        converter: Converter | None = None,
    ) -> None:
        if converter is None and rate_hz != RATE_HZ:
            raise ValueError(f"wake words are heard at {RATE_HZ} Hz, not {rate_hz}")
        self._format = PcmFormat(rate_hz)
        self._frame_samples = self._format.samples(frame_ms)
        self._threshold = threshold
        self._refractory_samples = int(refractory_s * RATE_HZ)
        self._converter = converter
        self._ears = [_Ear(engine) for engine in engines]
        self.words = tuple(word for ear in self._ears for word in ear.models)
        """The names of all words, in the order of the engines."""
        kept = -(-HISTORY_MS // frame_ms)
        self._frames: deque[Samples] = deque(maxlen=kept)
        self._sound: deque[Samples] = deque(maxlen=kept)
        self._frames_received = 0
        self._sound_end = 0
        self._deaf_until = 0
        self._said: _Said | None = None

    def receive_frame(self, frame: Samples, reply_sounds: bool) -> Woken | None:
        """Take the next frame; says so when a word was said.

        Args:
            frame: int16, one frame long. It is kept, not copied.
            reply_sounds: Whether a reply is in the air: only then are stop words listened for,
                and a word is told at once.
        """
        self._frames.append(frame)
        self._frames_received += 1
        sound = frame if self._converter is None else self._converter.receive(frame)
        self._sound.append(sound)
        self._sound_end += len(sound)
        for ear in self._ears:
            for block in ear.splitter.receive(sound):
                ear.position += len(block)
                for word, probability in ear.engine.receive_block(block, reply_sounds):
                    self._weigh(ear, word, probability)
        said = self._said
        if said is None or (self._sound_end < said.wait_until and not reply_sounds):
            return None
        self._said = None
        self._deaf_until = said.at + self._refractory_samples
        if said.model.stop:
            return Woken(said.model.word, said.score, stop=True)
        end, faded = self._end_of(said)
        frames, skip_frames = self._frames_after(end)
        after_fading, _ = self._frames_after(faded)
        return Woken(
            said.model.word,
            said.score,
            frames,
            skip_frames=skip_frames,
            fading_frames=len(frames) - len(after_fading),
        )

    def receive_gap(self) -> None:
        """What follows does not belong to what came: muted, or the device was lost."""
        self._frames.clear()
        self._sound.clear()
        self._frames_received = self._sound_end = self._deaf_until = 0
        self._said = None
        if self._converter is not None:
            self._converter.end()
        for ear in self._ears:
            ear.forget()
            ear.engine.reset()

    def close(self) -> None:
        """Release the engines; idempotent."""
        for ear in self._ears:
            ear.engine.close()

    def _weigh(self, ear: _Ear, word: str, probability: float) -> None:
        model = ear.models[word]
        score = probability
        if score <= self._threshold or ear.position < self._deaf_until:
            ear.in_a_row[word] = 0
            return
        ear.in_a_row[word] += 1
        if ear.in_a_row[word] < model.in_a_row:
            return
        said = self._said
        if said is None:
            lateness = model.lateness.at(model.on_recipe_scale(self._threshold))
            ahead = int(lateness.lookahead_ms * RATE_HZ / 1000)
            self._said = _Said(model, score, ear.position, ear.position + ahead)
        elif score > said.score:
            # It was over the threshold when it was said first, and is cut from there.
            at = said.at if said.model is model else ear.position
            self._said = _Said(model, score, at, said.wait_until)

    def _end_of(self, said: _Said) -> tuple[int, int]:
        """Where the word ended, and where it had faded."""
        sound = np.concatenate(self._sound)
        before = self._sound_end - len(sound)
        lateness = said.model.lateness.at(said.model.on_recipe_scale(self._threshold))
        end = find_word_end(sound, said.at - before, lateness, said.model.shape)
        return before + end, before + end_of_fall(sound, end)

    def _frames_after(self, end: int) -> tuple[tuple[Samples, ...], int]:
        """The frames after `end` (16 kHz samples since the gap), and how many are to be skipped."""
        first, within = divmod(end * self._format.rate_hz // RATE_HZ, self._frame_samples)
        after = self._frames_received - first
        if after <= 0:
            return (), -after
        frames = list(self._frames)[-after:]
        if within and len(frames) == after:
            frames[0] = _silenced(frames[0], within, self._format.samples(FADE_MS))
        return tuple(frames), 0


def _silenced(frame: Samples, until: int, fade: int) -> Samples:
    """`frame` without what comes before sample `until`."""
    gain = np.clip(np.arange(len(frame)) - until + fade, 0, fade) / fade
    return np.asarray((frame * gain).astype(np.int16))
