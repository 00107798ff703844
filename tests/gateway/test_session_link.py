"""What keeps a session connected: stopping in every moment, peers that stall, callbacks."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversation_scripts import (
    PATIENCE_S,
    Heard,
    config_for,
    conversation,
    gateway,
    numbered,
    spoken,
    wait_until,
)
from raw_server import send_text, server, until_gone, upgrade
from session_scripts import (
    assert_in_order,
    changes,
    complaints,
    finals,
    listening,
    say,
    sound_of,
    speaking,
    states,
    utter,
)

from slng_edge import SttSession, TtsSession
from slng_edge.errors import AuthenticationRejected, ConnectFailed, SessionClosed
from slng_edge.events import ConnectionChanged
from slng_edge.protocol.session_events import Final, ReplyAudio, ReplyDone
from slng_edge.simulator import Faults

STOP_S = 5.0


def stopped_in(session: SttSession | TtsSession) -> float:
    began = time.monotonic()
    session.stop()
    return time.monotonic() - began


@pytest.mark.timed
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


# Trying again


def test_retry_now_does_not_wait_for_the_gateways_retry_after() -> None:
    """Who knows better may ask for an attempt at once."""
    heard = Heard()
    with (
        gateway(faults=["stt:refuse=503@1", "stt:retry_after=60@1"]) as served,
        listening(served.url, heard) as stt,
    ):
        assert heard.wait_for(ConnectionChanged, state="failed").retry_in_s >= 60
        began = time.monotonic()
        stt.retry_now()
        heard.wait_for(ConnectionChanged, state="ready")
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_the_least_that_is_waited(status: int) -> None:
    """The jitter comes on top of what the gateway asked for; the event says both together."""
    heard = Heard()
    faults = [f"stt:refuse={status}@1", "stt:retry_after=1@1"]
    with gateway(faults=faults) as served, listening(served.url, heard):
        failed = heard.wait_for(ConnectionChanged, state="failed")
        began = time.monotonic()
        assert 1.0 <= failed.retry_in_s <= 2.0
        heard.wait_for(ConnectionChanged, state="ready")
        assert 0.9 < time.monotonic() - began < 3


def test_a_changed_key_file_is_noticed_while_the_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Within seconds, without a restart; the refusal is said once in the log, once as an error."""
    monkeypatch.setattr("slng_edge.gateway.session_link.KEY_POLL_S", 0.2)
    monkeypatch.delenv("SLNG_API_KEY", raising=False)
    key_file = tmp_path / "key"
    _write_key(key_file, "wrong-key-000")
    heard = Heard()
    with gateway("it works now", key="right-key-000") as served:
        config = config_for(served.url, f"gateway.api_key_file={key_file}")
        stt = SttSession(config, on_event=heard)
        stt.start()
        heard.wait_for(AuthenticationRejected)
        utter(stt, numbered(100))
        time.sleep(0.7)
        assert states(heard) == ["connecting", "failed"]
        _write_key(key_file, "right-key-000")
        assert heard.wait_for(Final).text == "it works now"
        stt.stop()
    assert sum(isinstance(event, AuthenticationRejected) for event in heard.events) == 1
    assert len(complaints(caplog)) == 1
    assert "wrong-key-000" not in caplog.text


def test_a_key_that_changes_while_it_is_being_refused_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the key that was refused, not the one that is there when that is known."""
    monkeypatch.setattr("slng_edge.gateway.session_link.KEY_POLL_S", 0.2)
    monkeypatch.delenv("SLNG_API_KEY", raising=False)
    key_file = tmp_path / "key"
    _write_key(key_file, "wrong-key-000")
    heard = Heard()

    def refuse(peer: socket.socket) -> None:
        peer.recv(65536)
        _write_key(key_file, "right-key-000")
        peer.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    with server(refuse) as port:
        config = config_for(f"ws://127.0.0.1:{port}", f"gateway.api_key_file={key_file}")
        stt = SttSession(config, on_event=heard)
        stt.start()
        heard.wait_for(AuthenticationRejected)
        heard.wait_for(ConnectionChanged, state="connecting")
        stt.stop()


def test_a_changed_provider_key_is_noticed_while_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a key like the other: another one is tried at once."""
    monkeypatch.setattr("slng_edge.gateway.session_link.KEY_POLL_S", 0.2)
    key_file = tmp_path / "provider"
    _write_key(key_file, "wrong-key-111")
    heard = Heard()
    with gateway("it works now", faults=["refuse=401@1"]) as served:
        config = config_for(
            served.url, f"gateway.provider_key_file={key_file}", "stt.model=deepgram/nova:3"
        )
        stt = SttSession(config, api_key="", on_event=heard)
        stt.start()
        heard.wait_for(AuthenticationRejected)
        _write_key(key_file, "right-key-111")
        heard.wait_for(ConnectionChanged, state="ready")
        stt.stop()


