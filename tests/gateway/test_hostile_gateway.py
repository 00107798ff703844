"""A gateway that sends anything at any time: the session bears it, or says why it does not.

Whatever it does: memory stays within bounds, no thread dies, the log stays short, the key is not
repeated, and what is asked of the next connection, which is a good one, is answered.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conversation_scripts import config_for, numbered, wait_until
from hostile_acts import (
    ACTS,
    CLEAR,
    CONNECTED,
    FINALIZE,
    GOODBYE,
    READY,
    REPLY,
    SPEECH,
    UPGRADE,
    Act,
)
from hostile_gateway import WORDS, HostileGateway
from raw_server import server, until_gone
from session_scripts import utter

from slng_edge import SttSession, TtsSession
from slng_edge.events import ConnectionChanged
from slng_edge.gateway.session import Session
from slng_edge.protocol.session_events import Final, ReplyAudio, ReplyCut, ReplyDone, UtteranceLost

KEY = "sk-live-Zm9vYmFyYmF6cXV4"
GROWTH_KIB = 40 * 1024
LOG_LINES = 16
"""Ten of messages that were skipped, and some of a connection that went and came."""
ANSWERED_S = 8.0
QUICK = (
    "gateway.connect_timeout_s=0.7",
    "stt.final_timeout_s=1",
    "tts.first_audio_timeout_s=2",
)


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileGateway]:
    """One for all tests of this file."""
    with HostileGateway() as gateway:
        yield gateway


class Watched:
    """A session, and what it told: events, deaths of its threads, and log lines."""

    def __init__(self, url: str, kind: str, *overrides: str, hasty: bool = True) -> None:
        self.events: list[Any] = []
        self.deaths: list[str] = []
        self._kind = kind
        self._hasty = hasty
        self._changed = threading.Condition()
        self._timers: list[threading.Timer] = []
        self._number = 0
        make: type[Session] = SttSession if kind == "stt" else TtsSession
        self.session: Any = make(  # type: ignore[call-arg]
            config_for(url, *QUICK, *overrides),
            api_key=KEY,
            on_event=self._receive,
            on_death=lambda name, error: self.deaths.append(f"{name}: {error!r}"),
        )

    def __enter__(self) -> Watched:
        self.session.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.session.stop()
        for timer in self._timers:
            timer.join(5)

    def _receive(self, event: Any) -> None:
        if isinstance(event, ReplyAudio):
            event = dataclasses.replace(event, pcm=b"")  # as a player does not keep it either
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()
        if self._hasty and isinstance(event, ConnectionChanged) and event.retry_in_s is not None:
            # The back-off has tests of its own; not at once, so that it is no busy loop.
            self._timers.append(threading.Timer(0.05, self.session.retry_now))
            self._timers[-1].start()

    def ask(self) -> str:
        """Say something, or have it said; what came of it: "answered", "lost" or "nothing"."""
        if self._kind == "stt":
            number = utter(self.session, numbered(200))
        else:
            self._number = number = self._number + 1
            self.session.open_reply(number)
            self.session.add_text(number, "Hello there.")
            self.session.end_reply(number)
        with self._changed:
            self._changed.wait_for(lambda: self._outcome(number), ANSWERED_S)
            return self._outcome(number) or "nothing"

    def interrupt(self) -> None:
        """Cut a reply off that has begun."""
        self._number += 1
        self.session.open_reply(self._number)
        self.session.add_text(self._number, "Hello there.")
        time.sleep(0.05)
        self.session.interrupt(time.monotonic())

    def _outcome(self, number: int) -> str:
        for event in self.events:
            match event:
                case Final(utterance=n, text=text) if n == number:
                    return "answered" if text.endswith(WORDS) else f"another answer: {text!r}"
                case UtteranceLost(utterance=n, over=True) if n == number:
                    return "lost"
                case ReplyDone(reply=n) if n == number:
                    return "answered"
                case ReplyCut(reply=n) if n == number:
                    return "lost"
        return ""

    @property
    def reasons(self) -> list[str]:
        """Why connections failed."""
        changes = [event for event in self.events if isinstance(event, ConnectionChanged)]
        return [change.reason or "" for change in changes if change.state == "failed"]


def held_kib(name: str) -> int:
    """`VmRSS`, or `VmHWM`: the most since `begin_to_measure`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


