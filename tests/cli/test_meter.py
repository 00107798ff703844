"""`slng-edge meter`: what it reads from sound, what it draws, and how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from command_line import SlngEdge, speech_like, write_wav

from slng_edge.cli import main
from slng_edge.cli.meter_display import OneLineASecond, RedrawnLines, _cut, bar
from slng_edge.cli.meter_readings import Metering, Reading


class FixedGate:
    """Open from the frame `opens` on."""

    def __init__(self, opens: int) -> None:
        self.floor_dbfs = -60.0
        self.speaking = False
        self.ended = 0
        self._opens = opens
        self._frames = 0

    def receive_frame(self, frame: object) -> None:
        self.speaking = self._frames >= self._opens
        self._frames += 1

    def end_input(self) -> None:
        self.ended += 1


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of this machine's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SLNG_EDGE_CONFIG", os.devnull)


@pytest.mark.parametrize(("frame_ms", "readings"), [(10, 10), (20, 10), (30, 9)])
def test_ten_readings_are_a_second(frame_ms: int, readings: int) -> None:
    """However long a frame is; what does not fit comes with the next."""
    metering = Metering(FixedGate(999), rate_hz=16000, readings_a_second=10)
    frame = np.zeros(16 * frame_ms, dtype=np.int16)
    found = [metering.receive_frame(frame) for _ in range(1000 // frame_ms)]
    assert sum(reading is not None for reading in found) == readings


def test_a_reading_has_level_peak_floor_gate_and_clipping() -> None:
    """Over all of its frames."""
    metering = Metering(FixedGate(1), rate_hz=1000, readings_a_second=10)
    assert metering.receive_frame(np.full(50, 16384, dtype=np.int16)) is None
    reading = metering.receive_frame(np.array([-32768, 32767] * 25, dtype=np.int16))
    assert reading is not None
    assert reading.as_json() == {
        "t": 0.1,
        "level_dbfs": -2.0,
        "peak_dbfs": 0.0,
        "floor_dbfs": -60.0,
        "speech": True,
        "clipped": 50,
        "zeros": False,
    }


def test_a_gap_is_no_part_of_a_reading() -> None:
    """What was heard before the device was lost does not count."""
    gate = FixedGate(0)
    metering = Metering(gate, rate_hz=1000, readings_a_second=10)
    metering.receive_frame(np.full(50, 32767, dtype=np.int16))
    metering.receive_gap()
    reading = metering.receive_frame(np.zeros(50, dtype=np.int16))
    assert reading is not None
    assert (reading.zeros, reading.clipped, reading.level_dbfs, gate.ended) == (True, 0, -96.0, 1)


@pytest.mark.parametrize(
    ("levels", "drawn"),
    [
        ((-96, -96, -96), "▏·········"),
        ((-36, -60, -20), "█████··|··"),
        ((-72, -36, 0), "·····▏···|"),
        ((0, -60, 0), "██████████"),
        ((20, -60, 20), "██████████"),
    ],
)
def test_a_bar(levels: tuple[float, float, float], drawn: str) -> None:
    """Level, floor and peak; beyond its ends nothing is drawn."""
    assert bar(*levels, 10) == drawn


@pytest.mark.parametrize(
    ("line", "cut"),
    [
        ("abcdef", "abc"),
        ("ab", "ab"),
        ("\x1b[31mab\x1b[0mcd", "\x1b[31mab\x1b[0mc"),
        ("abc\x1b[1mdef\x1b[0m", "abc\x1b[1m\x1b[0m"),
    ],
)
def test_a_line_is_cut_where_the_terminal_ends(line: str, cut: str) -> None:
    """And its colours are still taken back."""
    assert _cut(line, 3) == cut


def reading(t: float, *, clipped: int = 0, speech: bool = False, zeros: bool = False) -> Reading:
    """One at -40 dBFS."""
    return Reading(t, -40.0, -30.0, -60.0, speech, clipped, zeros)


def test_lines_are_redrawn_in_place() -> None:
    """Three of them, and the cursor comes back."""
    out = io.StringIO()
    lines = RedrawnLines(out)
    lines.device("open", "USB", "")
    lines.show(reading(0.1))
    lines.show(reading(0.2, clipped=3, speech=True))
    lines.show(reading(0.3))
    lines.device("lost", "USB", "it is gone\x1b[2J")
    lines.end()
    assert out.getvalue().count("\x1b[3F") == 3
    assert "SPEECH" in out.getvalue()
    assert out.getvalue().count("CLIPPING, 3 samples so far") == 2  # it stays for a moment
    assert "it is gone\\x1b[2J" in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h")


def test_zeros_are_told_after_a_second() -> None:
    """A device may begin with some."""
    out = io.StringIO()
    lines = RedrawnLines(out)
    for tenth in range(10):
        assert "NOTHING BUT ZEROS" not in out.getvalue()
        lines.show(reading(tenth / 10, zeros=True))
    assert "NOTHING BUT ZEROS" in out.getvalue()


def test_without_a_terminal_there_is_a_line_a_second() -> None:
    """With the loudest of it; the rest comes at the end."""
    out = io.StringIO()
    lines = OneLineASecond(out)
    lines.device("open", "USB", "")
    for tenth in range(1, 16):
        lines.show(reading(tenth / 10, clipped=tenth == 2, speech=tenth == 12))
    lines.end()
    assert out.getvalue().splitlines() == [
        "open: USB",
        "    1.0 s  level  -40.0  peak  -30.0  floor  -60.0 dBFS  quiet  1 clipped",
        "    1.5 s  level  -40.0  peak  -30.0  floor  -60.0 dBFS  speech",
    ]


def test_a_file_is_metered_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In real time, as a microphone; an object for each tenth of a second."""
    sound = np.concatenate((np.zeros(3200, dtype=np.int16), speech_like(0.5)))
    write_wav(tmp_path / "talk.wav", sound)
    assert main(["-s", f"audio.input=file:{tmp_path}/talk.wav", "meter", "--json"]) == 0
    first, *readings = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["device"] == "open"
    assert [each["t"] for each in readings] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert [each["zeros"] for each in readings[:3]] == [True, True, False]
    assert [each["speech"] for each in readings] == [False, False, *[True] * 5]


