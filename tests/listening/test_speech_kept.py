"""How much of people's speech the gate keeps, measured as `scripts/evaluate-gate` does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "evaluate-gate"
SPEECH_DIR = os.environ.get("SLNG_EDGE_TEST_SPEECH", "")


@pytest.mark.speech
@pytest.mark.skipif(
    not SPEECH_DIR or not Path(SPEECH_DIR).is_dir(),
    reason="SLNG_EDGE_TEST_SPEECH names no folder with recordings of speech",
)
def test_speech_is_kept_at_20_and_10_db() -> None:
    """At least 99.5 % of the speech is given out, and next to nothing that is not near it."""
    argv = [sys.executable, str(SCRIPT), "--speech", SPEECH_DIR, "--snr", "20", "10", "--seeds=1"]
    table = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=100).stdout
    rows = [line.split() for line in table.splitlines()[1:6]]
    assert [row[:2] for row in rows] == [
        ["clean", "-"],
        *(["white", "20"], ["pink", "20"], ["white", "10"], ["pink", "10"]),
    ]
    assert min(float(row[2].rstrip("%")) for row in rows) >= 99.5, table
    assert max(float(row[4].rstrip("%")) for row in rows[1:]) <= 3.0, table
