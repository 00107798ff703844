"""The meter on a terminal, redrawn in place, and in a file or pipe, a line a second."""

from __future__ import annotations

import shutil
from typing import Protocol, TextIO

from slng_edge.cli.logs import printable
from slng_edge.cli.meter_readings import Reading
from slng_edge.cli.terminal import can_show, takes_colours

LOWEST_DBFS = -72.0
"""Left end of the bar, where the noise floor ends, too."""
LOUD_DBFS = -6.0
HELD_READINGS = 15
"""For so long a peak or clipping stays to be seen."""
ZEROS_TOLD = 10

NARROW = 64
"""Below so many columns the peak makes room for what is wrong."""

SIGNS, PLAIN_SIGNS = ("█", "·", "▏", "|"), ("#", ".", "[", "|")
"""A bar's full and empty cells, and the marks of floor and peak; without UTF-8 the plain ones."""
_GREEN, _YELLOW, _RED, _BOLD, _PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[1m", "\x1b[0m"


class Display(Protocol):
    """Where readings go."""

    def show(self, reading: Reading) -> None: ...
    def device(self, state: str, name: str, why: str) -> None: ...
    def end(self) -> None: ...


def bar(
    level_dbfs: float,
    floor_dbfs: float,
    peak_dbfs: float,
    width: int,
    signs: tuple[str, ...] = SIGNS,
) -> str:
    """A bar of `width` characters, with a mark for the floor and one for the peak."""
    full, empty, floor, peak = signs
    cells = [full] * _column(level_dbfs, width)
    cells += [empty] * (width - len(cells))
    for dbfs, mark in ((floor_dbfs, floor), (peak_dbfs, peak)):
        column = min(width - 1, _column(dbfs, width))
        if cells[column] == empty:
            cells[column] = mark
    return "".join(cells)


def _column(dbfs: float, width: int) -> int:
    share = (dbfs - LOWEST_DBFS) / -LOWEST_DBFS
    return round(min(1.0, max(0.0, share)) * width)


class RedrawnLines:
    """Three lines that stay where they are; nothing but the cursor is needed, as over SSH."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colour = takes_colours(out)
        self._signs = SIGNS if can_show(out, "".join(SIGNS)) else PLAIN_SIGNS
        self._drawn = 0
        self._name = ""
        self._peak = LOWEST_DBFS
        self._peak_left = self._clip_left = self._zeros = self._clipped = 0
        out.write("\x1b[?25l")  # the cursor would flicker

    def show(self, reading: Reading) -> None:
        """Draw the lines anew."""
        self._hold(reading)
        columns = shutil.get_terminal_size().columns
        width = max(10, min(60, columns - 32 if columns >= NARROW else columns - 22))
        line = bar(reading.level_dbfs, reading.floor_dbfs, self._peak, width, self._signs)
        colour = _YELLOW if reading.level_dbfs > LOUD_DBFS else _GREEN if reading.speech else ""
        gate = self._in(_GREEN + _BOLD, "SPEECH") if reading.speech else "quiet "
        remark = self._remark()
        floor = f"floor {reading.floor_dbfs:6.1f} dBFS"
        peak = f"peak {self._peak:6.1f}" if columns >= NARROW or not remark else ""
        self._draw(
            self._name,
            f"level {reading.level_dbfs:6.1f} dBFS  {self._in(colour, line)}",
            "  ".join(part for part in (floor, peak, gate, remark) if part),
        )

    def device(self, state: str, name: str, why: str) -> None:
        """Say what became of the device."""
        self._name = printable(f"{name}  (Ctrl-C ends it)")
        if state == "lost":
            self._draw(self._name, self._in(_RED, "no device"), printable(why))

    def end(self) -> None:
        """Leave what was drawn, and give the cursor back."""
        self._out.write("\x1b[?25h")
        self._out.flush()

    def _hold(self, reading: Reading) -> None:
        self._peak_left -= 1
        if reading.peak_dbfs >= self._peak or self._peak_left <= 0:
            self._peak, self._peak_left = reading.peak_dbfs, HELD_READINGS
        self._clip_left -= 1
        if reading.clipped:
            self._clip_left = HELD_READINGS
            self._clipped += reading.clipped
        self._zeros = self._zeros + 1 if reading.zeros else 0

    def _remark(self) -> str:
        if self._clip_left > 0:
            return self._in(_RED, f"CLIPPING, {self._clipped} samples so far")
        if self._zeros >= ZEROS_TOLD:
            return self._in(_RED, "NOTHING BUT ZEROS: muted?")
        return f"{self._clipped} clipped" if self._clipped else ""

    def _draw(self, *lines: str) -> None:
        columns = shutil.get_terminal_size().columns
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        # A line that wraps would be another one below, and the way up too short.
        shown = "".join(f"{_cut(line, columns)}\x1b[K\n" for line in lines)
        self._out.write(up + shown)
        self._out.flush()
        self._drawn = len(lines)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour and colour else text


class OneLineASecond:
    """A line a second, for a log or a pipe: the loudest of it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._readings: list[Reading] = []
        self._second = 0

    def show(self, reading: Reading) -> None:
        """Take a reading; print where a second is full."""
        self._readings.append(reading)
        if int(reading.t + 0.001) > self._second:
            self._second = int(reading.t + 0.001)
            self._print()

    def device(self, state: str, name: str, why: str) -> None:
        """Print what became of the device."""
        words = f"{state}: {name}{f' ({why})' if why else ''}"
        print(printable(words), file=self._out, flush=True)

    def end(self) -> None:
        """Print what is left of a second."""
        if self._readings:
            self._print()

    def _print(self) -> None:
        readings, self._readings = self._readings, []
        level = max(reading.level_dbfs for reading in readings)
        peak = max(reading.peak_dbfs for reading in readings)
        clipped = sum(reading.clipped for reading in readings)
        parts = [
            f"{readings[-1].t:7.1f} s",
            f"level {level:6.1f}",
            f"peak {peak:6.1f}",
            f"floor {readings[-1].floor_dbfs:6.1f} dBFS",
            "speech" if any(reading.speech for reading in readings) else "quiet",
        ]
        if clipped:
            parts.append(f"{clipped} clipped")
        if all(reading.zeros for reading in readings):
            parts.append("nothing but zeros")
        print("  ".join(parts), file=self._out, flush=True)


def _cut(line: str, columns: int) -> str:
    """The beginning of `line` that takes `columns`; what steers the terminal takes none."""
    shown, taken, within = [], 0, False
    for character in line:
        if character == "\x1b":
            within = True
        if not within:
            if taken == columns:
                continue
            taken += 1
        shown.append(character)
        if within and character == "m":
            within = False
    return "".join(shown)
