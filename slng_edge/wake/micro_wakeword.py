"""Wake words with pymicro-wakeword; the only file that imports it.

Its models are made for microcontrollers: 25 µs for 10 ms of sound, most of it Python's. A score
comes every 30 ms, the mean of the last five (`sliding_window_size` of the model's manifest).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slng_edge.errors import ConfigError, MissingLibrary
from slng_edge.listening.wake_words import STOP_WORD, WakeModel
from slng_edge.pcm import Samples
from slng_edge.wake.measured import end_shape, lateness
from slng_edge.wake.model_files import look_into

if TYPE_CHECKING:
    from pymicro_wakeword import MicroWakeWord

NAME = "micro"
BUILT_IN = ("okay_nabu", "hey_jarvis", "hey_mycroft", "alexa")
"""The models in the library's wheel, so that a wrong word is told before it is loaded."""
SUFFIX = ".json"
"""Of the manifest of a model of one's own, as ESPHome writes it; the model lies beside it."""

FEATURES = 40
"""Of 10 ms; a model takes a few of these at a time."""


class MicroWakeEngine:
    """Scores with models of microWakeWord. One thread.

    Args:
        words: Names out of `BUILT_IN`, or paths to manifests.

    Raises:
        ConfigError: a manifest or the model that it names is missing or broken.
        MissingLibrary: pymicro-wakeword is not installed.
    """

    block_samples = 160

    def __init__(self, words: Sequence[str]) -> None:
        try:
            import pymicro_wakeword
        except ImportError as error:
            raise MissingLibrary(
                "pymicro-wakeword", "listening for wake words", "pip install 'slng-edge[wake]'"
            ) from error
        self._features = pymicro_wakeword.MicroWakeWordFeatures()
        library = Path(pymicro_wakeword.__file__).parent / "lib" / "libtensorflowlite_c.so"
        for word in words:
            if word not in BUILT_IN:
                _check_manifest(Path(word), library)
        load = pymicro_wakeword.MicroWakeWord
        self._scorers: list[_Scorer] = []
        for word in words:
            if word in BUILT_IN:
                loaded = load.from_builtin(pymicro_wakeword.Model(word))
            else:
                loaded = load.from_config(Path(word))
            self._scorers.append(_Scorer(_model_of(word, loaded), loaded))
        self.models = tuple(scorer.model for scorer in self._scorers)
        self._stop_heard = True

    def receive_block(self, block: Samples, with_stop: bool) -> Iterator[tuple[str, float]]:
        """See `WakeEngine`."""
        if with_stop and not self._stop_heard:
            for scorer in self._scorers:
                if scorer.model.stop:
                    scorer.reset()
        self._stop_heard = with_stop
        for features in self._features.process_streaming(block.tobytes()):
            for scorer in self._scorers:
                if scorer.model.stop and not with_stop:
                    continue
                scorer.received += 1
                probability = scorer.loaded.process_streaming_prob(features)
                # Between two strides the library answers 0, which is no score.
                if scorer.received % scorer.loaded.stride == 0 and probability is not None:
                    yield scorer.model.word, probability

    def reset(self) -> None:
        """See `WakeEngine`; 1 ms a word, as the library loads its model again."""
        self._features.reset()
        for scorer in self._scorers:
            scorer.reset()

    def close(self) -> None:
        """See `WakeEngine`."""
        for scorer in self._scorers:
            scorer.loaded.close()


class _Scorer:
    def __init__(self, model: WakeModel, loaded: MicroWakeWord) -> None:
        self.model = model
        self.loaded = loaded
        self.received = 0

    def reset(self) -> None:
        self.received = 0
        self.loaded.reset()


def _model_of(word: str, loaded: MicroWakeWord) -> WakeModel:
    name = word if word in BUILT_IN else Path(word).stem
    return WakeModel(
        word=name,
        cutoff=loaded.probability_cutoff,
        lateness=lateness(NAME, name),
        shape=end_shape(name),
        stop=name.lower() == STOP_WORD,
    )


def _check_manifest(path: Path, library: Path) -> None:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"wake.words: {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"wake.words: {path} is not JSON: {error}") from error
    try:
        model, cutoff = path.parent / str(manifest["model"]), manifest["micro"]
        good = (
            isinstance(manifest["wake_word"], str)
            and str(manifest["model"]).isprintable()
            and 0 < float(cutoff["probability_cutoff"]) < 1
            and int(cutoff["sliding_window_size"]) > 0
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise ConfigError(
            f"wake.words: {path} is no manifest of microWakeWord; it has wake_word, model, "
            "micro.probability_cutoff (over 0, under 1) and micro.sliding_window_size"
        )
    takes, gives = look_into(model, library)
    if (
        takes.type not in ("int8", "uint8")
        or takes.shape[:1] != (1,)
        or takes.shape[2:] != (FEATURES,)
        or gives.shape != (1, 1)
    ):
        raise ConfigError(f"wake.words: {model} is no model of microWakeWord")
