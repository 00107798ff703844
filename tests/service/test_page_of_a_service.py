"""A conversation with the service as everybody outside sees it: browser, Prometheus, broker.

`slng-edge run` against the local gateway, a headless Chromium, `promtool` and a mosquitto.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

import pytest
from headless_browser import Browser
from mqtt_broker import Broker, Watcher
from shown_conversation import ANSWER, QUESTION, WORD, ShownConversation, follow


@dataclass
class Seen:
    """What was read of each at the time."""

    page: dict[str, str]
    statuses: dict[str, tuple[int, dict[str, Any]]]
    metrics: dict[str, str]
    broker: list[tuple[str, str, bool]]
    kept: dict[str, str]
    gone_on_page: str
    gone_after_s: float

    def states(self) -> list[str]:
        """Those that the broker was told."""
        return [payload for topic, payload, _ in self.broker if topic == "hall/state"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """One conversation for all tests: asked, answered, muted, its gateway gone, killed."""
    folder = tmp_path_factory.mktemp("shown")
    work = folder / "work"
    work.mkdir()
    statuses: dict[str, tuple[int, dict[str, Any]]] = {}
    metrics: dict[str, str] = {}

    def take(name: str) -> None:
        with urlopen(f"{conversation.url}healthz", timeout=5) as answer:
            statuses[name] = (answer.status, json.load(answer))
        with urlopen(f"{conversation.url}metrics", timeout=5) as answer:
            metrics[name] = answer.read().decode()

    with (
        Browser(folder / "profile") as browser,
        Broker(folder) as broker,
        Watcher(broker) as watcher,
        ShownConversation(
            work, [f'mqtt.url="mqtt://127.0.0.1:{broker.port}/hall"']
        ) as conversation,
    ):
        page = follow(conversation, browser, take)
        watcher.wait_for("hall/state", "offline")
        with Watcher(broker) as late:
            kept = {
                topic: late.wait_for(topic)
                for topic in ("hall/availability", "hall/state", "hall/status")
            }
        began = time.monotonic()
        conversation.vanish()
        watcher.wait_for("hall/availability", "offline")
        gone_after_s = time.monotonic() - began
        browser.shows(WORD, "No contact")
        yield Seen(page, statuses, metrics, watcher.seen, kept, browser.value(WORD), gone_after_s)


def test_the_page_shows_what_is_said_while_it_is_said(seen: Seen) -> None:
    """And the answer while it sounds."""
    heard = seen.page["listening"]
    assert QUESTION.startswith(heard)
    assert heard != QUESTION
    assert seen.page["speaking"] == ANSWER


def test_health_goes_with_it(seen: Seen) -> None:
    """Neither being muted nor being offline is an illness."""
    assert {name: (code, body["state"]) for name, (code, body) in seen.statuses.items()} == {
        "listening": (200, "listening"),
        "speaking": (200, "speaking"),
        "muted": (200, "muted"),
        "offline": (200, "offline"),
    }


def test_promtool_accepts_the_metrics_of_every_state(seen: Seen) -> None:
    """Of a service that runs, and not of made-up figures alone."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: scripts/test brings it, or apt-get install prometheus")
    for name, text in seen.metrics.items():
        done = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=20
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), name


def test_the_metrics_count_the_conversation(seen: Seen) -> None:
    """One turn, and the state of the moment."""
    lines = {name: text.splitlines() for name, text in seen.metrics.items()}
    assert "slng_edge_turn_duration_seconds_count 0" in lines["listening"]
    assert "slng_edge_turn_duration_seconds_count 1" in lines["muted"]
    assert "slng_edge_muted 1" in lines["muted"]
    for name in ("listening", "speaking", "muted", "offline"):
        assert f'slng_edge_state{{state="{name}"}} 1' in lines[name]
    assert 'slng_edge_session_ready{session="stt"} 0' in lines["offline"]


def test_the_broker_was_told_every_state_in_order(seen: Seen) -> None:
    """As they came."""
    states = iter(seen.states())
    for wanted in ("listening", "thinking", "speaking", "idle", "muted", "idle", "offline"):
        assert wanted in states, (wanted, seen.states())


def test_the_broker_is_told_no_words(seen: Seen) -> None:
    """Neither the question nor the answer, as long as the log has none."""
    told = " ".join(payload for _, payload, _ in seen.broker)
    assert "train" not in told
    assert ANSWER not in told


def test_who_comes_later_finds_how_it_is(seen: Seen) -> None:
    """Retained: that it is there, its state and its status."""
    assert (seen.kept["hall/availability"], seen.kept["hall/state"]) == ("online", "offline")
    assert json.loads(seen.kept["hall/status"])["volume"] == 100


def test_a_service_that_vanished_is_noticed(seen: Seen) -> None:
    """By the broker's will, and on the page."""
    assert seen.gone_after_s < 2
    assert seen.gone_on_page == "No contact"