def test_a_peer_that_freezes_soon_after_ready_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once at the beginning, so that its silence counts from then on."""
    monkeypatch.setattr("slng_edge.gateway.liveness.PING_AFTER_S", 0.6)
    monkeypatch.setattr("slng_edge.gateway.liveness.ANSWER_S", 0.4)
    heard = Heard()
    with gateway(faults=["half_open=2@1"]) as served:
        config = config_for(served.url, "stt.keepalive_s=0.3")
        stt = SttSession(config, api_key="", on_event=heard)
        stt.start()
        heard.wait_for(ConnectionChanged, state="ready")
        failed = heard.wait_for(ConnectionChanged, state="failed")
        assert "does not answer a ping" in failed.reason
        stt.stop()


def _write_key(path: Path, key: str) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(key)
    draft.chmod(0o600)
    os.replace(draft, path)


@pytest.mark.parametrize("fault", ["refuse=401", "refuse=400", "close_after=1:4000"])
def test_a_final_refusal_is_said_once_on_every_surface(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An event with the next attempt far off, the error itself, one line in the log."""
    heard = Heard()
    with gateway(faults=[f"stt:{fault}"]) as served, listening(served.url, heard) as stt:
        failed = heard.wait_for(ConnectionChanged, state="failed")
        assert failed.retry_in_s >= 600
        assert wait_until(lambda: stt._link.last_error is not None)
        time.sleep(0.3)
        errors = [event for event in heard.events if isinstance(event, Exception)]
        assert [str(error) for error in errors] == [failed.reason]
        assert complaints(caplog) == [f"stt: {failed.reason}"]
        assert states(heard).count("connecting") == 1


def test_the_same_failure_again_and_again_is_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And one more when it is over."""
    caplog.set_level("INFO", logger="slng_edge.gateway")
    heard = Heard()
    with gateway(faults=["stt:refuse=503@1-5"]) as served, listening(served.url, heard) as stt:
        assert wait_until(lambda: stt.retry_now() or "ready" in states(heard))
        assert states(heard).count("failed") == 5
    said = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("slng_edge.gateway")
    ]
    assert len([line for line in said if "503" in line]) == 1
    assert said[-1] == "stt: connected again"


def test_a_gateway_that_is_ready_and_then_fails_is_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`ready` alone is no recovery; words are."""
    caplog.set_level("INFO", logger="slng_edge.gateway")
    heard = Heard()
    faults = ["stt:ready_then_error=provider_error@1-5"]
    with gateway("words", faults=faults) as served, listening(served.url, heard) as stt:
        assert wait_until(lambda: stt.retry_now() or states(heard).count("failed") >= 5)
        utter(stt, numbered(100))
        assert wait_until(lambda: stt.retry_now() or finals(heard))
    said = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("slng_edge.gateway")
    ]
    assert len([line for line in said if "provider_error" in line]) == 1
    assert said[-1] == "stt: works again"
    assert_in_order(heard)


# Callbacks


@pytest.mark.parametrize("state", ["connecting", "ready"])
def test_a_callback_that_raises_in_the_links_thread(state: str) -> None:
    """The thread's death is told, and `stop` returns as ever."""
    deaths: list[tuple[str, BaseException]] = []

    def on_event(event: Any) -> None:
        if isinstance(event, ConnectionChanged) and event.state == state:
            raise KeyError("a mistake")

    with (
        gateway() as served,
        listening(served.url, on_event, on_death=lambda *death: deaths.append(death)) as stt,
    ):
        assert wait_until(lambda: deaths)
        assert deaths[0][0] == "stt-link"
        assert stopped_in(stt) < STOP_S


