"""`debug.record_dir`: the last utterances as WAV files, as they went to speech-to-text.

What people said is kept only where it was asked for, in files and a folder that no other user can
read, and never more than `keep` of them. Whoever hands audio over never waits: a thread of its own
writes it, and what that cannot keep up with is left out of the recording and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import threading
import wave
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol, TypeAlias

from slng_edge.errors import AudioError
from slng_edge.pcm import SAMPLE_BYTES
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

QUEUE_BYTES = 4 * 1024 * 1024
"""What may wait for the disk: two minutes at 16 kHz."""

WAIT_S = 60.0
"""How long one wait for something to write is; `stop` ends it."""

_NAME = re.compile(r"(\d{6,})-.*\.wav")
_UNFINISHED = ".unfinished"


class Outbox(Protocol):
    """What takes utterances: a speech-to-text session."""

    def open_utterance(self) -> int: ...
    def add_audio(self, utterance: int, samples: bytes) -> None: ...
    def end_utterance(self, utterance: int, now: float) -> None: ...


@dataclass(frozen=True)
class _Began:
    utterance: int
    at: datetime


@dataclass(frozen=True)
class _Ended:
    utterance: int


_Item: TypeAlias = _Began | _Ended | bytes


class RecordingOutbox:
    """An outbox that hands everything on to another one, and keeps a copy on disk.

    It takes what `outbox` takes, in the same thread. One utterance at a time: a new one ends the
    last.

    Args:
        outbox: Gets everything first.
        folder: Where the files are; it is made with mode 0700. `~` is the user's home.
        keep: The oldest of more files than this are removed.
        rate_hz: Of the samples, which are s16le mono.
        on_death: As in `Worker`.

    Attributes:
        problem: Why nothing is recorded now; "" where it is.
    """

    def __init__(
        self,
        outbox: Outbox,
        folder: str | Path,
        *,
        keep: int,
        rate_hz: int,
        on_death: OnDeath | None = None,
    ) -> None:
        self.problem = ""
        self._outbox = outbox
        self._folder = Path(os.path.expanduser(folder))
        self._keep = keep
        self._rate_hz = rate_hz
        self._changed = threading.Condition()
        self._items: deque[_Item] = deque()  # under the condition
        self._queued_bytes = 0  # under the condition
        self._skipping = False  # under the condition
        self._recording: _Recording | None = None
        self._worker = Worker("recorder", self._run, wake=self._wake, on_death=on_death)

    def start(self) -> None:
        """Start the thread that writes."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Write what waits, end an open file, and end the thread.

        Raises:
            StuckThread: the disk does not take it within `timeout_s`.
        """
        self._worker.stop(timeout_s)

    def open_utterance(self) -> int:
        """Begin an utterance."""
        utterance = self._outbox.open_utterance()
        self._put(_Began(utterance, datetime.now(UTC)))
        return utterance

    def add_audio(self, utterance: int, samples: bytes) -> None:
        """Hand on samples of it."""
        self._outbox.add_audio(utterance, samples)
        self._put(samples)

    def end_utterance(self, utterance: int, now: float) -> None:
        """End it."""
        self._outbox.end_utterance(utterance, now)
        self._put(_Ended(utterance))

    def _put(self, item: _Item) -> None:
        with self._changed:
            if isinstance(item, bytes):
                if self._skipping or self._queued_bytes + len(item) > QUEUE_BYTES:
                    self._skipping = True
                    return
                self._queued_bytes += len(item)
            elif isinstance(item, _Began):
                self._skipping = False
            self._items.append(item)
            self._changed.notify()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    # The thread

    def _run(self) -> None:
        try:
            while True:
                item = self._next()
                if item is None:
                    return
                self._take(item)
        finally:
            self._finish()

    def _next(self) -> _Item | None:
        with self._changed:
            while not self._items:
                if self._worker.stopping.is_set():
                    return None
                self._changed.wait(WAIT_S)
            item = self._items.popleft()
            if isinstance(item, bytes):
                self._queued_bytes -= len(item)
            return item

    def _take(self, item: _Item) -> None:
        try:
            match item:
                case _Began(utterance, at):
                    self._finish()
                    self._recording = _Recording(self._folder, utterance, at, self._rate_hz)
                case _Ended():
                    self._finish()
                    _remove_oldest(self._folder, self._keep)
                case samples if self._recording is not None:
                    self._recording.add(samples)
        except (OSError, AudioError, wave.Error) as error:
            self._tell(str(getattr(error, "strerror", None) or error))
            self._discard()

    def _finish(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            try:
                recording.finish()
            except (OSError, wave.Error) as error:
                self._tell(str(getattr(error, "strerror", None) or error))
                recording.discard()
            else:
                self._tell("")  # and not before: on a full disk a file can still be begun

    def _discard(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.discard()

    def _tell(self, problem: str) -> None:
        """Once for each change."""
        if problem and problem != self.problem:
            log.warning("utterances are not recorded in %s: %s", self._folder, problem)
        self.problem = problem


class _Recording:
    """One file that is being written; it gets its name when it is whole.

    Raises:
        OSError, AudioError: it cannot be made.
    """

    def __init__(self, folder: Path, utterance: int, at: datetime, rate_hz: int) -> None:
        _make_private(folder)
        number = max((number for number, _ in _recordings(folder)), default=0) + 1
        # The number first: a clock that was wrong at boot would spoil the order of the names.
        name = f"{number:06d}-{at:%Y%m%dT%H%M%SZ}-utterance-{utterance}.wav"
        self._path = folder / name
        self._unfinished = folder / _UNFINISHED
        with contextlib.suppress(FileNotFoundError):
            self._unfinished.unlink()  # what a power cut left behind
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file: IO[bytes] = os.fdopen(os.open(self._unfinished, flags, 0o600), "wb")
        self._wave = wave.open(self._file, "wb")  # noqa: SIM115 - finish and discard close it
        self._wave.setnchannels(1)
        self._wave.setsampwidth(SAMPLE_BYTES)
        self._wave.setframerate(rate_hz)

    def add(self, samples: bytes) -> None:
        """Write samples."""
        self._wave.writeframesraw(samples)

    def finish(self) -> None:
        """Complete the file; a power cut leaves no name without its sound.

        Waits for the disk.
        """
        self._wave.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.rename(self._unfinished, self._path)

    def discard(self) -> None:
        """Remove it."""
        for ends in (self._wave.close, self._file.close, self._unfinished.unlink):
            with contextlib.suppress(OSError, wave.Error):
                ends()


def _make_private(folder: Path) -> None:
    """Have `folder`, for this user alone.

    Raises:
        OSError: it cannot be made.
        AudioError: others may look into it, or it is somebody else's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = os.stat(folder)
    if status.st_uid != os.geteuid():
        raise AudioError("the folder is another user's")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise AudioError(f"others may look into the folder; run: chmod 700 {folder}")


def _recordings(folder: Path) -> list[tuple[int, Path]]:
    """Those of ours, the oldest first; other files are not looked at."""
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(name[1]), path) for name, path in found if name is not None)


def _remove_oldest(folder: Path, keep: int) -> None:
    for _, path in _recordings(folder)[:-keep]:
        path.unlink(missing_ok=True)
