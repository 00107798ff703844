"""The status page as a browser shows it: states, captions, replies, losing and finding us again.

Where `SLNG_EDGE_TEST_SCREENSHOTS` names a folder, pictures are left there.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    PlaybackStarted,
    ReplyWritten,
    Stamped,
    StateChanged,
)
from slng_edge.service import status_page
from slng_edge.service.metrics import TurnTimes
from slng_edge.service.page_access import PageAccess
from slng_edge.service.page_routes import PageRoutes
from slng_edge.service.status_page import StatusPage

TOKEN = "a-token-of-some-length"
WORD = "document.getElementById('state')?.textContent"
WHY = "document.getElementById('why').textContent"
SHAPE = "[...document.querySelectorAll('#shape svg')].filter(e => e.checkVisibility()).map(e => e.classList[0]).join()"  # noqa: E501
LINES = "[...document.querySelectorAll('main p')].filter(e => !e.hidden).map(e => e.dataset.who + ': ' + e.textContent).join('|')"  # noqa: E501

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
    "away": "No contact",
}

# WCAG 2.1, "relative luminance" and "contrast ratio": the least of everything that is to be seen.
LEAST_CONTRAST = """
(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) {
    const color = rgb(getComputedStyle(e).backgroundColor);
    if (color.length === 3) return color;
  } };
  const ratio = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05); };
  const seen = [...document.querySelectorAll('h1, #shape, p, s, footer span, footer label')]
    .filter((e) => e.id === 'shape' || (e.checkVisibility({visibilityProperty: true}) && e.textContent));
  const found = seen.map((e) => ratio(rgb(getComputedStyle(e).color), ground(e)));
  return [found.length, Math.min(...found)];
})()
"""  # noqa: E501


class Served:
    """A page with a status of its own."""

    def __init__(self, token: str = "", port: int = 0) -> None:
        self.status: dict[str, Any] = {
            "version": "1",
            "state": "idle",
            "volume": 80,
            "sessions": {"stt": {"state": "ready"}, "tts": {"state": "ready"}},
            "devices": {"input": {"state": "open"}},
            "counters": {"microphone_dbfs": -30.0},
        }
        routes = PageRoutes(PageAccess(token), status=lambda: dict(self.status), turns=TurnTimes())
        self.page = StatusPage(f"127.0.0.1:{port}", routes, has_token=bool(token))
        self.page.start()
        assert wait_until(lambda: self.page.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.page.port}/"

    def publish(self, *events: Event) -> None:
        for event in events:
            if isinstance(event, StateChanged):
                self.status["state"] = event.state
            self.page.receive(Stamped(1.0, datetime.now(UTC), event))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests; by its resolver evil.example is this machine, as a rebound name is."""
    rebound = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with Browser(tmp_path_factory.mktemp("chromium"), rebound) as browser:
        yield browser