def test_a_callback_that_raises_in_a_send_thread() -> None:
    """What the passing of time brings is told there: the session goes on without that thread."""
    deaths: list[str] = []
    heard = Heard()

    def on_event(event: Any) -> None:
        heard(event)
        if type(event).__name__ == "UtteranceLost":
            raise KeyError("a mistake")

    with (
        gateway("heard", faults=["stt:no_final=all@1-2"]) as served,
        listening(
            served.url,
            on_event,
            "stt.final_timeout_s=0.2",
            on_death=lambda name, _: deaths.append(name),
        ) as stt,
    ):
        utter(stt, numbered(100))
        assert wait_until(lambda: deaths)
        assert deaths == ["stt-send"]
        utter(stt, numbered(200))
        assert wait_until(lambda: stt.retry_now() or finals(heard))
        assert stopped_in(stt) < STOP_S


@pytest.mark.parametrize("state", ["connecting", "ready", "failed", "closed"])
def test_stop_from_the_callback_of_a_change(state: str) -> None:
    """In whichever thread it comes: `stop` returns at once, and all ends."""
    holder: list[SttSession] = []
    deaths: list[Any] = []
    done = threading.Event()

    def on_event(event: Any) -> None:
        if isinstance(event, ConnectionChanged) and event.state == state and not done.is_set():
            holder[0].stop()
            done.set()

    faults = {"failed": ["stt:reset_after=2"], "closed": ["stt:close_after=2:1000"]}
    with gateway(faults=faults.get(state, [])) as served:
        stt = SttSession(
            config_for(served.url),
            api_key="",
            on_event=on_event,
            on_death=lambda *death: deaths.append(death),
        )
        holder.append(stt)
        stt.start()
        utter(stt, numbered(100))
        assert done.wait(PATIENCE_S)
        assert stopped_in(stt) < STOP_S
        assert deaths == []


def test_nothing_of_a_connection_is_told_before_its_ready() -> None:
    """However slow the callback is with it: the words of what waited come after."""
    heard = Heard()

    def slow(event: Any) -> None:
        if isinstance(event, ConnectionChanged) and event.state == "ready":
            time.sleep(0.2)
        heard(event)

    with gateway() as served, listening(served.url, slow, start=False) as stt:
        utter(stt, numbered(100))
        stt.start()
        heard.wait_for(Final)
    assert_in_order(heard)


@pytest.mark.parametrize("seed", range(3))
def test_events_stay_in_order_however_connections_end(seed: int) -> None:
    """Cuts and closes in any moment, both sessions at work: never one of an old connection."""
    heard, spoke = Heard(), Heard()
    with (
        gateway(faults=["pace=5"]) as served,
        listening(served.url, heard) as stt,
        speaking(served.url, spoke, "tts.warm_standby=true") as tts,
    ):
        rng = np.random.default_rng(seed)
        for number in range(12):
            utter(stt, numbered(100))
            say(tts, number, f"reply {number}")
            time.sleep(float(rng.uniform(0.0, 0.06)))
            served.drop_all()
            stt.retry_now()
            tts.retry_now()
        assert wait_until(lambda: stt.retry_now() or len(finals(heard)) == 12)
        assert wait_until(lambda: tts.retry_now() or not tts._exchange.pressing)
    assert_in_order(heard)
    assert_in_order(spoke)


# Stop


STT_PHASES: dict[str, tuple[list[str], Callable[[Any], Any]]] = {
    "refused": (["stt:refuse=503"], lambda heard: "failed" in states(heard)),
    "never ready": (["stt:never_ready"], lambda heard: "connecting" in states(heard)),
    "ready": ([], lambda heard: "ready" in states(heard)),
    "final awaited": (["stt:no_final=all"], lambda heard: "ready" in states(heard)),
    "frozen": (["stt:stall=2"], lambda heard: "ready" in states(heard)),
    "swallowed": (["stt:half_open=2"], lambda heard: "ready" in states(heard)),
    "closed again and again": (["stt:close_after=1:1000"], lambda heard: "closed" in states(heard)),
}


