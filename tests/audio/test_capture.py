"""The thread that reads the microphone, with files and nothing as microphones."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from conversation_scripts import PATIENCE_S, RATE_HZ, numbered, wait_until, write_wav

from slng_edge.audio.backends import build_source
from slng_edge.audio.capture import Capture
from slng_edge.audio.interfaces import Source
from slng_edge.audio.media_clock import MediaClock
from slng_edge.audio.null_backend import NullSource
from slng_edge.errors import DeviceLost, DeviceNotFound, FormatUnsupported, InputFileError
from slng_edge.pcm import Samples


class Caught:
    """What a `Capture` calls back, in order."""

    def __init__(self) -> None:
        self.frames: list[Samples] = []
        self.calls: list[Any] = []
        self.deaths: list[tuple[str, BaseException]] = []
        self.idle = False

    def frame(self, frame: Samples) -> None:
        self.frames.append(frame.copy())
        if "frame" not in self.calls[-1:]:
            self.calls.append("frame")

    def note(self, name: str) -> Any:
        return lambda: self.calls.append(name) is None


@contextmanager
def capturing(build: Any, *, muted: bool = False) -> Iterator[tuple[Capture, Caught]]:
    caught = Caught()
    capture = Capture(
        build,
        on_frame=caught.frame,
        idle=lambda: caught.idle,
        on_gap=caught.note("gap"),
        on_end=caught.note("end"),
        on_wait=caught.note("wait"),
        on_device=lambda state, name, why: caught.calls.append((state, name, bool(why))),
        on_unmuted=caught.note("unmuted"),
        muted=muted,
        on_death=lambda *death: caught.deaths.append(death),
    )
    capture.start()
    try:
        yield capture, caught
    finally:
        capture.stop(3)


def test_a_source_learns_that_nobody_speaks() -> None:
    """It is told after each frame, and may then be lazy."""
    built = null_source()
    with capturing(lambda: built) as (_, caught):
        assert wait_until(lambda: len(caught.frames) > 2)
        assert not built.idle
        caught.idle = True
        assert wait_until(lambda: built.idle)


def null_source() -> NullSource:
    return NullSource(rate_hz=RATE_HZ, frame_ms=20, clock=MediaClock())


class Unsteady(NullSource):
    """A microphone of silence that fails as it is told: at opening, or after some frames."""

    def __init__(self, *, missing: bool = False, frames: int = 10**9) -> None:
        super().__init__(rate_hz=RATE_HZ, frame_ms=20, clock=MediaClock())
        self._missing, self._left = missing, frames

    def open(self) -> None:
        if self._missing:
            raise DeviceNotFound("it is not plugged in")
        super().open()

    def read(self) -> Samples | None:
        self._left -= 1
        if self._left < 0:
            raise DeviceLost("it was pulled out")
        return super().read()


class StoodStill(NullSource):
    """A microphone that dropped something before its third frame."""

    gaps = 0
    frames = 0

    def read(self) -> Samples | None:
        self.frames += 1
        self.gaps = int(self.frames > 2)
        return super().read()


def test_sound_that_was_dropped_after_a_stall_is_a_gap() -> None:
    """Told once, before the first frame that comes after it; the device is not lost."""
    built = StoodStill(rate_hz=RATE_HZ, frame_ms=20, clock=MediaClock())
    with capturing(lambda: built) as (_, caught):
        assert wait_until(lambda: len(caught.frames) > 5)
        assert caught.calls == [("open", "null", False), "frame", "gap", "frame"]


def test_every_frame_of_a_file_comes_in_order_and_then_its_end(tmp_path: Path) -> None:
    """The device is told first; after the end it only waits."""
    samples = numbered(500)
    path = write_wav(tmp_path / "in.wav", samples)

    def build() -> Source:
        return build_source(
            f"file:{path}", rate_hz=RATE_HZ, frame_ms=20, channel=0, clock=MediaClock()
        )

    with capturing(build) as (capture, caught):
        assert wait_until(lambda: "wait" in caught.calls)
        assert caught.calls == [("open", f"file:{path}", False), "frame", "end", "wait"]
        assert np.array_equal(np.concatenate(caught.frames), samples)
        assert capture.overflows == 0


def test_a_device_that_is_missing_is_waited_for() -> None:
    """Told as lost once, tried every second with a fresh one, told as open when it is there."""
    sources = [Unsteady(missing=True), Unsteady(missing=True), null_source()]
    with capturing(lambda: sources.pop(0)) as (_, caught):
        assert wait_until(lambda: "frame" in caught.calls)
        assert caught.calls == [
            *(("lost", "null", True), "wait", "wait", ("open", "null", False), "frame")
        ]


def test_a_device_that_is_lost_is_opened_again() -> None:
    """What follows does not belong to what came: a gap, lost, reopened, frames."""
    sources = [Unsteady(frames=3), null_source()]
    with capturing(lambda: sources.pop(0)) as (_, caught):
        assert wait_until(lambda: caught.calls.count("frame") == 2)
        assert caught.calls == [
            *(("open", "null", False), "frame", "gap", ("lost", "null", True)),
            *("wait", ("reopened", "null", False), "frame"),
        ]


def test_a_device_that_cannot_be_used_is_no_reason_to_wait() -> None:
    """A format that no rate gives ends the thread, and who watches learns why."""

    class Useless(NullSource):
        def open(self) -> None:
            raise FormatUnsupported("only 5 kHz")

    source = Useless(rate_hz=RATE_HZ, frame_ms=20, clock=MediaClock())
    with capturing(lambda: source) as (_, caught):
        assert wait_until(lambda: caught.deaths)
        assert isinstance(caught.deaths[0][1], FormatUnsupported)


def test_a_file_that_is_missing_ends_the_thread(tmp_path: Path) -> None:
    """An input file does not come by waiting."""

    def build() -> Source:
        name = f"file:{tmp_path}/none.wav"
        return build_source(name, rate_hz=RATE_HZ, frame_ms=20, channel=0, clock=MediaClock())

    with capturing(build) as (_, caught):
        assert wait_until(lambda: caught.deaths)
        assert isinstance(caught.deaths[0][1], InputFileError)


def test_stop_in_the_moment_of_opening() -> None:
    """A device takes its time to open; a stop that comes meanwhile is not forgotten."""
    opening, opened = threading.Event(), threading.Event()

    class SlowToOpen(NullSource):
        def open(self) -> None:
            opening.set()
            opened.wait(PATIENCE_S)
            super().open()

    source = SlowToOpen(rate_hz=RATE_HZ, frame_ms=20, clock=MediaClock())
    with capturing(lambda: source) as (capture, caught):
        assert opening.wait(PATIENCE_S)
        capture._worker.ask_to_stop()
        opened.set()
        began = time.monotonic()
        capture.stop(3)
        assert time.monotonic() - began < 1
        assert caught.deaths == []


def test_stop_while_a_device_is_waited_for() -> None:
    """It does not wait out the second."""
    with capturing(lambda: Unsteady(missing=True)) as (capture, caught):
        assert wait_until(lambda: caught.calls)
        began = time.monotonic()
        capture.stop(3)
        assert time.monotonic() - began < 0.5


def test_stop_is_idempotent() -> None:
    """And nothing is told of a device that we closed ourselves."""
    with capturing(null_source) as (capture, caught):
        assert wait_until(lambda: caught.frames)
        capture.stop(3)
        capture.stop(3)
        assert caught.calls == [("open", "null", False), "frame"]


class Watched(NullSource):
    """A microphone of silence that says whether it is open."""

    def __init__(self) -> None:
        super().__init__(rate_hz=RATE_HZ, frame_ms=20, clock=MediaClock())
        self.is_open = False

    def open(self) -> None:
        super().open()
        self.is_open = True

    def close(self) -> None:
        super().close()
        self.is_open = False


def test_muted_it_is_closed() -> None:
    """Not only ignored; the watchdog is fed, and nothing is told but that it hears again."""
    built: list[Watched] = []

    def build() -> Watched:
        built.append(Watched())
        return built[-1]

    with capturing(build) as (capture, caught):
        assert wait_until(lambda: caught.frames and built[-1].is_open)
        capture.mute(True)
        assert wait_until(lambda: "wait" in caught.calls)
        assert not any(each.is_open for each in built)
        count = len(caught.frames)
        capture.mute(False)
        capture.mute(False)
        assert wait_until(lambda: len(caught.frames) > count)
        assert sum(each.is_open for each in built) == 1
        assert caught.calls == [
            ("open", "null", False),
            "frame",
            "gap",
            "wait",
            "unmuted",
            "frame",
        ]


def test_one_that_begins_muted_is_not_opened() -> None:
    """Until it is not muted any more."""
    built = Watched()
    with capturing(lambda: built, muted=True) as (capture, caught):
        assert wait_until(lambda: "wait" in caught.calls)
        assert not built.is_open
        capture.mute(False)
        assert wait_until(lambda: caught.frames)
        assert caught.calls[-3:] == [("open", "null", False), "unmuted", "frame"]


def test_a_device_that_is_gone_when_it_is_unmuted_is_lost() -> None:
    """It is not muted any more, and deaf: which is told."""
    missing = False
    with capturing(lambda: Unsteady(missing=missing)) as (capture, caught):
        assert wait_until(lambda: caught.frames)
        capture.mute(True)
        assert wait_until(lambda: "wait" in caught.calls)
        missing = True
        capture.mute(False)
        assert wait_until(lambda: "unmuted" in caught.calls)
        assert caught.calls[-2:] == [("lost", "null", True), "unmuted"]


def test_a_file_is_read_on_while_muted(tmp_path: Path) -> None:
    """It would not go on where it was left; and it has an end."""
    path = write_wav(tmp_path / "in.wav", numbered(500))

    def build() -> Source:
        return build_source(
            f"file:{path}", rate_hz=RATE_HZ, frame_ms=20, channel=0, clock=MediaClock()
        )

    with capturing(build, muted=True) as (_, caught):
        assert wait_until(lambda: "end" in caught.calls)
        assert caught.calls[:3] == [("open", f"file:{path}", False), "frame", "end"]


def test_muted_again_is_after_unmuted() -> None:
    """Whoever mutes while it is told that it hears again is the last to be heard of."""
    order: list[str] = []
    muting: list[threading.Thread] = []

    def mute_again() -> None:
        capture.mute(True)
        order.append("muted")

    def unmuted() -> bool:
        muting.append(threading.Thread(target=mute_again))
        muting[0].start()
        muting[0].join(0.1)
        order.append("unmuted")
        return True

    capture = Capture(
        null_source,
        on_frame=lambda _: None,
        idle=lambda: True,
        on_gap=lambda: None,
        on_end=lambda: None,
        on_wait=lambda: None,
        on_device=lambda *_: None,
        on_unmuted=unmuted,
        muted=True,
    )
    capture.start()
    capture.mute(False)
    assert wait_until(lambda: len(order) == 2)
    muting[0].join()
    capture.stop(3)
    assert order == ["unmuted", "muted"]


def test_who_has_no_time_to_be_told_that_it_hears_again_is_told_later() -> None:
    """Nothing waits for him, `mute` least of all; once he has been told it is over."""
    answers = [False, False, True, True]
    told: list[bool] = []

    def unmuted() -> bool:
        told.append(answers.pop(0))
        return told[-1]

    capture = Capture(
        null_source,
        on_frame=lambda _: None,
        idle=lambda: True,
        on_gap=lambda: None,
        on_end=lambda: None,
        on_wait=lambda: None,
        on_device=lambda *_: None,
        on_unmuted=unmuted,
        muted=True,
    )
    capture.start()
    capture.mute(False)
    assert wait_until(lambda: len(told) == 3)
    time.sleep(0.1)
    capture.stop(3)
    assert told == [False, False, True]