@pytest.fixture
def served(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A page that the browser looks at, and that hears of the status ten times a second."""
    monkeypatch.setattr(status_page, "PULSE_S", 0.1)
    served = Served()
    try:
        browser.resize(1280, 720)
        browser.prefer()
        browser.open(served.url)
        browser.shows(WORD, "Ready")
        yield served
    finally:
        served.page.stop(2)


def picture(browser: Browser, name: str) -> None:
    """Leave a picture where one is wanted."""
    folder = os.environ.get("SLNG_EDGE_TEST_SCREENSHOTS")
    if folder:
        browser.screenshot(Path(folder) / f"status-page-{name}.png")


# What it shows


def test_each_state_has_a_word_a_shape_and_a_colour_of_its_own(
    browser: Browser, served: Served
) -> None:
    """Of the three, the word and the shape tell all of them apart."""
    shapes, colours = set(), set()
    for state, word in SHOWN.items():
        served.publish(StateChanged(state))
        browser.shows(WORD, word)
        shapes.add(browser.value(SHAPE))
        colours.add(browser.value("getComputedStyle(document.body).getPropertyValue('--band')"))
        picture(browser, state)
    assert shapes == set(SHOWN)
    assert len(colours) == len(SHOWN) - 1  # starting and ready are both nothing to look at


def test_words_come_as_they_are_said(browser: Browser, served: Served) -> None:
    """Partials give way to the final, and nothing of it is taken for a tag."""
    served.publish(StateChanged("listening"), PartialHeard("what time"))
    browser.shows(LINES, "You: what time")
    picture(browser, "captions-listening")
    served.publish(FinalHeard("What time is it?", 90), StateChanged("speaking"))
    served.publish(ReplyWritten("It is <b>ten</b> past four."))
    browser.shows(LINES, "You: What time is it?|Answer: It is <b>ten</b> past four.")
    picture(browser, "captions")


@pytest.mark.parametrize(
    ("written", "heard", "shown"),
    [
        ("It is ten past four.", "It is", "Answer: It is ten past four."),
        ("It is ten past four.", "Something else", "Answer: It is ten past four."),
        ("", "It is", "Answer: It is …"),
        ("", "", ""),
    ],
)
def test_of_a_reply_that_was_cut_off_it_is_seen_where(
    browser: Browser, served: Served, written: str, heard: str, shown: str
) -> None:
    """What nobody heard is struck; the reply before it is left as it was."""
    served.publish(FinalHeard("And before?", 90), ReplyWritten("Before."))
    served.publish(FinalHeard("What time is it?", 90))
    if written:
        served.publish(ReplyWritten(written))
    served.publish(Interrupted("speech", heard, 400, 20.0), StateChanged("listening"))
    browser.shows(WORD, "Listening")
    before = "You: And before?|Answer: Before.|You: What time is it?"
    assert browser.value(LINES) == "|".join(filter(None, (before, shown)))
    struck = browser.value("[...document.querySelectorAll('s')].map(e => e.textContent).join()")
    assert struck == written.removeprefix(heard)
    picture(browser, "cut")


def test_what_is_wrong_is_said(browser: Browser, served: Served) -> None:
    """The level and the connections come with the status."""
    served.status["devices"] = {"output": {"state": "lost"}}
    browser.shows(WHY, "The speaker is not there.")
    served.status["devices"] = {"input": {"state": "lost"}}
    served.status["sessions"]["stt"] = {"state": "failed", "last_failure": {"reason": "no key"}}
    served.status["counters"] = {"microphone_dbfs": -12.0}
    served.publish(StateChanged("error"))
    browser.shows(WHY, "The microphone is not there.")
    browser.shows("document.getElementById('stt').textContent", "Recognition: ✗ failed")
    browser.shows("document.getElementById('devices').textContent", "✗ microphone lost")
    browser.shows("document.getElementById('level').value", -12)
    served.status["devices"] = {"input": {"state": "open"}}
    browser.shows(WHY, "no key")


def test_the_next_visitor_does_not_read_it(browser: Browser, served: Served) -> None:
    """What was said goes when nothing has been said for a while."""
    browser.value("LIMITS.forgetMs = 300")
    served.publish(FinalHeard("My secret.", 90), ReplyWritten("I keep it."))
    browser.shows("document.querySelectorAll('#said p').length", 2)
    browser.shows(LINES, "")
    assert not browser.value("document.body.innerText.includes('secret')")


# Read by anybody


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1024, 600), (800, 1280)])
def test_it_can_be_read_from_three_metres(
    browser: Browser, served: Served, width: int, height: int
) -> None:
    """On a screen of 10 inches, whose short side is 135 mm; DIN 1450 wants 1/300 for signs.

    A capital has 0.7 of the font's size. No state's word leaves the screen, and what is said has
    two lines at least.
    """
    browser.resize(width, height)
    size = "parseFloat(getComputedStyle(document.querySelector('{}')).fontSize)"
    mm = f" / {min(width, height)} * 135 * 0.7"
    served.publish(FinalHeard("What time is it?", 1), ReplyWritten("It is ten past four."))
    browser.shows("document.querySelectorAll('.reply').length", 1)
    assert browser.value(size.format("#state") + mm) >= 13
    assert browser.value(size.format(".reply") + mm) >= 8
    assert browser.value(size.format("#why") + mm) >= 5
    for state, word in SHOWN.items():
        served.publish(StateChanged(state))
        browser.shows(WORD, word)
        fits = (
            "document.documentElement.scrollWidth <= innerWidth && "
            "document.documentElement.scrollHeight <= innerHeight && "
            "document.querySelector('h1').scrollWidth <= document.querySelector('h1').clientWidth"
        )
        assert browser.value(fits), state
        lines = f"document.querySelector('main').clientHeight / ({size.format('.reply')} * 1.2)"
        assert browser.value(lines) >= 2, state
        if state in ("speaking", "error"):
            picture(browser, f"{width}x{height}-{state}")


def test_contrast_is_enough_in_every_state(browser: Browser, served: Served) -> None:
    """4.5 to 1 for everything, as WCAG 2.1 (1.4.3) asks of small letters."""
    browser.prefer(prefers_reduced_motion="reduce")  # no colour on its way to another
    served.status["devices"] = {"output": {"state": "lost"}}
    served.status["sessions"]["tts"] = {"state": "failed"}
    served.publish(FinalHeard("One?", 1), ReplyWritten("Two, three."))
    served.publish(Interrupted("speech", "Two", 400, 20.0), PartialHeard("four"))
    for state, word in SHOWN.items():
        served.publish(StateChanged(state))
        browser.shows(WORD, word)
        seen, contrast = browser.value(LEAST_CONTRAST)
        assert seen >= 6, state
        assert contrast >= 4.5, state


def test_nothing_moves_where_that_is_not_wanted(browser: Browser, served: Served) -> None:
    """`prefers-reduced-motion`."""
    served.publish(StateChanged("listening"))
    browser.shows(WORD, "Listening")
    assert browser.value("document.getAnimations().length") > 0
    browser.prefer(prefers_reduced_motion="reduce")
    browser.shows("document.getAnimations().length", 0)
    assert browser.value("getComputedStyle(main).scrollBehavior") == "auto"


def test_a_screen_reader_finds_its_way(browser: Browser, served: Served) -> None:
    """Landmarks, a heading, who said what, and the level in words: none while it is muted."""
    level = "document.getElementById('level').getAttribute('aria-valuetext')"
    browser.shows(level, "-30 decibels")
    served.publish(FinalHeard("What time is it?", 90), StateChanged("muted"))
    browser.shows(level, "-70 decibels")
    browser.shows(WORD, "Muted")
    found = browser.accessible()
    assert {"banner", "main", "contentinfo", "status", "log", "heading"} <= {r for r, _ in found}
    assert ("heading", "Muted") in found
    assert ("main", "Conversation") in found
    names = [name for _, name in found]
    assert "Hears nothing until it is unmuted." in names
    assert "You" in names
    assert ("meter", "Level") in found
    assert browser.value("document.documentElement.lang") == "en"
    assert browser.value("document.title") == "Muted – slng-edge"


def test_a_screen_reader_is_not_told_the_same_again(browser: Browser, served: Served) -> None:
    """State, finals and answers as they come; nothing for partials, nor for the status' repeats."""
    script = """
    window.told = [];
    new MutationObserver((found) => found.forEach((each) => {
      const target = each.target.nodeType === 1 ? each.target : each.target.parentElement;
      const live = target.closest('[aria-live]');
      if (live && live.getAttribute('aria-live') !== 'off') told.push(target.textContent);
    })).observe(document.body, {subtree: true, childList: true, characterData: true});
    """
    browser.value(script)
    served.publish(StateChanged("listening"), PartialHeard("what"), PartialHeard("what time"))
    served.publish(FinalHeard("What time is it?", 90), ReplyWritten("Ten."))
    browser.shows(LINES, "You: What time is it?|Answer: Ten.")
    served.status["counters"] = {"microphone_dbfs": -12.0}
    browser.shows("document.getElementById('level').value", -12)
    assert browser.value("told") == ["Listening", "What time is it?", "What time is it?Ten."]


def test_long_answers_are_read_from_their_beginning(browser: Browser, served: Served) -> None:
    """Very long words wrap; it moves on as it is spoken, unless somebody scrolls by the keys."""
    browser.prefer(prefers_reduced_motion="reduce")
    at_its_beginning = (
        "Math.abs(main.scrollTop - (said.lastElementChild.offsetTop - main.offsetTop)) < 2"
    )
    served.publish(FinalHeard("first " + "x" * 300, 1))
    served.publish(ReplyWritten("Donaudampfschifffahrt" * 4 + " word" * 120 + " last"))
    browser.shows("document.querySelectorAll('.reply').length", 1)
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    assert browser.value(at_its_beginning)
    picture(browser, "long")
    served.publish(PlaybackStarted())
    browser.shows("soundsSince > 0", True)
    browser.value("soundsSince = Date.now() - 30000")
    assert wait_until(lambda: not browser.value(at_its_beginning))
    browser.value("soundsSince = Date.now() - 90000")
    browser.shows("main.scrollTop + main.clientHeight >= main.scrollHeight - 2", True)
    browser.press("Tab")
    assert browser.value("document.activeElement === main")
    for _ in range(3):
        browser.press("ArrowUp")
    assert wait_until(
        lambda: browser.value("main.scrollHeight - main.clientHeight - main.scrollTop > 50")
    )
    pulses = browser.value(
        "window.pulses = 0, source.addEventListener('status', () => pulses++), pulses"
    )
    assert wait_until(lambda: browser.value("pulses") > pulses + 2)
    assert browser.value("main.scrollHeight - main.clientHeight - main.scrollTop > 50")


def test_any_language_is_shown_as_it_is_written(browser: Browser, served: Served) -> None:
    """From the right where it is; pictures and accents are none of our business."""
    served.publish(FinalHeard("كم الساعة الآن؟", 1))
    served.publish(ReplyWritten("Zehn nach vier 🕓, bitte schön."))
    browser.shows("document.querySelectorAll('.reply').length", 1)
    sides = "[...document.querySelectorAll('#said p')].map(e => getComputedStyle(e).direction)"
    assert browser.value(sides) == ["rtl", "ltr"]
    served.publish(PartialHeard("שלום"))
    browser.shows("getComputedStyle(partial).direction", "rtl")
    picture(browser, "languages")


# Losing and finding us


def test_a_service_that_is_gone_is_shown_and_found_again(browser: Browser, served: Served) -> None:
    """By itself: nobody reloads a kiosk. What it showed of the old one is hidden."""
    port = served.page.port
    served.publish(PartialHeard("what"))
    browser.shows(LINES, "You: what")
    served.page.stop(2)
    browser.shows(WORD, "No contact")
    assert browser.value(WHY) == "The service does not answer. Trying again."
    assert browser.value(LINES) == ""
    assert not browser.value(
        "document.querySelector('footer').checkVisibility({visibilityProperty: true})"
    )
    picture(browser, "no-contact")
    again = Served(port=port)
    try:
        browser.shows(WORD, "Ready")
    finally:
        again.page.stop(2)


def test_a_service_that_says_nothing_any_more_is_shown(
    browser: Browser, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a power cut of another machine: no connection ends, and no error comes."""
    browser.value("LIMITS.quietMs = 400, LIMITS.againMs = 100")
    browser.shows("document.getElementById('level').value", -30)
    monkeypatch.setattr(status_page, "PULSE_S", 1000.0)
    served.status["counters"] = {"microphone_dbfs": -12.0}
    browser.shows(WORD, "No contact")
    monkeypatch.setattr(status_page, "PULSE_S", 0.1)
    browser.shows(WORD, "Ready")
    browser.shows("document.getElementById('level').value", -12)


def test_a_page_that_was_refused_keeps_asking(browser: Browser, served: Served) -> None:
    """As when too many watched: a browser gives such a stream up for good."""
    browser.value("LIMITS.againMs = 100, window.before = source")
    browser.value("source.close(), lose()")
    browser.shows(f"source !== before && {WORD}", "Ready")


def test_a_new_version_brings_its_own_page(browser: Browser, served: Served) -> None:
    """After an upgrade the kiosk does not run the old one's script."""
    browser.value("window.old = true")
    served.status["version"] = "2"
    browser.shows("window.old === undefined", True)
    browser.shows(WORD, "Ready")


# Who may


def test_a_token_is_shown_once(browser: Browser) -> None:
    """And is no part of the address afterwards."""
    served = Served(TOKEN)
    try:
        browser.open(served.url)
        browser.shows("document.body.textContent.includes('a token is needed')", True)
        browser.open(f"{served.url}?token={TOKEN}")
        browser.shows(WORD, "Ready")
        assert browser.value("location.search") == ""
        browser.open(served.url)
        browser.shows(WORD, "Ready")
    finally:
        served.page.stop(2)


class Elsewhere(BaseHTTPRequestHandler):
    """Another site."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title><p>A page.")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def elsewhere() -> Iterator[int]:
    """The port of another site on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(5)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_a_page_of_another_site_gets_nothing(browser: Browser, served: Served, host: str) -> None:
    """Neither by script, nor as a stream, as a script or in a frame."""
    script = f"""
    (async () => {{
      const got = [], url = {json.dumps(served.url)};
      for (const path of ['', 'events', 'status.json', 'metrics', 'healthz']) {{
        for (const mode of ['cors', 'no-cors']) {{
          try {{ const answer = await fetch(url + path, {{mode, credentials: 'include'}});
            if (answer.status || (await answer.text())) got.push(path + mode); }} catch {{}}
        }}
      }}
      const over = (make) => new Promise((done) => {{ make(done); setTimeout(done, 1500, 'time'); }});
      got.push(await over((done) => {{ const s = new EventSource(url + 'events');
        s.onmessage = s.onopen = () => done('stream'); s.onerror = () => done(''); }}));
      got.push(await over((done) => {{ const s = document.createElement('script');
        s.onload = () => done('script'); s.onerror = () => done(''); s.src = url + 'status.json';
        document.body.append(s); }}));
      got.push(await over((done) => {{ const f = document.createElement('iframe');
        f.onload = () => {{ try {{ done(f.contentDocument ? 'frame' : ''); }} catch {{ done(''); }} }};
        f.src = url; document.body.append(f); }}));
      return got.join('');
    }})()
    """  # noqa: E501
    with elsewhere() as port:
        browser.open(f"http://{host}:{port}/")
        browser.shows("document.title", "elsewhere")
        assert browser.value(script) == ""


def test_a_name_that_was_made_to_point_here_gets_nothing(browser: Browser) -> None:
    """DNS rebinding: for the browser it is still the same site; its name gives it away."""
    with elsewhere() as port:
        browser.open(f"http://evil.example:{port}/")
        browser.shows("document.title", "elsewhere")
    served = Served(port=port)
    try:
        script = "fetch('/status.json').then(async (a) => [a.status, await a.text()])"
        status, text = browser.value(script)
    finally:
        served.page.stop(2)
    assert (status, "this page is for this machine" in text, "volume" in text) == (421, True, False)