@pytest.mark.parametrize("phase", list(STT_PHASES))
def test_stop_in_every_phase(phase: str) -> None:
    """In time, with speech under way; the fixture looks for threads and sockets."""
    faults, reached = STT_PHASES[phase]
    heard = Heard()
    with gateway(faults=faults) as served, listening(served.url, heard) as stt:
        utter(stt, numbered(500))
        assert wait_until(lambda: reached(heard))
        assert stopped_in(stt) < STOP_S


@pytest.mark.parametrize("fault", ["stall=2", "half_open=1", "never_ready"])
def test_stop_with_a_standby_at_a_gateway_that_is_dead(fault: str) -> None:
    """Several connections that nobody answers on do not add up."""
    heard = Heard()
    faults = [f"tts:{fault}"]
    with (
        gateway(faults=faults) as served,
        speaking(served.url, heard, "tts.warm_standby=true") as tts,
    ):
        say(tts, 1, "nobody answers")
        time.sleep(0.3)
        assert stopped_in(tts) < STOP_S


def test_stop_ends_a_wait_for_speech() -> None:
    """Who iterates in another thread gets an error, and does not wait for ever."""
    caught: list[BaseException] = []
    with gateway(faults=["tts:first_audio_delay=60000", "stt:no_final"]) as served:
        tts = TtsSession(config_for(served.url), api_key="")
        stt = SttSession(config_for(served.url), api_key="")
        tts.start()
        stt.start()

        def catch(iterate: Callable[[], Any]) -> None:
            try:
                iterate()
            except SessionClosed as error:
                caught.append(error)

        threads = [
            threading.Thread(target=catch, args=(lambda: list(tts.speak("hello")),)),
            threading.Thread(target=catch, args=(lambda: list(stt.transcribe([bytes(640)])),)),
        ]
        for thread in threads:
            thread.start()
        assert served.wait_for(
            lambda: (
                sum(len(record.of_type("client", "flush")) for record in served.connections)
                and sum(len(record.of_type("client", "finalize")) for record in served.connections)
            ),
            PATIENCE_S,
        )
        tts.stop()
        stt.stop()
        for thread in threads:
            thread.join(2)
        assert [str(error) for error in caught] == ["the session was stopped"] * 2


def test_a_session_takes_leave_politely_when_it_is_replaced_or_stopped() -> None:
    """`close` of the dialect, then a close frame: the gateway sees 1000, not a broken line."""
    heard = Heard()
    with gateway("one", faults=["stt:ready_delay=1"]) as served:
        with listening(served.url, heard) as stt:
            utter(stt, numbered(100))
            heard.wait_for(Final)
        assert wait_until(lambda: served.connections[0].close_code is not None)
        [record] = served.connections
        assert len(record.of_type("client", "close")) == 1
        assert record.close_code == 1000


# Mending what was too large: nothing of it is lost, nor out of order


def test_what_was_too_large_does_not_change_the_order_of_replies() -> None:
    """The first reply goes out again in halves; the second one waits for it."""
    heard = Heard()
    long = "word " * 80 + "end."
    with (
        gateway(faults=["tts:message_limit=300@1"]) as served,
        speaking(served.url, heard, "tts.model=slng/rime/arcana:3-en") as tts,
    ):
        say(tts, 1, long)
        say(tts, 2, "short")
        heard.wait_for(ReplyDone, reply=1)
        heard.wait_for(ReplyDone, reply=2)
        assert np.array_equal(sound_of(heard, 2), spoken("short"))
        order = [event.reply for event in heard.events if isinstance(event, ReplyAudio)]
        assert order == sorted(order)
        [closed] = [change for change in changes(heard) if change.state == "closed"]
        assert closed.retry_in_s is None


def test_a_refused_key_is_told_by_the_loop_and_forgotten_when_it_is_right() -> None:
    """The state says "error", and "idle" as soon as the gateway lets both in."""
    with (
        gateway(faults=["refuse=401"]) as served,
        conversation(config_for(served.url)) as (loop, recorder),
    ):
        recorder.wait_for("state", state="error")
        for session in ("stt", "tts"):  # an attempt that is under way is not made again
            recorder.wait_for("connection", session=session, state="failed")
        served.faults = Faults()
        loop._stt.retry_now()
        loop._tts.retry_now()
        recorder.wait_for("state", state="idle")
