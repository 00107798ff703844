"""Building blocks of the tests that run sessions and conversations against the local gateway."""

from __future__ import annotations

import queue
import threading
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest

from slng_edge.config import Config, SoundsConfig
from slng_edge.config_loading import load_config
from slng_edge.events import EventBus, Stamped
from slng_edge.pcm import PcmFormat, Samples
from slng_edge.simulator import ConnectionRecord, LocalGateway, ScriptRecognizer, ToneSynthesizer
from slng_edge.voice_loop import Over, VoiceLoop

RATE_HZ = 16000
REPLY_RATE_HZ = 24000
PATIENCE_S = 10.0
"""How long a test waits for what has to come; what comes in time is not waited for longer."""


def wait_until(holds: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    """Wait until `holds`, where there is no condition to wait on; whether it came to hold."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
    return True


def gateway(*lines: str, faults: Sequence[str] = (), key: str = "", **more: Any) -> LocalGateway:
    """A gateway that understands `lines` one after the other, and speaks in tones."""
    recognizer = ScriptRecognizer(lines or ("hello there",))
    return LocalGateway(stt=recognizer, tts=ToneSynthesizer(), faults=faults, key=key, **more)


def config_for(url: str, *overrides: str) -> Config:
    """A quick configuration for the gateway at `url`, without devices and short sounds."""
    quick = (
        f"gateway.url={url}",
        "audio.input=null",
        "audio.output=null",
        "vad.stop_ms=200",
        "control.socket=",
        "audio.echo_cancel=off",  # as where no extra is installed
        *(f"sounds.{field.name}=off" for field in fields(SoundsConfig)),
    )
    return load_config(overrides=(*quick, *overrides), environ={"HOME": "/nonexistent"})


def connections(served: LocalGateway, kind: str) -> list[ConnectionRecord]:
    """The connections of one kind of session, in order."""
    return [record for record in served.connections if record.kind == kind]


# Sound


def voice(ms: float, rate_hz: int = RATE_HZ, level: float = 0.3) -> Samples:
    """What the detector takes for a voice: a buzz of 150 Hz with its overtones."""
    t = np.arange(PcmFormat(rate_hz).samples(ms)) / rate_hz
    buzz = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 16))
    return (np.asarray(buzz) / np.abs(buzz).max() * level * 32767).astype(np.int16)


def silence(ms: float, rate_hz: int = RATE_HZ) -> Samples:
    """No sound at all."""
    return np.zeros(PcmFormat(rate_hz).samples(ms), dtype=np.int16)


def numbered(ms: float, start: int = 0, rate_hz: int = RATE_HZ) -> Samples:
    """Samples that count, so that a lost or a repeated one shows."""
    count = PcmFormat(rate_hz).samples(ms)
    return (np.arange(start, start + count) % 65536 - 32768).astype(np.int16)


def write_wav(path: Path, samples: Samples, rate_hz: int = RATE_HZ) -> Path:
    """A mono 16-bit WAV file."""
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes(samples.astype("<i2").tobytes())
    return path


def read_wav(path: Path) -> Samples:
    """The samples of a WAV file, which has to be 16-bit mono at the replies' rate."""
    with wave.open(str(path), "rb") as reader:
        assert (reader.getnchannels(), reader.getsampwidth()) == (1, 2)
        assert reader.getframerate() == REPLY_RATE_HZ
        return np.frombuffer(reader.readframes(reader.getnframes()), dtype="<i2")


def spoken(*texts: str, rate_hz: int = REPLY_RATE_HZ) -> Samples:
    """What the gateway's tones of `texts` are, one after the other."""
    return np.concatenate([ToneSynthesizer().synthesize(text, rate_hz) for text in texts])


def find_in(recording: Samples, part: Samples) -> int:
    """Where `part` stands in `recording`, sample by sample; -1 where it does not."""
    haystack, needle = recording.tobytes(), part.tobytes()
    at = haystack.find(needle)
    while at >= 0 and at % 2:
        at = haystack.find(needle, at + 1)
    return at // 2 if at >= 0 else -1


def last_sound(recording: Samples) -> int:
    """Index after the last sample that is not silent."""
    sounding = np.flatnonzero(recording)
    return int(sounding[-1]) + 1 if len(sounding) else 0


def frequencies(recording: Samples, rate_hz: int = REPLY_RATE_HZ) -> set[int]:
    """The tones in `recording`, by windows of 40 ms, rounded to the steps of the tones.

    A window in which a tone begins, ends or jumps (an underrun) shows no one tone, and is left out.
    """
    size = rate_hz // 25
    heard = set()
    for start in range(0, len(recording) - size + 1, size // 2):
        piece = recording[start : start + size].astype(np.float64)
        if np.abs(piece).max() < 3000 or np.abs(piece[-100:]).max() < 1000:
            continue
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(size), 8 * size))
        peak = int(np.argmax(spectrum))
        around = spectrum[max(0, peak - 16) : peak + 17]
        if np.sum(around**2) < 0.98 * np.sum(spectrum**2):
            continue
        peak_hz = float(peak) * rate_hz / (8 * size)
        heard.add(round(peak_hz / 20) * 20)
    return heard


# Events


class Recorder:
    """Keeps every event of a bus, and lets a test wait for what has to come."""

    def __init__(self, bus: EventBus) -> None:
        self.bus = bus
        self.seen: list[Stamped] = []
        self._changed = threading.Condition()
        self._subscription = bus.subscribe()
        self._thread = threading.Thread(target=self._run, name="recorder")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._subscription.close()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._subscription.closed:
            stamped = self._subscription.get(timeout_s=60.0)
            if stamped is not None:
                with self._changed:
                    self.seen.append(stamped)
                    self._changed.notify_all()

    def jsons(self, *types: str) -> list[dict[str, Any]]:
        """The events as JSON objects, of `types` or all."""
        with self._changed:
            lines = [stamped.as_json() for stamped in self.seen]
        return [line for line in lines if not types or line["type"] in types]

    def states(self) -> list[str]:
        """The states that were shown, in order."""
        return [line["state"] for line in self.jsons("state")]

    def wait_for(self, type_: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """The `count`-th event of a type whose fields have these values; fails where none comes."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.jsons(type_) if fields.items() <= line.items()]

        with self._changed:
            came = self._changed.wait_for(lambda: len(found()) >= count, PATIENCE_S)
        assert came, f"no {type_} {fields} number {count} in {self.jsons()}"
        return found()[count - 1]


class Heard:
    """What a session reports, to be waited for."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        self._queue.put(event)

    def wait_for(self, kind: type, **fields: Any) -> Any:
        """The next event of a kind with these fields; those before it are skipped."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                event = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no {kind.__name__} {fields} in {self.events}")
            if isinstance(event, kind) and all(getattr(event, k) == v for k, v in fields.items()):
                return event


@contextmanager
def conversation(config: Config, **more: Any) -> Iterator[tuple[VoiceLoop, Recorder]]:
    """A running loop and all its events; stopped at the end, whatever happens."""
    bus = EventBus()
    loop = VoiceLoop(config, bus=bus, **{"api_key": "", **more})
    with Recorder(bus) as recorder:
        loop.start()
        try:
            yield loop, recorder
        finally:
            loop.stop()
            bus.close()


def until_over(loop: VoiceLoop, timeout_s: float = 20.0) -> list[Any]:
    """Wait until the input has ended and nothing is pending; the other notices so far."""
    notices: list[Any] = []
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            notice = loop.notices.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            pytest.fail(f"the conversation does not end: {notices[-5:]}")
        if isinstance(notice, Over):
            return notices
        notices.append(notice)
