"""What leaves the device before somebody wants it: nothing of the room, by every byte sent.

The service runs on a host of its own, where it may write nowhere but in memory. All that this host
sends is taken from the kernel. Each scene has its counterpart: after the wake, and unmuted, the
same talk does leave, so that the check can fail.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
import wave
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conversation_scripts import RATE_HZ, find_in, silence, wait_until, write_wav
from network.namespaces import missing_for_namespaces
from private_service import PrivateService
from simulated_room import RATE_HZ as ROOM_RATE_HZ
from simulated_room import computed_voices, recording
from virtual_sound import VirtualSound, missing_for_virtual_sound
from wire_tap import BINARY, CLOSE, PING, PONG, TEXT, Frame

from slng_edge.pcm import Samples

SPEECH_DIR = Path(os.environ.get("SLNG_EDGE_TEST_SPEECH", "no folder"))
PROMISED_S = 0.3
"""`vad.preroll_ms`: "sends the sound from 0.3 s before the first word"."""
LEFT_S = 0.05
"""Of the wake word, as its table there has it."""
EVENT_S = 0.15
"""Between what happens and what is told of it, on a busy machine."""
FRAME_SAMPLES = 320
ASLEEP_S = 1.1
PAUSE_MS = 2600
"""In which the question is answered, on a busy machine as well."""
UPGRADE_LIMIT_BYTES = 500
SETUP_LIMIT_BYTES = 2000
"""All connections' upgrades, `init`s and pings; a second of the room has 32,000."""

pytestmark = pytest.mark.skipif(bool(missing_for_namespaces()), reason=missing_for_namespaces())


@dataclass(frozen=True)
class Evidence:
    """What one scene left.

    Attributes:
        track: What was said in the room, where that was a file.
        marks: When something happened, `time.monotonic()`.
        written: The files in the only folder it may write to, and how large they were in all.
    """

    service: PrivateService
    frames: list[Frame]
    upgrades: list[str]
    marks: dict[str, float]
    written: list[str]
    bytes_written: int
    track: Samples

    def between(self, begin: str, end: str) -> list[Frame]:
        """What was sent from one mark to another."""
        return [each for each in self.frames if self.marks[begin] <= each.at < self.marks[end]]


def talk(begin_s: float, end_s: float) -> Samples:
    """Somebody talks: a person, where there are recordings, else a computed voice."""
    if SPEECH_DIR.is_dir():
        sound = recording(SPEECH_DIR / "jfk.wav")
    else:
        sound = np.concatenate(computed_voices().replies[:3])
    assert ROOM_RATE_HZ == RATE_HZ
    part = 2 * sound[int(begin_s * RATE_HZ) : int(end_s * RATE_HZ)]
    return np.clip(part, -32768, 32767).astype(np.int16)


