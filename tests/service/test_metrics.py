"""What Prometheus reads: right by its own checker, complete, and never a broken line."""

from __future__ import annotations

import math
import shutil
import subprocess
from datetime import UTC, datetime

import pytest

from slng_edge.events import (
    ConnectionChanged,
    DeviceChanged,
    Event,
    FinalHeard,
    Interrupted,
    Lost,
    Stamped,
    StateChanged,
    TurnMeasured,
)
from slng_edge.service.metrics import TurnTimes, metrics_text
from slng_edge.service.status import StatusBoard

EVENTS: tuple[Event, ...] = (
    StateChanged("idle"),
    ConnectionChanged("stt", "ready", "a/b:c"),
    ConnectionChanged("tts", "failed", 'quo"te', code=1006, reason="gone", retry_in_s=2.0),
    DeviceChanged("input", "open", "default"),
    DeviceChanged("output", "lost", "default"),
    FinalHeard("not in the metrics", 120),
    Interrupted("speech", "", 100, 20.0),
    Lost("speech", 1500, "offline"),
    Lost('a "b"\\\nc', 20, ""),
    TurnMeasured(100, 200, 300, 50, 650),
    TurnMeasured(100, 200, 300, 50, 99000),
)
MORE = {
    "muted": False,
    "volume": 80,
    "counters": {
        "input_overflows": 1,
        "output_underflows": 2,
        "reply_underruns": 3,
        "microphone_dbfs": -42.5,
        "noise_floor_dbfs": None,
        "echo_canceller": "apm",
        "half_duplex": False,
        "texts_waiting": 0,
    },
    "process": {"pid": 4, "rss_mib": 61.5, "threads": 12},
}


def text() -> str:
    """The metrics of a service that has seen some of everything."""
    board, turns = StatusBoard(0.0), TurnTimes()
    for event in EVENTS:
        stamped = Stamped(1.0, datetime.now(UTC), event)
        board.receive(stamped)
        turns.receive(stamped)
    return metrics_text(board.as_json(10.0, more=MORE), turns)


@pytest.mark.parametrize(
    "line",
    [
        "slng_edge_uptime_seconds 10.0",
        'slng_edge_state{state="idle"} 1',
        'slng_edge_state{state="error"} 0',
        "slng_edge_muted 0",
        "slng_edge_volume_ratio 0.8",
        'slng_edge_events_total{type="final"} 1',
        'slng_edge_interruptions_total{by="speech"} 1',
        'slng_edge_lost_seconds_total{what="speech"} 1.5',
        'slng_edge_lost_total{what="a \\"b\\"\\\\\\nc"} 1',
        'slng_edge_session_ready{session="stt"} 1',
        'slng_edge_session_failures_total{session="tts"} 1',
        'slng_edge_device_open{which="output"} 0',
        "slng_edge_input_overflows_total 1",
        "slng_edge_microphone_dbfs -42.5",
        "slng_edge_resident_memory_bytes 64487424.0",
        'slng_edge_turn_duration_seconds_bucket{le="0.5"} 0',
        'slng_edge_turn_duration_seconds_bucket{le="0.8"} 1',
        'slng_edge_turn_duration_seconds_bucket{le="+Inf"} 2',
        "slng_edge_turn_duration_seconds_count 2",
        "slng_edge_turn_duration_seconds_sum 99.65",
    ],
)
def test_a_figure_is_there(line: str) -> None:
    """By its name, with its labels."""
    assert line in text().split("\n")


def test_what_is_not_known_and_what_was_said_is_left_out() -> None:
    """No value for silence without a level, no words."""
    assert "noise_floor" not in text()
    assert "not in the metrics" not in text()
    assert "slng_edge_muted" not in metrics_text({"state": "idle"}, TurnTimes())


def test_another_reader_understands_every_line() -> None:
    """The official client library's parser."""
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is missing")
    families = list(parser.text_string_to_metric_families(text()))
    assert len(families) > 15
    for family in families:
        assert family.documentation, family.name
        assert all(math.isfinite(sample.value) for sample in family.samples)


def test_promtool_accepts_it() -> None:
    """`promtool check metrics` reads it and finds nothing to complain of."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: scripts/test brings it, or apt-get install prometheus")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text(), capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
