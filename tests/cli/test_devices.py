"""`slng-edge devices`: names, rates, and who keeps a device busy."""

from __future__ import annotations

import json
import os

import pytest
from virtual_sound import MICROPHONE_NAME, VirtualSound

from slng_edge.audio.device_names import Device
from slng_edge.cli import main
from slng_edge.cli.devices import _row, _table
from slng_edge.diagnostics.sound_holders import Holder

USB = Device("USB: Audio", "USB: Audio (hw:1,0)", 3, "ALSA", 1, 2, 48000)
RECORDS = Holder("pcmC1D0c", 812, "pipewire", "pi")
PLAYS = Holder("pcmC1D0p", 900, "aplay", "pi")
ANOTHER = Holder("pcmC11D0c", 7, "arecord", "pi")


@pytest.mark.parametrize(("which", "process"), [("input", 812), ("output", 900)])
def test_who_holds_a_device_stands_beside_it(which: str, process: int) -> None:
    """For its card and its direction."""
    row = _row(USB, which, [], [ANOTHER, RECORDS, PLAYS])
    assert [holder["process"] for holder in row["held_by"]] == [process]
    program = row["held_by"][0]["program"]
    line = next(line for line in _table([row]).splitlines() if "USB" in line)
    assert line.endswith(f"held by {program} (process {process} of pi)")


def test_a_device_that_is_busy_and_nobody_is_seen_asks() -> None:
    """Only root sees the programs of others."""
    row = _row(USB, "input", [], [ANOTHER])
    assert row["held_by"] == []
    assert "is another program using it?" in _table([row])


@pytest.mark.sound
def test_the_devices_there_are(
    virtual_sound: VirtualSound,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the names that the configuration takes."""
    monkeypatch.setenv("SLNG_EDGE_CONFIG", os.devnull)
    assert main(["devices", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    (microphone,) = (r for r in rows if (r["which"], r["name"]) == ("input", MICROPHONE_NAME))
    assert 16000 in microphone["rates_hz"]
    assert microphone["held_by"] == []