def test_it_ends_when_it_is_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    """After so many seconds."""
    assert main(["-s", "audio.input=null", "meter", "--seconds", "0.3"]) == 0
    assert "nothing but zeros" in capsys.readouterr().out


def test_a_device_that_is_not_there_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    """With 74, and why."""
    assert main(["-s", "audio.input=no such device", "meter"]) == 74
    out, err = capsys.readouterr()
    assert 'there is no input device "no such device"' in err
    assert out == ""


@pytest.mark.parametrize("seconds", ["0", "-1", "many", "nan"])
def test_a_time_that_cannot_be_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As any argument that is wrong."""
    assert main(["meter", f"--seconds={seconds}"]) == 2
    assert "--seconds" in capsys.readouterr().err


def test_ctrl_c_ends_it_well(slng_edge: SlngEdge) -> None:
    """It is how one leaves."""
    process = slng_edge.start("-s", "audio.input=null", "meter", "--json")
    assert process.stdout is not None
    assert b"open" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert slng_edge.checked(process.returncode, out, err).status == 0
    assert err == b""


def test_a_time_that_cannot_be_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """Not by the name of a function of ours."""
    assert main(["meter", "--seconds", "x"]) == 2
    assert (
        "--seconds: a number of seconds from 0.1 to 86400, and not 'x'" in capsys.readouterr().err
    )


class Terminal(io.TextIOWrapper):
    """A terminal of this encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> str:
        """All that was written."""
        data = self.buffer.getvalue()  # type: ignore[attr-defined]
        return str(data.decode(self.encoding))


def test_without_utf_8_the_bar_has_plain_signs() -> None:
    """A locale of C or Latin-1 is no reason for a traceback."""
    out = Terminal("ascii")
    RedrawnLines(out).show(Reading(0.1, -36.0, -20.0, -60.0, True, 0, False))
    assert "##[" in out.shown or "####" in out.shown
    assert "|" in out.shown


def test_on_a_narrow_terminal_clipping_is_still_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak makes room for it."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal("utf-8")
    lines = RedrawnLines(out)
    lines.show(Reading(0.1, -36.0, -20.0, -60.0, True, 0, False))
    assert "peak  -20.0" in out.shown
    lines.show(Reading(0.2, -1.0, 0.0, -60.0, True, 5, False))
    last = out.shown.splitlines()[-1]
    assert "SPEECH  CLIPPING" in last
    assert len(last.removesuffix("\x1b[K")) <= 40


@pytest.mark.parametrize(("term", "lines"), [("xterm", True), ("dumb", False)])
def test_a_terminal_that_knows_no_escapes_gets_a_line_a_second(
    monkeypatch: pytest.MonkeyPatch, term: str, lines: bool
) -> None:
    """As a serial console or an editor's window."""
    monkeypatch.setenv("TERM", term)
    out = Terminal("utf-8")
    monkeypatch.setattr("sys.stdout", out)
    assert main(["-s", "audio.input=null", "meter", "--seconds", "0.2"]) == 0
    assert ("\x1b" in out.shown) == lines