@functools.cache
def wake_word() -> tuple[Samples, float]:
    """ "Okay nabu" by flite, half a second into a quiet room; and where it ends, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "said.wav"
        argv = ["flite", "-voice", "awb", "-psdur", "-t", "okay nabu", "-o", str(target)]
        listed = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30)
        with wave.open(str(target)) as reader:
            assert reader.getframerate() == RATE_HZ
            word = np.frombuffer(reader.readframes(reader.getnframes()), dtype="<i2")
    sounds = [part.split(":") for part in listed.stdout.split()]
    end_s = max(float(each_s) for name, each_s in sounds if name != "pau")
    word = word[: int(end_s * RATE_HZ)]
    return np.concatenate((silence(500), word, silence(150))), 0.5 + end_s


def missing_for_a_call() -> str:
    """Why nobody can say the wake word; "" where somebody can."""
    if importlib.util.find_spec("pymicro_wakeword") is None:
        return "the extra wake is not installed"
    return "" if shutil.which("flite") else "flite is not installed"


# The scenes


def pushed(folder: Path) -> Evidence:
    """They talk on and on; in the middle of it somebody presses; later they talk again."""
    track = in_a_room(talk(0, 2), silence(PAUSE_MS), talk(2, 2.9), silence(1500))
    wav = write_wav(folder / "room.wav", track)
    overrides = ("wake.mode=push", "wake.follow_up_s=0", f"audio.input=file:{wav}")
    return _woken(folder, overrides, track, lambda service: service.ask("wake"))


def called(folder: Path) -> Evidence:
    """They talk; somebody says the wake word and a command; later they talk again."""
    asked = (talk(0, 1), wake_word()[0], talk(1, 1.7))
    track = in_a_room(*asked, silence(PAUSE_MS), talk(2, 2.9), silence(1500))
    wav = write_wav(folder / "room.wav", track)
    overrides = ("wake.mode=word", "wake.follow_up_s=0", f"audio.input=file:{wav}")
    return _woken(folder, overrides, track, lambda service: None)


def in_a_room(*sounds: Samples) -> Samples:
    """One after the other, with so much noise that no two places are the same."""
    track = np.concatenate(sounds).astype(np.int32)
    track += np.random.default_rng(1).integers(-20, 21, len(track))
    return np.clip(track, -32768, 32767).astype(np.int16)


def _woken(
    folder: Path, overrides: tuple[str, ...], track: Samples, wake: Callable[[PrivateService], None]
) -> Evidence:
    own = folder / "own"
    own.mkdir()
    with PrivateService(own, overrides) as service:
        opened_at = service.wait_for("device", which="input", state="open")
        for session in ("stt", "tts"):
            service.wait_for("connection", session=session, state="ready")
        time.sleep(max(0.0, opened_at + ASLEEP_S - time.monotonic()))
        # As we know it: a button is pressed now, the wake word begins 1.5 s into the track.
        marks = {"opened": opened_at, "unwoken": time.monotonic()}
        wake(service)
        marks["woken"] = service.wait_for("wake")
        marks["answered"] = service.wait_for("playback_end")
        marks["asleep"] = service.wait_for("state", after=marks["answered"] - 0.01, state="idle")
        talked_s = len(track) / RATE_HZ - 1.4  # the service ends with the file
        time.sleep(max(0.0, opened_at + talked_s - time.monotonic()))
        marks["end"] = time.monotonic()
        written, size = service.written
    return Evidence(service, service.frames, service.upgrades, marks, written, size, track)


def muted(folder: Path, sound: VirtualSound) -> Evidence:
    """It listens always, to a real device; then it is muted, they talk, and it is unmuted."""
    own = folder / "own"
    own.mkdir()
    wav = write_wav(folder / "room.wav", np.concatenate((talk(0, 0.8), silence(300))))
    overrides = ("wake.mode=open", "audio.input=default")
    marks: dict[str, float] = {}
    with PrivateService(own, overrides, {**sound.environment, "HOME": str(own)}) as service:
        service.wait_for("device", which="input", state="open")
        service.wait_for("connection", session="stt", state="ready")
        marks["opened"] = time.monotonic()
        sound.speak_into_microphone(wav).wait()
        ended = service.wait_for("playback_end")
        service.wait_for("state", after=ended - 0.01, state="idle")
        service.ask("mute")
        service.wait_for("state", state="muted")
        assert wait_until(lambda: not sound.listed("source-outputs"))
        marks["muted"] = time.monotonic()
        sound.speak_into_microphone(wav).wait()
        marks["still muted"] = time.monotonic()
        written, size = service.written
        service.ask("unmute")
        service.wait_for("state", after=marks["still muted"], state="idle")
        sound.speak_into_microphone(wav).wait()
        service.wait_for("speech_end", after=marks["still muted"])
        marks["end"] = time.monotonic()
    return Evidence(service, service.frames, service.upgrades, marks, written, size, silence(0))


@pytest.fixture(scope="module")
def scenes(
    tmp_path_factory: pytest.TempPathFactory, virtual_sound_or_none: VirtualSound | None
) -> dict[str, Future[Evidence]]:
    """All of them at once: most of each is waiting."""
    with ThreadPoolExecutor(3, "scene") as pool:
        found = {}
        for act in (pushed, *((called,) if not missing_for_a_call() else ())):
            found[act.__name__] = pool.submit(act, tmp_path_factory.mktemp(act.__name__))
        if virtual_sound_or_none is not None:
            folder = tmp_path_factory.mktemp("muted")
            found["muted"] = pool.submit(muted, folder, virtual_sound_or_none)
    return found


@pytest.fixture(scope="module")
def virtual_sound_or_none(
    request: pytest.FixtureRequest,
) -> VirtualSound | None:
    """A sound server, where there can be one."""
    if missing_for_virtual_sound():
        return None
    server: VirtualSound = request.getfixturevalue("virtual_sound")
    return server


@pytest.fixture
def evidence(scenes: dict[str, Future[Evidence]], request: pytest.FixtureRequest) -> Evidence:
    """Of the scene that the test names; it is skipped where that cannot be held."""
    if request.param not in scenes:
        pytest.skip(missing_for_a_call() or missing_for_virtual_sound())
    return scenes[request.param].result()


asleep_first = pytest.mark.parametrize("evidence", ["pushed", "called"], indirect=True)
every_scene = pytest.mark.parametrize("evidence", ["pushed", "called", "muted"], indirect=True)


def says_nothing_of_the_room(frames: list[Frame]) -> bool:
    """Whether these are what keeps a session, and nothing besides: by kind, form and size."""
    return all(map(_keeps_a_session, frames))


def _keeps_a_session(frame: Frame) -> bool:
    if frame.opcode in (PING, PONG, CLOSE):
        return len(frame.payload) <= 32
    if frame.opcode != TEXT or frame.json.get("type") not in ("init", "keepalive", "close"):
        return False
    return len(frame.payload) <= 600 and _longest_text(frame.json) <= 60  # no base64 in it


def _longest_text(value: object) -> int:
    if isinstance(value, dict):
        return max((_longest_text(each) for each in value.values()), default=0)
    if isinstance(value, list):
        return max((_longest_text(each) for each in value), default=0) + 8 * len(value)
    return len(str(value))


@pytest.mark.parametrize(
    ("opcode", "payload", "nothing"),
    [
        (TEXT, b'{"type": "keepalive"}', True),
        (PING, b"?", True),
        (BINARY, b"", False),
        (0, b"\0\1", False),
        (PING, b"x" * 33, False),
        (TEXT, b'{"type": "audio", "data": ""}', False),
        (TEXT, b'{"type": "keepalive", "data": "%s"}' % (b"AAAA" * 16), False),
        (TEXT, b'{"type": "init", "config": {"hint": [1, 2, 3, 4, 5, 6, 7, 8]}}', False),
    ],
)
def test_what_counts_as_nothing_of_the_room(opcode: int, payload: bytes, nothing: bool) -> None:
    """Sound may hide in a binary frame, in a text, in a list of numbers, in a ping."""
    assert says_nothing_of_the_room([Frame(0.0, opcode, payload)]) is nothing


def audio_in(frames: list[Frame]) -> list[Frame]:
    return [each for each in frames if each.opcode == BINARY]


@asleep_first
def test_before_the_wake_nothing_of_the_room_is_sent(evidence: Evidence) -> None:
    """A second of talk, and what is sent is what opens a session."""
    before = [each for each in evidence.frames if each.at < evidence.marks["unwoken"]]
    assert {each.json["type"] for each in before if each.opcode == TEXT} == {"init"}
    assert says_nothing_of_the_room(before)
    assert evidence.service.bytes_sent(evidence.marks["unwoken"]) < SETUP_LIMIT_BYTES


@asleep_first
def test_after_the_wake_it_is_sent(evidence: Evidence) -> None:
    """By the same measure: so that this can fail."""
    sent = evidence.between("unwoken", "answered")
    assert sum(len(each.payload) for each in audio_in(sent)) > RATE_HZ
    assert not says_nothing_of_the_room(sent)


@asleep_first
def test_what_is_sent_begins_where_it_is_promised(evidence: Evidence) -> None:
    """Not before the button, not before the wake word's end, and 0.3 s before a first word."""
    sound = np.frombuffer(b"".join(each.payload for each in audio_in(evidence.frames)), dtype="<i2")
    second = find_in(evidence.track, sound[FRAME_SAMPLES : 6 * FRAME_SAMPLES])
    assert second > 0
    # Of the first frame what belongs to the wake word is silenced.
    begins_s = (second - FRAME_SAMPLES + int(np.flatnonzero(sound)[0])) / RATE_HZ
    word = next(event for _, event in evidence.service.events if event["type"] == "wake")["word"]
    if word == "okay_nabu":
        assert begins_s > 1.0 + wake_word()[1] - LEFT_S
    else:
        pressed_s = evidence.marks["unwoken"] - evidence.marks["opened"]
        assert pressed_s - PROMISED_S - EVENT_S < begins_s < pressed_s + EVENT_S


