"""What keeps a session connected: stopping in every moment, peers that stall, callbacks."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
from conversation_scripts import PATIENCE_S, Heard, config_for, gateway, numbered, wait_until
from raw_server import send_text, server, until_gone, upgrade

from slng_edge import SttSession, TtsSession
from slng_edge.errors import ConnectFailed
from slng_edge.events import ConnectionChanged
from slng_edge.protocol.session_events import Final

STOP_S = 5.0


def stopped_in(session: SttSession | TtsSession) -> float:
    began = time.monotonic()
    session.stop()
    return time.monotonic() - began


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_stop_ends_dialling(scheme: str) -> None:
    """A server that accepts and never answers does not hold `stop` up."""
    with server(until_gone) as port:
        heard = Heard()
        stt = SttSession(config_for(f"{scheme}://127.0.0.1:{port}"), api_key="", on_event=heard)
        stt.start()
        heard.wait_for(ConnectionChanged, state="connecting")
        assert stopped_in(stt) < 1


def test_stop_in_the_moment_of_starting() -> None:
    """However early it comes, the session ends, and leaves no socket."""
    with gateway() as served:
        for _ in range(30):
            stt = SttSession(config_for(served.url), api_key="", on_event=lambda event: None)
            stt.start()
            assert stopped_in(stt) < 2


def test_stop_ends_a_send_to_a_peer_that_stalls() -> None:
    """Buffers full, nobody reads: the goodbye cannot be sent, and `stop` returns all the same."""
    release = threading.Event()

    def stall(peer: socket.socket) -> None:
        upgrade(peer)
        send_text(peer, '{"type":"ready"}')
        release.wait(30)

    with server(stall) as port:
        stt = SttSession(
            config_for(f"ws://127.0.0.1:{port}", "stt.offline_keep_s=600"),
            api_key="",
            on_event=lambda event: None,
        )
        stt.start()
        stt.wait_ready(PATIENCE_S)
        utterance = stt.open_utterance()
        second = numbered(1000)
        for _ in range(400):
            stt.add_audio(utterance, second)
        left = [0.0]

        def stands_still() -> bool:
            before, left[0] = left[0], stt._exchange.unsent_ms
            return before == left[0] > 0

        assert wait_until(lambda: stands_still() and not time.sleep(0.1))
        assert stopped_in(stt) < STOP_S
        release.set()


def test_stop_does_not_wait_for_ever_for_the_answer_to_a_close() -> None:
    """A peer that reads and never answers the close frame costs a second or two."""

    def ready(peer: socket.socket) -> None:
        upgrade(peer)
        send_text(peer, '{"type":"ready"}')
        until_gone(peer)

    with server(ready) as port:
        tts = TtsSession(config_for(f"ws://127.0.0.1:{port}"), api_key="")
        tts.start()
        tts.wait_ready(PATIENCE_S)
        assert stopped_in(tts) < STOP_S


def test_stop_ends_the_wait_for_the_next_attempt() -> None:
    """A session in its back-off stops at once."""
    with gateway(faults=["refuse=503", "retry_after=60"]) as served:
        heard = Heard()
        stt = SttSession(config_for(served.url), api_key="", on_event=heard)
        stt.start()
        heard.wait_for(ConnectionChanged, state="failed")
        assert stopped_in(stt) < 1


def test_an_event_says_each_step_once() -> None:
    """connecting, ready, failed, connecting, ready, closed: with what is known of each."""
    heard = Heard()
    with gateway() as served:
        stt = SttSession(config_for(served.url), api_key="", on_event=heard)
        stt.start()
        heard.wait_for(ConnectionChanged, state="ready")
        served.drop_all()
        heard.wait_for(ConnectionChanged, state="failed")
        stt.retry_now()
        heard.wait_for(ConnectionChanged, state="ready")
        stt.stop()
    assert [event.state for event in heard.events] == [
        *("connecting", "ready", "failed", "connecting", "ready", "closed")
    ]
    ready, failed, closed = heard.events[1], heard.events[2], heard.events[-1]
    assert ready.session_id.startswith("local_")
    assert (failed.code, failed.retry_in_s is not None) == (1006, True)
    assert (closed.code, closed.reason) == (1000, None)


def test_a_close_with_1000_that_nobody_asked_for_is_closed_and_retried() -> None:
    """A server that goes away with 1000 is not a failure, but it is waited for."""
    heard = Heard()
    with gateway(faults=["close_after=1:1000@1"]) as served:
        stt = SttSession(config_for(served.url), api_key="", on_event=heard)
        stt.start()
        closed = heard.wait_for(ConnectionChanged, state="closed")
        assert closed.retry_in_s is not None
        stt.retry_now()
        heard.wait_for(ConnectionChanged, state="ready")
        stt.stop()


@pytest.mark.parametrize("code", [1011, 1012, 1013])
def test_a_server_in_trouble_is_tried_again(code: int) -> None:
    """The close code is in the event, and the next attempt comes."""
    heard = Heard()
    with gateway(faults=[f"close_after=1:{code}@1"]) as served:
        stt = SttSession(config_for(served.url), api_key="", on_event=heard)
        stt.start()
        failed = heard.wait_for(ConnectionChanged, state="failed")
        assert (failed.code, failed.retry_in_s <= 1.0) == (code, True)
        heard.wait_for(ConnectionChanged, state="ready")
        stt.stop()


@pytest.mark.parametrize("code", [1008, 4000])
def test_a_close_that_is_final_is_not_retried(code: int) -> None:
    """Policy and authentication: the next attempt is ten minutes away."""
    heard = Heard()
    with gateway(faults=[f"close_after=1:{code}@1"]) as served:
        stt = SttSession(config_for(served.url), api_key="", on_event=heard)
        stt.start()
        assert heard.wait_for(ConnectionChanged, state="failed").retry_in_s >= 600
        stt.stop()


def test_a_callback_that_raises_is_told_and_the_session_can_be_stopped() -> None:
    """A mistake of the caller's ends the thread, and the caller is told which."""
    deaths: list[tuple[str, BaseException]] = []

    def on_event(event: Any) -> None:
        if isinstance(event, Final):
            raise KeyError("a mistake")

    with gateway() as served:
        stt = SttSession(
            config_for(served.url),
            api_key="",
            on_event=on_event,
            on_death=lambda *death: deaths.append(death),
        )
        stt.start()
        utterance = stt.open_utterance()
        stt.add_audio(utterance, numbered(100))
        stt.end_utterance(utterance, time.monotonic())
        assert wait_until(lambda: deaths)
        name, error = deaths[0]
        assert (name, type(error)) == ("stt-receive", KeyError)
        assert stopped_in(stt) < STOP_S


