"""Microphone and speaker: whether they open, and whether anything is to be heard."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slng_edge.audio.backends import configured_sink, configured_source
from slng_edge.audio.media_clock import MediaClock
from slng_edge.config import Config
from slng_edge.diagnostics.finding import Finding, fail, ok, warn
from slng_edge.diagnostics.inspection import Subject
from slng_edge.diagnostics.running_service import RunningService
from slng_edge.diagnostics.sound_holders import sound_holders, words_of
from slng_edge.errors import (
    ConfigError,
    DeviceLost,
    DeviceNotFound,
    FormatUnsupported,
    InputFileError,
    MissingLibrary,
    SlngEdgeError,
)
from slng_edge.pcm import SILENCE_DBFS, Samples, level_dbfs

LISTEN_S = 1.0
SETTLE_S = 0.3
"""Some devices begin with a click, or with silence until they are awake."""
PLAY_S = 0.2
CLIPPED = 32767
CLIPPED_SHARE = 0.001
"""A few samples at the limit are a knock on the table."""
FAINT_DBFS = -80.0
"""Below the noise of any microphone whose gain is up: a quiet room is at -60."""

_NAMES = {"input": "microphone", "output": "speaker"}


@dataclass(frozen=True)
class Heard:
    """What a second of the microphone was like.

    Attributes:
        level_dbfs: Its level; `SILENCE_DBFS` for less than 16 bits can say.
        clipped_share: Share of the samples at the limit.
        zeros: Whether every sample was zero.
        overflows: Times that samples were thrown away.
    """

    level_dbfs: float
    clipped_share: float = 0.0
    zeros: bool = False
    overflows: int = 0


def check_sound(subject: Subject) -> list[Finding]:
    """Open the microphone, listen for a second; open the speaker, play silence.

    What the running service has open is left to it.
    """
    return [_microphone(subject), _speaker(subject)]


def _microphone(subject: Subject) -> Finding:
    config, service = subject.config, subject.service
    name = config.audio.input
    if name == "null":
        return ok("microphone", 'audio.input = "null": it hears nothing')
    if service.answers and not name.startswith("file:"):
        return judge_busy("input", service)
    return _tried(
        "input", name, lambda: judge_microphone(name, config.stt.sample_rate, _listen(config))
    )


def _speaker(subject: Subject) -> Finding:
    config, service = subject.config, subject.service
    name = config.audio.output
    if name == "null":
        return ok("speaker", 'audio.output = "null": it says nothing')
    if name.startswith("file:"):  # to open it would empty it
        folder = Path(name.removeprefix("file:")).expanduser().absolute().parent
        if folder.is_dir():
            return ok("speaker", f"{name}: its folder is there")
        return fail("speaker", f"{name}: there is no folder {folder}", f"mkdir -p {folder}")
    if service.answers:
        return judge_busy("output", service)

    def play() -> Finding:
        _play_silence(config)
        return ok(
            "speaker",
            f'"{name}" opens for {config.tts.sample_rate} Hz and plays',
            "slng-edge tts Hello sounds through it",
        )

    return _tried("output", name, play)


def judge_microphone(name: str, rate_hz: int, heard: Heard) -> Finding:
    """What that second means; `rate_hz` is ours, to which a device's own rate is converted."""
    what = f'"{name}" opens for {rate_hz} Hz'
    level = f"level {heard.level_dbfs:.0f} dBFS"
    if heard.zeros:
        return fail(
            "microphone",
            f"{what}, and gives nothing but zeros: it is muted, dead or another channel",
            "unmute it (alsamixer -c CARD, or pactl set-source-mute), look for a switch on it, "
            "check audio.input_channel; then: slng-edge meter",
        )
    if heard.clipped_share >= CLIPPED_SHARE:
        return warn(
            "microphone",
            f"{what}, and clips: {heard.clipped_share:.1%} of its samples are at the limit",
            "turn its gain down (alsamixer) until slng-edge meter shows none",
        )
    if heard.overflows:
        return warn(
            "microphone",
            f"{what}, and loses sound: {heard.overflows} overflows in a second",
            "end what loads the processor: top; a USB hub may be the cause, too",
        )
    if heard.level_dbfs <= FAINT_DBFS:
        return warn(
            "microphone",
            f"{what}, and is very faint: {level}",
            "turn its gain up (alsamixer), speak, and watch slng-edge meter",
        )
    return ok("microphone", f"{what}, {level} over a second")