@asleep_first
def test_after_the_answer_nothing_is_sent_any_more(evidence: Evidence) -> None:
    """They talk for another second: the window is shut."""
    after = evidence.between("asleep", "end")
    talked_again_at = evidence.marks["opened"] + len(evidence.track) / RATE_HZ - 1.5 - 0.9
    assert evidence.marks["asleep"] < talked_again_at < evidence.marks["end"] - 0.8
    assert audio_in(after) == []
    assert says_nothing_of_the_room(after)


@pytest.mark.parametrize("evidence", ["muted"], indirect=True)
def test_muted_nothing_is_sent_and_unmuted_it_is_again(evidence: Evidence) -> None:
    """The same talk three times; by the sound server's word nobody has the microphone meanwhile."""
    assert audio_in(evidence.between("opened", "muted"))
    assert says_nothing_of_the_room(evidence.between("muted", "still muted"))
    assert audio_in(evidence.between("still muted", "end"))


@every_scene
def test_there_is_no_other_connection(evidence: Evidence) -> None:
    """Two to the gateway and nothing else: no name server, no other address, no other protocol."""
    gateway = evidence.service.gateway
    [there] = {stream.to for stream in evidence.service.tap.streams.values()}
    assert gateway.url.endswith(f"{there[0]}:{there[1]}")
    assert len(evidence.upgrades) == 2
    assert evidence.service.tap.others == []


@every_scene
def test_the_upgrade_says_who_asks_and_nothing_else(evidence: Evidence) -> None:
    """No header that could carry anything."""
    for upgrade in evidence.upgrades:
        lines = upgrade.rstrip().split("\r\n")
        assert len(upgrade) < UPGRADE_LIMIT_BYTES
        assert {line.partition(":")[0] for line in lines[1:]} == {
            "Authorization",
            "Connection",
            "Host",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Version",
            "Upgrade",
        }


@every_scene
def test_nothing_is_written(evidence: Evidence) -> None:
    """The control socket, and where it is muted a note of that: all else is read-only."""
    note = ".local/state/slng-edge/settings.json"
    of_the_sound_library = ".config/pulse/cookie"  # 256 bytes of chance
    assert "s" in evidence.written
    assert set(evidence.written) <= {"s", note, of_the_sound_library}
    assert evidence.bytes_written < 1000
