"""Who brings live speech never waits for the network, and a connection that dies loses none."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from conversation_scripts import PATIENCE_S, Heard, gateway, numbered
from raw_server import read_frame, send_text, server, upgrade
from session_scripts import listening

from slng_edge.events import ConnectionChanged
from slng_edge.gateway.stt_session import SttSession
from slng_edge.protocol.session_events import Final

FRAME = 320
FRAMES = 100


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
def test_a_connection_that_a_frame_finds_dead_is_replaced() -> None:
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


def test_a_frame_that_is_not_sent_is_sent_again() -> None:
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
