"""Live speech is sent by the thread that brings it, which never waits for the network."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conversation_scripts import PATIENCE_S, Heard, gateway, numbered, wait_until
from raw_server import read_frame, send_text, server, upgrade
from session_scripts import listening

from slng_edge.errors import SlngEdgeError
from slng_edge.events import ConnectionChanged
from slng_edge.gateway.connection import DialSettings
from slng_edge.gateway.lane import Lane
from slng_edge.gateway.stt_session import SttSession
from slng_edge.protocol.routes import Endpoint
from slng_edge.protocol.session_events import Final

FRAME = 320
FRAMES = 100


def wake_ups(name: str) -> int:
    """Voluntary context switches so far of the threads of that name in this process."""
    tasks = [thread.native_id for thread in threading.enumerate() if thread.name == name]
    assert tasks
    status = "".join(Path(f"/proc/self/task/{task}/status").read_text() for task in tasks)
    lines = [line for line in status.splitlines() if line.startswith("voluntary")]
    return sum(int(line.split()[1]) for line in lines)


def speak(stt: SttSession, utterance: int, frames: int, *, from_frame: int = 0) -> None:
    """Frame after frame, a little faster than it is spoken."""
    samples = numbered(20 * frames, start=from_frame * FRAME)
    for at in range(0, len(samples), FRAME):
        stt.add_audio(utterance, samples[at : at + FRAME])
        time.sleep(0.005)


def hang(peer: socket.socket, over: threading.Event) -> None:
    """A gateway that is ready, and takes nothing and says nothing from then on."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    upgrade(peer)
    read_frame(peer)
    send_text(peer, '{"type":"ready"}')
    over.wait(PATIENCE_S)


def test_nobody_is_woken_to_send_what_is_spoken() -> None:
    """A hundred frames: each is on the wire in order, and the send thread sleeps."""
    heard = Heard()
    with gateway("all of it") as served, listening(served.url, heard) as stt:
        stt.wait_ready(PATIENCE_S)
        utterance = stt.open_utterance()
        speak(stt, utterance, 5)
        before = wake_ups("stt-send")
        speak(stt, utterance, FRAMES, from_frame=5)
        assert wake_ups("stt-send") - before < FRAMES / 5
        stt.end_utterance(utterance, time.monotonic())
        assert heard.wait_for(Final).text == "all of it"
        [record] = served.connections
        assert record.audio == numbered(20 * (5 + FRAMES)).tobytes()


@pytest.mark.timed
def test_who_brings_speech_does_not_wait_for_a_peer_that_takes_nothing() -> None:
    """Every buffer on the way fills up: a frame is handed over all the same, and kept."""
    over = threading.Event()
    with server(lambda peer: hang(peer, over)) as port:
        longest_s = 0.0
        with listening(f"ws://127.0.0.1:{port}", Heard(), "stt.offline_keep_s=600") as stt:
            stt.wait_ready(PATIENCE_S)
            utterance = stt.open_utterance()
            frame = numbered(20)
            full = False
            for _ in range(30_000):
                began = time.monotonic()
                stt.add_audio(utterance, frame)
                longest_s = max(longest_s, time.monotonic() - began)
                full = stt._exchange.unsent_ms > 1000
                if full:
                    break
            assert full  # in the session, as there is no room on the way
            assert longest_s < 2.0  # a send to such a peer waits for 8 s
            over.set()


@pytest.mark.timed
def test_a_connection_that_a_pushed_frame_finds_dead_is_replaced() -> None:
    """Only sending fails, and a peer that hangs does not hang up: told with that very frame."""
    over = threading.Event()
    heard = Heard()
    with (
        server(lambda peer: hang(peer, over)) as port,
        listening(f"ws://127.0.0.1:{port}", heard, "stt.keepalive_s=30") as stt,
    ):
        stt.wait_ready(PATIENCE_S)
        utterance = stt.open_utterance()
        speak(stt, utterance, 10)
        lane = stt._link._active
        assert lane is not None
        lane._connection._stream._sock.shutdown(socket.SHUT_WR)
        began = time.monotonic()
        speak(stt, utterance, 1)
        change = heard.wait_for(ConnectionChanged, state="failed")
        assert time.monotonic() - began < 2.0
        assert "sending failed" in change.reason
        over.set()


def test_a_pushed_frame_that_is_not_sent_is_sent_again() -> None:
    """The next connection gets all of the utterance, once."""
    heard = Heard()
    with gateway("all of it") as served, listening(served.url, heard) as stt:
        stt.wait_ready(PATIENCE_S)
        utterance = stt.open_utterance()
        speak(stt, utterance, 10)
        lane = stt._link._active
        assert lane is not None
        lane._connection._stream._sock.shutdown(socket.SHUT_WR)
        speak(stt, utterance, 10, from_frame=10)
        heard.wait_for(ConnectionChanged, state="failed")
        stt.retry_now()
        stt.end_utterance(utterance, time.monotonic())
        assert heard.wait_for(Final).text == "all of it"
        assert served.connections[-1].audio == numbered(20 * 20).tobytes()


class Counting:
    """Drives a lane with numbers, as many as are `due`. See `Driver`."""

    def __init__(self) -> None:
        self.due = self.sent = 0

    def receive(self, message: str | bytes, now: float) -> tuple[()]:
        return ()

    def next_message(self, now: float) -> bytes | None:
        if self.sent == self.due:
            return None
        self.sent += 1
        return self.sent.to_bytes(4)

    def deadline(self) -> None:
        return None

    def expire(self, now: float) -> tuple[()]:
        return ()

    def farewell(self) -> None:
        return None


class Alone:
    """Whose lane it is. See `LaneOwner`."""

    def lane_delivers(self, lane: Lane, events: Sequence[Any]) -> None: ...
    def lane_changed(self) -> None: ...
    def lane_ended(self, lane: Lane, error: SlngEdgeError) -> None: ...


def test_whoever_sends_messages_keep_their_order() -> None:
    """Four threads push what is due, and the send thread is woken again and again beside them."""
    count = 1000
    came: list[int] = []

    def read_all(peer: socket.socket) -> None:
        upgrade(peer)
        while len(came) < count:
            came.append(int.from_bytes(read_frame(peer)[1]))

    lock, numbers = threading.Lock(), Counting()
    with server(read_all) as port:
        lane = Lane(
            "stt",
            "a model",
            lock=lock,
            owner=Alone(),
            endpoint=lambda: Endpoint(f"ws://127.0.0.1:{port}", ()),
            settings=DialSettings(),
            greet=lambda now: numbers,
            on_death=None,
        )

        def push() -> None:
            for _ in range(count // 4):
                with lock:
                    numbers.due += 1
                lane.push()

        send = lane._connection.send

        def send_late(message: str | bytes) -> None:
            # What the system does now and then: it lets others run just here.
            time.sleep(random.uniform(0.0, 0.0005))
            send(message)

        lane._connection.send = send_late  # type: ignore[method-assign]
        pushing = [threading.Thread(target=push) for _ in range(4)]
        lane.start()
        assert wait_until(lambda: lane.driver is not None)
        for thread in pushing:
            thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while len(came) < count and time.monotonic() < deadline:
            with lock:
                lane.notify()
            time.sleep(0.005)
        lane.stop(PATIENCE_S)
    assert came == list(range(1, count + 1))