def test_wait_ready_gives_up_in_time() -> None:
    """Its own timeout, while the first attempt is still under way."""
    with server(until_gone) as port:
        stt = SttSession(config_for(f"ws://127.0.0.1:{port}"), api_key="")
        stt.start()
        with pytest.raises(ConnectFailed, match=r"not ready within 0\.2 s"):
            stt.wait_ready(0.2)
        stt.stop()


def test_wait_ready_does_not_repeat_an_old_failure() -> None:
    """A failure that a later `ready` has ended is forgotten."""
    heard = Heard()
    with gateway(faults=["refuse=503@1"]) as served:
        stt = SttSession(config_for(served.url), api_key="", on_event=heard)
        stt.start()
        heard.wait_for(ConnectionChanged, state="ready")
        assert stt._link.last_error is None
        stt.wait_ready(0.0)
        stt.stop()


def test_many_sessions_come_and_go_without_a_trace() -> None:
    """Forty sessions against one gateway: the fixture counts threads and sockets."""
    with gateway() as served:
        for number in range(20):
            config = config_for(served.url)
            with SttSession(config, api_key="") as stt, TtsSession(config, api_key="") as tts:
                if number % 2:
                    stt.wait_ready(PATIENCE_S)
                    tts.wait_ready(PATIENCE_S)
