"""Running the sessions of connections that were let in, each in its connection's thread."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING

from slng_edge.simulator.admission import Admitted
from slng_edge.simulator.classic_stt_session import ClassicSttLink
from slng_edge.simulator.classic_tts_session import ClassicTtsLink
from slng_edge.simulator.history import ConnectionRecord, HeaderMap, History
from slng_edge.simulator.limits import TierLimits
from slng_edge.simulator.link import Link
from slng_edge.simulator.recognition import Recognizer
from slng_edge.simulator.recording import RecordFolder
from slng_edge.simulator.stt_session import SttSession
from slng_edge.simulator.synthesizers import Synthesizer
from slng_edge.simulator.tts_session import TtsSession
from slng_edge.simulator.wire import WebSocketWire

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

log = logging.getLogger(__name__)


class Sessions:
    """The engines and rules that all sessions share, and the sessions that run.

    Args:
        recognizer: For speech-to-text.
        synthesizer: For text-to-speech.
        limits: What clients have to stay inside.
        folder: Where connections are recorded, or None.
        history: Where they are remembered.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        synthesizer: Synthesizer,
        limits: TierLimits,
        folder: RecordFolder | None,
        history: History,
    ) -> None:
        self._recognizer, self._synthesizer = recognizer, synthesizer
        self._limits, self._folder, self._history = limits, folder, history
        self._lock = threading.Lock()
        self._running: dict[Link, threading.Thread] = {}

    def running(self) -> dict[Link, threading.Thread]:
        """The open links and their threads, now."""
        with self._lock:
            return dict(self._running)

    def serve(
        self, websocket: ServerConnection, admitted: Admitted, closed_error: type[Exception]
    ) -> None:
        """Serve one connection until it ends, in the calling thread.

        Args:
            websocket: The connection.
            admitted: What it was let in for.
            closed_error: What the library raises when it is closed.
        """
        route, number = admitted.route, admitted.number
        name = f"gateway-{route.kind}-{number}"
        threading.current_thread().name = name
        websocket.recv_events_thread.name = f"{name}-receive"
        request = websocket.request
        record = ConnectionRecord(
            route.kind,
            number,
            route.path,
            route.model,
            HeaderMap(request.headers.raw_items() if request else ()),
            changed=self._history.changed,
            keep=self._history.keep,
            tape=self._folder.tape(route.kind, route.model) if self._folder else None,
        )
        wire = WebSocketWire(websocket, closed_error)
        link = self._link(wire, record, admitted)
        with self._lock:
            self._running[link] = threading.current_thread()
        self._history.add(record)
        try:
            self._session(link).run()
        except Exception:
            log.exception("%s failed", name)
            link.close(1011, "internal error")
        finally:
            link.end()
            wire.close(1000, "")
            with self._lock:
                del self._running[link]
            self._history.end(record, wire.close_code)
            log.info(
                "%s connection %d: %s, %.1f s, %d messages, %d bytes of audio, closed with %d",
                route.kind,
                number,
                route.model,
                time.monotonic() - record.opened_at,
                record.message_count,
                record.audio_bytes,
                wire.close_code,
            )

    def _link(self, wire: WebSocketWire, record: ConnectionRecord, admitted: Admitted) -> Link:
        """The link that speaks the dialect asked for; the sessions above know only one."""
        if not admitted.route.classic:
            return Link(wire, record, admitted.faults, self._limits)
        if record.kind == "stt":
            language = admitted.route.language
            return ClassicSttLink(wire, record, admitted.faults, self._limits, language)
        return ClassicTtsLink(wire, record, admitted.faults, self._limits)

    def _session(self, link: Link) -> SttSession | TtsSession:
        session_id = f"local_{uuid.uuid4().hex[:12]}"
        if link.record.kind == "stt":
            return SttSession(link, self._recognizer, session_id)
        return TtsSession(link, self._synthesizer, session_id)
