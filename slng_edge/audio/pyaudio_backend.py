"""The process's PortAudio, and how a device is opened; the only file that imports pyaudio.

PortAudio is one for the whole process: it knows the devices there were when the first of us
opened, until the last of us has closed. It is not safe to open two streams at once. `HOST`
sees to both. What is opened here `device_source` reads and `device_sink` writes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from slng_edge.audio.alsa_encoder import leave_out as leave_out_encoder
from slng_edge.audio.bounded_calls import BoundedCalls, quiet_stderr
from slng_edge.audio.device_cards import busy_words, open_ways, sound_cards
from slng_edge.audio.device_messages import MESSAGES, redirect
from slng_edge.audio.device_names import Device, find_device, name_devices
from slng_edge.errors import (
    AudioError,
    ConfigError,
    DeviceLost,
    DeviceNotFound,
    FormatUnsupported,
    MissingLibrary,
)
from slng_edge.pcm import PcmFormat

if TYPE_CHECKING:
    import pyaudio

log = logging.getLogger(__name__)

RATES_HZ = (48000, 44100, 32000, 16000, 24000, 22050, 96000, 8000)
"""Tried in this order after the rate that is wanted and the device's own."""

_OPEN_TIMEOUT_S = 8.0
_CLOSE_TIMEOUT_S = 2.0
_WRONG_RATE, _WRONG_CHANNELS, _WRONG_FORMAT = -9997, -9998, -9994
_MOST_MICROPHONES = 16
_PAINT16 = 8
"""`pyaudio.paInt16`, a constant of PortAudio's interface."""


class DeviceStream(Protocol):
    """What of PyAudio's stream is used; none of it waits when there is enough room or sound."""

    def get_read_available(self) -> int: ...
    def get_write_available(self) -> int: ...
    def read(self, num_frames: int, exception_on_overflow: bool) -> bytes: ...
    def write(self, frames: bytes, num_frames: int, exception_on_underflow: bool) -> None: ...
    def close(self) -> None: ...


class User(Protocol):
    """Who has a stream open."""

    name: str
    lost_because: str
    """Set when the stream has to be given up; its next call then fails with these words."""


class Request(NamedTuple):
    """What a source or sink wants to have opened."""

    name: str
    output: bool
    rate_hz: int
    channels: int
    period_ms: float


class Opened(NamedTuple):
    """What came of it."""

    stream: DeviceStream
    rate_hz: int
    channels: int


class Host:
    """The process's PortAudio, for everyone who has a stream open."""

    def __init__(self) -> None:
        self._calls = BoundedCalls("portaudio")
        self._audio: pyaudio.PyAudio | None = None
        self._cards: frozenset[str] = frozenset()
        self._ways: frozenset[str] = frozenset()
        self._users: set[User] = set()

    def open(self, user: User, request: Request) -> Opened:
        which = "output" if request.output else "input"
        return self._calls.run(
            lambda: self._open(user, request),
            what=f'opening {which} "{request.name}"',
            timeout_s=_OPEN_TIMEOUT_S,
            undo=lambda opened: self._close(user, opened.stream),
        )

    def close(self, user: User, stream: DeviceStream) -> None:
        self._calls.run(
            lambda: self._close(user, stream),
            what=f'closing "{user.name}"',
            timeout_s=_CLOSE_TIMEOUT_S,
        )

    def devices(self) -> list[tuple[Device, list[int], list[int]]]:
        return self._calls.run(
            self._probe, what="listing the sound devices", timeout_s=10 * _OPEN_TIMEOUT_S
        )

    # What follows runs in the threads of `_calls`, one call at a time.

    def _open(self, user: User, request: Request) -> Opened:
        with quiet_stderr(), MESSAGES.expected():
            try:
                audio = self._start()
                opened = _open_stream(audio, self._find(audio, request), request)
            except BaseException:
                self._end_if_unused()
                raise
            self._users.add(user)
            return opened

    def _close(self, user: User, stream: DeviceStream) -> None:
        self._users.discard(user)
        with quiet_stderr(), MESSAGES.expected():
            try:
                stream.close()
            except OSError as error:
                log.debug("closing %s: %s", user.name, error)
            self._end_if_unused()

    def _probe(self) -> list[tuple[Device, list[int], list[int]]]:
        with quiet_stderr(), MESSAGES.expected():
            try:
                audio = self._start()
                return [
                    (
                        device,
                        _rates_that_open(audio, device, output=False),
                        _rates_that_open(audio, device, output=True),
                    )
                    for device in _list_devices(audio)
                ]
            finally:
                self._end_if_unused()

    def _find(self, audio: pyaudio.PyAudio, request: Request) -> Device:
        try:
            return find_device(request.name, _list_devices(audio), output=request.output)
        except DeviceNotFound as error:
            if self._users and open_ways(self._ways) - self._ways:
                self._list_anew("a sound device can be opened that could not be")
            # PortAudio does not list what another program has open.
            busy = busy_words(output=request.output)
            if busy:
                raise DeviceNotFound(f"{error}; {busy}") from error
            raise

    def _start(self) -> pyaudio.PyAudio:
        """PortAudio with a list of devices that knows every card there is now."""
        cards = sound_cards()
        if self._audio is not None and cards - self._cards:
            self._list_anew("a sound card was added")
        if self._audio is None:
            library = _import_pyaudio()
            redirect()
            leave_out_encoder()
            self._cards, self._ways = cards, open_ways()
            self._audio = library.PyAudio()
        return self._audio

    def _list_anew(self, why: str) -> None:
        """Have the list read again: at once where nobody has a stream, else when all have reopened.

        Only a PortAudio that nobody uses can be started anew.
        """
        for user in self._users:
            user.lost_because = f"{why}, the devices are listed anew"
        if self._users:
            raise DeviceNotFound(f"{why}; the devices are being listed anew")
        self._end_if_unused()

    def _end_if_unused(self) -> None:
        if self._audio is not None and not self._users:
            audio, self._audio = self._audio, None
            audio.terminate()