def judge_busy(which: str, service: RunningService) -> Finding:
    """What the running service says of its device, which it has for itself."""
    state, name = service.device(which)
    problem = service.lacks(f"audio.{which}")
    if which == "input" and service.muted:
        return ok(_NAMES[which], "closed, as the running service is muted", "slng-edge ctl unmute")
    if service.holds(which) and problem:
        return warn(
            _NAMES[which],
            f'"{name}", which the running service has open, gives {problem}',
            "say something and ask again; then: a switch on it, alsamixer, audio.input_channel",
        )
    if service.holds(which):
        return ok(
            _NAMES[which],
            f'the running service has "{name}" open',
            "sudo systemctl stop slng-edge lets it be tried here",
        )
    words = f'has lost "{name}"' if state else "has none yet"
    return fail(
        _NAMES[which],
        f"the running service {words}, and tries again every second",
        "is it plugged in? slng-edge devices lists what there is; journalctl -u slng-edge says why",
    )


def judge_failure(which: str, error: SlngEdgeError, held_by: str) -> Finding:
    """Why a device could not be opened.

    Args:
        which: "input" or "output".
        error: What opening it raised.
        held_by: Who has such a device open, in words; "" where nobody is seen to.
    """
    what, advice = str(error), ""
    match error:
        case MissingLibrary():
            advice = "run that line"
        case DeviceNotFound():
            advice = f"paste a name of `slng-edge devices` into audio.{which}; is it plugged in?"
        case DeviceLost() if held_by:
            what = f"{error} {held_by} has it open."
            advice = "end that program, or let both use the sound server"
        case DeviceLost() if "the sound system" in what:
            advice = (
                "the sound server or driver hangs: systemctl --user restart pipewire wireplumber "
                "(or pulseaudio -k), or plug the device in anew"
            )
        case DeviceLost():
            advice = (
                "sudo slng-edge doctor also sees other users' programs; is this user in the "
                "group audio?"
            )
        case FormatUnsupported():
            advice = (
                f"take another device of `slng-edge devices`, or its plughw form: audio.{which}"
            )
        case InputFileError() | ConfigError():
            advice = f"correct audio.{which}"
    return fail(_NAMES[which], what, advice)


def heard_in(samples: Samples, overflows: int) -> Heard:
    """What `samples` are like."""
    if not len(samples):
        return Heard(SILENCE_DBFS, zeros=True, overflows=overflows)
    # -32768 has no positive counterpart in 16 bits.
    clipped = np.count_nonzero((samples >= CLIPPED) | (samples <= -CLIPPED))
    return Heard(level_dbfs(samples), clipped / len(samples), not np.any(samples), overflows)


def _tried(which: str, name: str, attempt: Callable[[], Finding]) -> Finding:
    try:
        return attempt()
    except SlngEdgeError as error:
        held_by = ""
        if isinstance(error, DeviceLost):
            held_by = words_of(sound_holders(), output=which == "output")
        return judge_failure(which, error, held_by)


def _listen(config: Config) -> Heard:
    source = configured_source(config, MediaClock())
    frames: list[Samples] = []
    try:
        source.open()
        until_s = time.monotonic() + SETTLE_S + LISTEN_S
        settle = int(SETTLE_S * 1000 / config.audio.frame_ms)
        while time.monotonic() < until_s and (frame := source.read()) is not None:
            frames.append(frame)
        kept = frames[settle:] if len(frames) > 2 * settle else frames
        samples = np.concatenate(kept) if kept else np.empty(0, dtype=np.int16)
        return heard_in(samples, source.overflows)
    finally:
        source.close()


def _play_silence(config: Config) -> None:
    sink = configured_sink(config, MediaClock(), rate_hz=config.tts.sample_rate)
    try:
        sink.open()
        until_s = time.monotonic() + PLAY_S
        while time.monotonic() < until_s:
            sink.write(np.zeros(sink.block_samples, dtype=np.int16))
    finally:
        sink.close()
