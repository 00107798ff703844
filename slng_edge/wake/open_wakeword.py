"""Wake words with pyopen-wakeword; the only file that imports it.

openWakeWord's models score 80 ms at a time: 200 µs for 10 ms of sound, nearly all of it for the
features that all words share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slng_edge.errors import ConfigError, MissingLibrary
from slng_edge.listening.wake_words import STOP_WORD, WakeModel
from slng_edge.pcm import Samples
from slng_edge.wake.measured import end_shape, lateness
from slng_edge.wake.model_files import look_into

if TYPE_CHECKING:
    from pyopen_wakeword import OpenWakeWord

NAME = "open"
BUILT_IN = ("okay_nabu", "hey_jarvis", "hey_mycroft", "alexa", "hey_rhasspy")
"""The models in the library's wheel, so that a wrong word is told before it is loaded."""
SUFFIX = ".tflite"
"""Of a model of one's own."""

CUTOFF = 0.5
"""openWakeWord's own default for all of its models."""

EMBEDDING = 96


class OpenWakeEngine:
    """Scores with models of openWakeWord. One thread.

    Args:
        words: Names out of `BUILT_IN`, or paths to models.

    Raises:
        ConfigError: a model is missing or broken.
        MissingLibrary: pyopen-wakeword is not installed.
    """

    block_samples = 1280

    def __init__(self, words: Sequence[str]) -> None:
        try:
            import pyopen_wakeword
        except ImportError as error:
            raise MissingLibrary(
                "pyopen-wakeword", "this wake word", "pip install 'slng-edge[wake-open]'"
            ) from error
        library = Path(pyopen_wakeword.__file__).parent / "lib" / "libtensorflowlite_c.so"
        for word in words:
            if word not in BUILT_IN:
                _check_model(Path(word), library)
        load = pyopen_wakeword.OpenWakeWord
        self._features = pyopen_wakeword.OpenWakeWordFeatures.from_builtin()
        self._scorers: list[tuple[WakeModel, OpenWakeWord]] = []
        for word in words:
            if word in BUILT_IN:
                loaded = load.from_builtin(pyopen_wakeword.Model(word))
            else:
                loaded = load.from_model(Path(word))
            self._scorers.append((_model_of(word), loaded))
        self.models = tuple(model for model, _ in self._scorers)
        # The library goes through eight seconds of silence at its first block, 0.15 s of work.
        # That is done once, here; a reset goes back to this instead of doing it again.
        for _ in self.receive_block(np.zeros(self.block_samples, dtype=np.int16), True):
            pass
        self._silence = [part.copy() for part in self._state()]
        self._silence_counts = (self._features.new_audio_samples, self._features.new_mels)
        self._silence_embeddings = [loaded.new_embeddings for _, loaded in self._scorers]

    def receive_block(self, block: Samples, with_stop: bool) -> Iterator[tuple[str, float]]:
        """See `WakeEngine`."""
        for embeddings in self._features.process_streaming(block.tobytes()):
            for model, loaded in self._scorers:
                # A stop word is listened for all the time: the features cost, it does not, and
                # without what came before it would be deaf for its first second.
                for probability in loaded.process_streaming(embeddings):
                    if with_stop or not model.stop:
                        yield model.word, probability

    def reset(self) -> None:
        """See `WakeEngine`; what came before counts as silence."""
        for part, silent in zip(self._state(), self._silence, strict=True):
            part[:] = silent
        self._features.new_audio_samples, self._features.new_mels = self._silence_counts
        for (_, loaded), count in zip(self._scorers, self._silence_embeddings, strict=True):
            loaded.new_embeddings = count

    def close(self) -> None:
        """See `WakeEngine`."""
        self._features.close()
        for _, loaded in self._scorers:
            loaded.close()

    def _state(self) -> list[np.ndarray]:
        shared = [self._features.audio, self._features.mels]
        return [*shared, *(loaded.embeddings for _, loaded in self._scorers)]


def _model_of(word: str) -> WakeModel:
    name = word if word in BUILT_IN else Path(word).stem
    return WakeModel(
        word=name,
        cutoff=CUTOFF,
        lateness=lateness(NAME, name),
        shape=end_shape(name),
        stop=name.lower() == STOP_WORD,
    )


def _check_model(path: Path, library: Path) -> None:
    takes, gives = look_into(path, library)
    if (
        takes.type != "float32"
        or len(takes.shape) != 3
        or takes.shape[0] != 1
        or takes.shape[2] != EMBEDDING
        or gives.shape != (1, 1)
    ):
        raise ConfigError(
            f"wake.words: {path} is no model of openWakeWord; for one of microWakeWord name "
            'the ".json" beside it'
        )
