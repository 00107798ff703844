"""How much of speech the gate keeps, measured as `scripts/evaluate-gate` does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "evaluate-gate"
SPEECH_DIR = os.environ.get("SLNG_EDGE_TEST_SPEECH", "")
STEADY = ("white", "pink", "hum")

needs_recordings = pytest.mark.skipif(
    not SPEECH_DIR or not Path(SPEECH_DIR).is_dir(),
    reason="SLNG_EDGE_TEST_SPEECH names no folder with recordings of speech",
)
needs_voices = pytest.mark.skipif(
    shutil.which("flite") is None or shutil.which("espeak-ng") is None,
    reason="flite or espeak-ng is missing",
)


def measured(*options: str) -> dict[str, Any]:
    """What the script prints with `--json`."""
    argv = [sys.executable, str(SCRIPT), "--json", *options]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=100)
    return dict(json.loads(done.stdout))


def assert_kept(rows: list[dict[str, Any]]) -> None:
    """Nearly all of it is given out, from its first sample on."""
    for row in rows:
        assert row["kept"] >= 0.995, row
        assert row["missed"] == 0, row
        assert row["clipped_ms"]["p95"] == 0, row
        if row["noise"] in STEADY:
            assert row["excess"] <= 0.08, row
            assert row["held"] == 0, row


@pytest.mark.speech
@needs_recordings
def test_peoples_speech_is_kept_at_20_and_10_db() -> None:
    """In steady noises next to nothing is given out that is not near it."""
    options = ("--speech", SPEECH_DIR, "--voices", "people", "--snr", "20", "10")
    rows = measured(*options, "--only-kept", "--noises", *STEADY)["kept"]
    assert len(rows) == 1 + 3 * 2
    assert_kept(rows)


@pytest.mark.speech
@needs_recordings
def test_faint_speech_is_kept_at_20_db() -> None:
    """People at -40 to -60 dBFS, as a microphone without gain hears them across a room."""
    options = ("--speech", SPEECH_DIR, "--voices", "people", "--gain-db", "-25", "--snr", "20")
    assert_kept(measured(*options, "--only-kept", "--noises", *STEADY)["kept"])


@pytest.fixture(scope="module")
def synthesized() -> dict[str, Any]:
    """Seven voices of flite and espeak-ng in steady noises, and noises alone."""
    options = ("--half", "report", "--snr", "10", "--noises", *STEADY, "--noise-s", "10")
    return measured(*options)


@needs_voices
def test_synthesized_speech_is_kept_at_10_db(synthesized: dict[str, Any]) -> None:
    """In every steady noise, from its first sample on."""
    assert len(synthesized["recordings"]) == 7
    assert_kept(synthesized["kept"])


@needs_voices
def test_steady_noises_do_not_open_it(synthesized: dict[str, Any]) -> None:
    """Once they are known; and one that begins is known within seven seconds."""
    steady = (*STEADY, "tone", "fan", "rain")
    alone = [row for row in synthesized["noise_alone"] if row["noise"] in steady]
    assert [row["openings_a_minute"] for row in alone] == [0.0] * 12
    begins = {row["noise"]: row["last_s"] for row in synthesized["noise_begins"]}
    assert max(begins[kind] for kind in ("white", "pink", "tone", "hum")) <= 3.0
    assert max(begins[kind] for kind in steady) <= 7.0
