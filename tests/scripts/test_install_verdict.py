"""What scripts/install makes of the status of the service: the lines it ends with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slng_edge.protocol.failures import error_for_status

INSTALL = (Path(__file__).resolve().parents[2] / "scripts/install").read_text()
(JUDGE,) = re.findall(r"<<'PYTHON'\n(.*?)^PYTHON$", INSTALL, re.M | re.S)

MIC = {"state": "open", "name": "USB Audio: - (hw:1,0)"}
SPEAKER = {"state": "reopened", "name": "HDMI"}
READY = {"state": "ready", "model": "m"}


def status(
    mic: Any = MIC, speaker: Any = SPEAKER, stt: Any = READY, tts: Any = READY
) -> dict[str, Any]:
    """As `ctl status --json` gives it; None leaves one out."""
    devices = {"input": mic, "output": speaker}
    sessions = {"stt": stt, "tts": tts}
    return {
        "state": "idle",
        "devices": {name: each for name, each in devices.items() if each is not None},
        "sessions": {name: each for name, each in sessions.items() if each is not None},
    }


def failed(code: int | None, reason: str) -> dict[str, Any]:
    """A session that is not there, and why."""
    failure = {"at": "2026-01-02T03:04:05+00:00", "reason": reason}
    return {"state": "failed", "last_failure": failure | ({"code": code} if code else {})}


ADVICE = "sudo slng-edge doctor --as-service says what is in the way"


def judged(text: str) -> tuple[int, str]:
    """Status and lines, for what `ctl status --json` said."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", JUDGE],
        input=text,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_all_well_is_told_with_the_names_of_the_devices() -> None:
    """Who installs it sees at once whether it took the right ones."""
    assert judged(json.dumps(status())) == (
        0,
        "OK    microphone: open USB Audio: - (hw:1,0)\nOK    speaker: reopened HDMI\n"
        "OK    stt: ready\nOK    tts: ready\n",
    )


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            status(mic={"state": "lost", "name": "USB Audio"}),
            f"FAIL  microphone: lost USB Audio; {ADVICE}",
        ),
        (status(speaker=None), f"FAIL  speaker: none; {ADVICE}"),
        (status(stt=None), "FAIL  stt: none; no answer yet"),
        (status(stt={"state": "connecting"}), "FAIL  stt: connecting; no answer yet"),
        (
            status(stt=failed(None, "no such name: api.example")),
            "FAIL  stt: failed; no such name: api.example",
        ),
        (status(tts=failed(1013, "busy")), "FAIL  tts: failed; 1013 busy"),
        (status(stt=failed(429, "no place is free")), "FAIL  stt: failed; 429 no place is free"),
    ],
)
def test_what_does_not_work_is_told_with_what_to_do(found: dict[str, Any], line: str) -> None:
    """One line with FAIL among four, and not 0."""
    ended, said = judged(json.dumps(found))
    assert ended == 1
    assert [each for each in said.splitlines() if each.startswith("FAIL")] == [line]
    assert len(said.splitlines()) == 4


def test_on_the_free_plan_the_other_session_waits_for_its_turn() -> None:
    """There is one connection: that is no fault."""
    ended, said = judged(json.dumps(status(tts=failed(None, "no place is free"))))
    assert (ended, said.count("OK ")) == (0, 4)


@pytest.mark.parametrize("text", ["", "no service answers", "null", "[]", '{"devices": {}}'])
def test_what_is_no_status_is_shown(text: str) -> None:
    """A socket that is not there, or answers something else."""
    assert judged(text) == (1, f"FAIL  control socket: {text or 'no answer'}\n")


def test_a_refused_key_is_told_with_the_command_that_replaces_it() -> None:
    """In the service's own words."""
    reason = str(error_for_status(401, "", {}, 0.0))
    ended, said = judged(json.dumps(status(stt=failed(401, reason))))
    assert ended == 1
    assert f"FAIL  stt: failed; 401 {reason}\n" in said
    assert "sudo slng-edge key set" in said