HOST = Host()


def list_devices() -> list[tuple[Device, list[int], list[int]]]:
    """The sound devices there are now, each with the rates in Hz that open for input and output.

    Takes a few seconds, at most three minutes.

    Raises:
        MissingLibrary: PyAudio is not installed.
        DeviceLost: the sound system does not answer.
    """
    return HOST.devices()


def _import_pyaudio() -> ModuleType:
    try:
        import pyaudio
    except ImportError as error:
        raise MissingLibrary(
            "PyAudio",
            "a sound device",
            "sudo apt-get install python3-pyaudio (or: pip install PyAudio)",
        ) from error
    return pyaudio


def _list_devices(audio: pyaudio.PyAudio) -> list[Device]:
    defaults = [_default(audio.get_default_input_device_info)]
    defaults.append(_default(audio.get_default_output_device_info))
    devices = []
    for index in range(audio.get_device_count()):
        found = audio.get_device_info_by_index(index)
        api = audio.get_host_api_info_by_index(int(found["hostApi"]))
        devices.append(
            Device(
                name="",
                full_name=str(found["name"]),
                index=index,
                host_api=str(api["name"]),
                input_channels=int(found["maxInputChannels"]),
                output_channels=int(found["maxOutputChannels"]),
                default_rate_hz=int(found["defaultSampleRate"]),
                default_input=index == defaults[0],
                default_output=index == defaults[1],
            )
        )
    return name_devices(devices)


def _default(ask: Callable[[], Mapping[str, str | int | float]]) -> int | None:
    try:
        return int(ask()["index"])
    except OSError:
        return None  # There is no default device in this direction.


def _open_stream(audio: pyaudio.PyAudio, device: Device, request: Request) -> Opened:
    """Open `device` at the first combination of rate and channels that it has."""
    most = device.channels(output=request.output)
    if request.channels > most:
        raise ConfigError(
            f'audio.input_channel = {request.channels - 1}: "{device.name}" has '
            f"{most} channel(s), counted from 0"
        )
    tried: AudioError | None = None
    for rate_hz in _unique((request.rate_hz, device.default_rate_hz, *RATES_HZ)):
        for channels in _channel_counts(request.channels, most):
            try:
                stream = audio.open(
                    rate=rate_hz,
                    channels=channels,
                    format=_PAINT16,
                    input=not request.output,
                    output=request.output,
                    input_device_index=None if request.output else device.index,
                    output_device_index=device.index if request.output else None,
                    frames_per_buffer=PcmFormat(rate_hz).samples(request.period_ms),
                )
            except (OSError, ValueError) as error:
                tried = _open_error(device, error)
                if not isinstance(tried, FormatUnsupported):
                    raise tried from error
            else:
                return Opened(stream, rate_hz, channels)
    raise tried or FormatUnsupported(f'"{device.name}" has no channels')


def _channel_counts(wanted: int, most: int) -> list[int]:
    """The numbers of channels to try, best first.

    One is what most devices and every sound server give. To get a certain channel of an array all
    have to be opened; a sound server that says 32 has fewer and would mix.
    """
    if wanted > 1 and most <= _MOST_MICROPHONES:
        return [most]
    return [count for count in _unique((wanted, max(2, wanted), most)) if count <= most]


def _open_error(device: Device, error: Exception) -> AudioError:
    words = words_of(error)
    if _code(error) in (_WRONG_RATE, _WRONG_CHANNELS, _WRONG_FORMAT):
        return FormatUnsupported(
            f'"{device.name}" opens at none of our sample rates ({words}); '
            f"`slng-edge devices` shows those it has"
        )
    return DeviceLost(
        f'"{device.name}" cannot be opened: {words}. '
        f"Is another program using it, and may this user (group audio)?"
    )


def _rates_that_open(audio: pyaudio.PyAudio, device: Device, *, output: bool) -> list[int]:
    most = device.channels(output=output)
    which = _direction(output)
    rates = []
    for rate_hz in sorted(RATES_HZ):
        for channels in _unique((min(1, most), min(2, most), most)):
            options = {
                f"{which}_device": device.index,
                f"{which}_channels": channels,
                f"{which}_format": _PAINT16,
            }
            with contextlib.suppress(ValueError, OSError):
                if channels and audio.is_format_supported(rate_hz, **options):
                    rates.append(rate_hz)
                    break
    return rates


def _direction(output: bool) -> str:
    return "output" if output else "input"


def _unique(numbers: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


def _code(error: Exception) -> int:
    return next((value for value in error.args if isinstance(value, int)), 0)


def words_of(error: Exception) -> str:
    """PortAudio's text and number; PyAudio gives them in either order."""
    text = next((value for value in error.args if isinstance(value, str)), str(error))
    code = _code(error)
    return f"{text} ({code})" if code else text