def begin_to_measure() -> int:
    """Forget the most that was held; what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return held_kib("VmRSS")


CASES = [
    *(
        ("stt", name, UPGRADE)
        for name in (
            "headers without end",
            "a header without end",
            "100 Continue without end",
            "wrong accept",
            "deflate",
            "cookies",
            "cookie with another header in it",
            "nothing but line ends",
            "redirect 307",
            "200 without end",
            "404 of a petabyte",
            "length of 5,000 digits",
            "head of noise",
            "key in a refusal",
            "key in no HTTP",
            "retry after infinity",
        )
    ),
    ("stt", "byte by byte", UPGRADE),
    ("stt", "100,000 brackets", CONNECTED),
    ("stt", "ready with an id of 3 MB", CONNECTED),
    ("stt", "2^63 bytes announced", READY),
    ("stt", "4 MB of wide characters", READY),
    ("stt", "a million values", READY),
    ("stt", "integer of 5,000 digits", READY),
    ("stt", "lone surrogates", READY),
    ("stt", "no JSON without end", READY),
    ("stt", "pings for ever", READY),
    ("stt", "masked", READY),
    ("stt", "compressed", SPEECH),
    ("stt", "tiny fragments for ever", SPEECH),
    ("stt", "partials of 100,000 characters", SPEECH),
    ("stt", "finals without end", SPEECH),
    ("stt", "half a frame", FINALIZE),
    ("stt", "close of 1 byte", FINALIZE),
    ("stt", "key repeated", FINALIZE),
    ("tts", "20 MB binary", REPLY),
    ("tts", "ping of 10 MB", REPLY),
    ("tts", "1e999", REPLY),
    ("tts", "chunks without end", REPLY),
    ("tts", "sound without end", REPLY),
    ("tts", "chunks that skip", REPLY),
    ("tts", "4 MB at 4,000 Hz", REPLY),
    ("tts", "types without end", REPLY),
    ("tts", "sound that nobody asked for", CLEAR),
    ("tts", "continuation of nothing", CLEAR),
    ("tts", "close with no UTF-8", REPLY),
    ("tts", "close, and on for ever", GOODBYE),
]


@pytest.mark.timed
@pytest.mark.parametrize(("kind", "name", "moment"), CASES, ids=[f"{c[1]}-{c[2]}" for c in CASES])
def test_what_a_gateway_sends_costs_no_more_than_a_connection(
    hostile: HostileGateway, caplog: pytest.LogCaptureFixture, kind: str, name: str, moment: str
) -> None:
    """Bounds are kept, a reason is told where there is one, and the next question is answered."""
    act: Act = ACTS[name]
    hostile.plan(name, moment, kind=kind)
    before_kib = begin_to_measure()
    with caplog.at_level(logging.INFO, "slng_edge"), Watched(hostile.url, kind) as watched:
        if moment == CLEAR:
            watched.interrupt()
        first = watched.ask()
        assert first != "nothing"
        if moment == GOODBYE:
            watched.session.change_voice("another")  # which takes leave of the connection
        assert watched.ask() == "answered"
        assert held_kib("VmHWM") - before_kib < GROWTH_KIB
        assert watched.deaths == []
        counts = hostile.counts()
        assert (counts["struck"], counts["elsewhere"], counts["cookies"]) == (1, 0, 0)
        if act.why and moment != GOODBYE:
            assert act.why in " ".join(watched.reasons)
        assert all(len(reason) < 600 for reason in watched.reasons)
        assert len(caplog.records) <= LOG_LINES
        assert all(len(record.getMessage()) < 800 for record in caplog.records)
        assert KEY not in repr(watched.events) + caplog.text
    assert watched.deaths == []


@pytest.mark.timed
@pytest.mark.parametrize(
    ("kind", "name", "moment"),
    [
        ("stt", "empty messages for ever", READY),
        ("stt", "headers without end", UPGRADE),
        ("tts", "sound that nobody asked for", READY),
    ],
)
def test_one_that_is_hostile_each_time_does_not_keep_the_processor_busy(
    hostile: HostileGateway, caplog: pytest.LogCaptureFixture, kind: str, name: str, moment: str
) -> None:
    """Between two attempts there is the back-off; when it is good again, it is used."""
    hostile.plan(name, moment, kind=kind, times=10**6)
    began_at, began_cpu_s = time.monotonic(), time.process_time()
    with (
        caplog.at_level(logging.INFO, "slng_edge"),
        Watched(hostile.url, kind, hasty=False) as watched,
    ):
        time.sleep(2.0)
        burnt = (time.process_time() - began_cpu_s) / (time.monotonic() - began_at)
        assert burnt < 0.4
        assert 1 <= hostile.counts()["connections"] < 12
        assert len(caplog.records) <= LOG_LINES
        hostile.behave()
        watched.session.retry_now()
        # What is on its way of the flood may still come, and break the first.
        assert "answered" in (watched.ask(), watched.ask())
    assert watched.deaths == []


def test_what_is_no_tls_is_told() -> None:
    """Noise in place of the handshake, without an end."""

    def noise(peer: Any) -> None:
        try:
            for _ in range(1000):
                peer.sendall(bytes(range(256)) * 256)
        except OSError:
            return
        until_gone(peer)

    with server(noise) as port, Watched(f"wss://127.0.0.1:{port}", "stt", hasty=False) as watched:
        assert wait_until(lambda: watched.reasons)
        assert "does not speak TLS" in watched.reasons[0]
    assert watched.deaths == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500,
        b"A: " + b"b" * 1000,
        b"\x00\xff" * 500,
    ],
    ids=["100 Continue", "headers", "a header", "noise"],
)
def test_a_proxy_without_end_is_told(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a part of the time for dialling, and no more than is read of it."""

    def flood(peer: Any) -> None:
        peer.recv(65536)
        try:
            for _ in range(20_000):
                peer.sendall(answer)
        except OSError:
            return
        until_gone(peer)

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with server(flood) as port:
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        before_kib = begin_to_measure()
        with Watched("wss://gateway.invalid", "stt", hasty=False) as watched:
            assert wait_until(lambda: watched.reasons)
            assert "proxy" in watched.reasons[0] or "more than any" in watched.reasons[0]
        assert held_kib("VmHWM") - before_kib < GROWTH_KIB
    assert watched.deaths == []
