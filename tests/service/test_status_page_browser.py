"""The status page as a browser shows it: states, captions, replies, losing and finding us again.

Where `SLNG_EDGE_TEST_SCREENSHOTS` names a folder, pictures are left there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conversation_scripts import wait_until
from headless_browser import Browser

from slng_edge.events import (
    Event,
    FinalHeard,
    Interrupted,
    PartialHeard,
    ReplyWritten,
    Stamped,
    StateChanged,
)
from slng_edge.service.metrics import TurnTimes
from slng_edge.service.page_access import PageAccess
from slng_edge.service.page_routes import PageRoutes
from slng_edge.service.status_page import StatusPage

TOKEN = "a-token-of-some-length"
WORD = "document.getElementById('state').textContent"
SHAPE = "[...document.querySelectorAll('#shape svg')].filter(e => e.checkVisibility()).map(e => e.classList[0]).join()"  # noqa: E501
LINES = "[...document.querySelectorAll('#said p')].filter(e => !e.hidden).map(e => e.dataset.who + ': ' + e.textContent).join('|')"  # noqa: E501

SHOWN = {
    "starting": "Starting",
    "idle": "Ready",
    "listening": "Listening",
    "thinking": "Thinking",
    "speaking": "Speaking",
    "paused": "Waiting",
    "muted": "Muted",
    "offline": "Offline",
    "error": "Out of order",
}


class Served:
    """A page with a status of its own."""

    def __init__(self, token: str = "", port: int = 0) -> None:
        self.status: dict[str, Any] = {
            "state": "idle",
            "volume": 80,
            "sessions": {"stt": {"state": "ready"}, "tts": {"state": "ready"}},
            "devices": {"input": {"state": "open"}},
            "counters": {"microphone_dbfs": -30.0},
        }
        routes = PageRoutes(PageAccess(token), status=lambda: dict(self.status), turns=TurnTimes())
        self.page = StatusPage(f"127.0.0.1:{port}", routes, has_token=bool(token))
        self.page.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.page.port}/"

    def publish(self, event: Event) -> None:
        if isinstance(event, StateChanged):
            self.status["state"] = event.state
        self.page.receive(Stamped(1.0, datetime.now(UTC), event))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests."""
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def served(browser: Browser) -> Iterator[Served]:
    """A page that the browser looks at."""
    served = Served()
    assert wait_until(lambda: served.page.port)
    browser.open(served.url)
    browser.shows(WORD, "Ready")
    yield served
    served.page.stop(2)


def picture(browser: Browser, name: str) -> None:
    """Leave a picture where one is wanted."""
    folder = os.environ.get("SLNG_EDGE_TEST_SCREENSHOTS")
    if folder:
        browser.screenshot(Path(folder) / f"status-page-{name}.png")


def test_each_state_has_a_word_and_a_shape_of_its_own(browser: Browser, served: Served) -> None:
    """Not by its colour alone."""
    shapes = set()
    for state, word in SHOWN.items():
        served.publish(StateChanged(state))
        browser.shows(WORD, word)
        shapes.add(browser.value(SHAPE))
        picture(browser, state)
    assert shapes == set(SHOWN)


def test_words_come_as_they_are_said(browser: Browser, served: Served) -> None:
    """Partials give way to the final; an answer that was cut off is marked."""
    served.publish(StateChanged("listening"))
    served.publish(PartialHeard("what time"))
    browser.shows(LINES, "You: what time")
    picture(browser, "captions-listening")
    served.publish(FinalHeard("What time is it?", 90))
    served.publish(StateChanged("speaking"))
    served.publish(ReplyWritten("It is <b>ten</b> past four."))
    browser.shows(LINES, "You: What time is it?|Answer: It is <b>ten</b> past four.")
    picture(browser, "captions")
    served.publish(Interrupted("speech", "It is", 400, 20.0))
    browser.shows("document.querySelectorAll('.reply.cut').length", 1)


def test_a_screen_reader_finds_its_way(browser: Browser, served: Served) -> None:
    """State and conversation are told as they change; the conversation can be scrolled by keys."""
    served.publish(FinalHeard("What time is it?", 90))
    browser.shows(LINES, "You: What time is it?")
    roles = dict(browser.accessible())
    assert {"status", "log", "meter"} <= roles.keys()
    assert roles["log"] == "Conversation"
    assert browser.value("document.documentElement.lang") == "en"
    browser.value("document.getElementById('said').focus()")
    assert browser.value("document.activeElement.id") == "said"


def test_it_can_be_read_from_three_metres(browser: Browser, served: Served) -> None:
    """Letters of 1/300 of the distance, which is 10 mm, on a screen of 10 inches (135 mm high).

    A capital has 0.7 of the font's size. What is long wraps and scrolls, and the end is shown.
    """
    size = "parseFloat(getComputedStyle(document.querySelector('{}')).fontSize) / innerHeight * 135"
    assert 0.7 * browser.value(size.format("#state")) >= 15
    served.publish(FinalHeard("first " + "x" * 300, 1))
    served.publish(ReplyWritten("word " * 60 + "last"))
    browser.shows("document.querySelectorAll('.reply').length", 1)
    assert 0.7 * browser.value(size.format(".reply")) >= 8
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    assert browser.value(
        "document.documentElement.scrollHeight <= innerHeight && said.scrollTop > 0 && "
        "said.scrollTop + said.clientHeight >= said.scrollHeight - 1"
    )
    picture(browser, "long")
    browser.value("said.scrollTop = 0")
    top = "document.querySelector('#said p').getBoundingClientRect().top >= said.offsetTop - 1"
    assert browser.value(top)


def test_what_is_wrong_is_said(browser: Browser, served: Served) -> None:
    """The level and the connections come with the status, every second."""
    served.status["devices"] = {"input": {"state": "lost"}}
    served.status["sessions"]["stt"] = {"state": "failed"}
    served.status["counters"] = {"microphone_dbfs": -12.0}
    served.publish(StateChanged("error"))
    browser.shows("document.getElementById('why').textContent", "The microphone is not there.")
    browser.shows("document.getElementById('stt').textContent", "Recognition: ✗ failed")
    browser.shows("document.getElementById('level').value", -12)


def test_a_service_that_is_gone_is_shown_and_found_again(browser: Browser, served: Served) -> None:
    """By itself: nobody reloads a kiosk."""
    port = served.page.port
    served.page.stop(2)
    browser.shows(WORD, "No contact")
    picture(browser, "no-contact")
    again = Served(port=port)
    try:
        browser.shows(WORD, "Ready")
    finally:
        again.page.stop(2)


def test_a_token_is_shown_once(browser: Browser) -> None:
    """And is no part of the address afterwards."""
    served = Served(TOKEN)
    try:
        assert wait_until(lambda: served.page.port)
        browser.open(served.url)
        browser.shows("document.body.textContent.includes('a token is needed')", True)
        browser.open(f"{served.url}?token={TOKEN}")
        browser.shows(WORD, "Ready")
        assert browser.value("location.search") == ""
        browser.open(served.url)
        browser.shows(WORD, "Ready")
    finally:
        served.page.stop(2)
