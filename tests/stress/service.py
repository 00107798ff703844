"""A whole service: control clients, a status page, hooks and reloads, until a signal ends it."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import stat
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from conversation_scripts import config_for, wait_until
from labelled_sound import LabelledReplies, LabelReader, answer_to, labelled_voice
from stress.outcome import Crowd, Outcome
from stress.room import Room, devices_of, heard_wrong

from slng_edge.cli.control_connection import ControlConnection
from slng_edge.config import Config
from slng_edge.errors import ControlError
from slng_edge.pcm import Samples
from slng_edge.service.kept_settings import KeptSettings
from slng_edge.service.supervisor import Supervisor
from slng_edge.simulator import Faults, LocalGateway

END_S = 5.0
"""What `run` promises for its end."""
SLACK_S = 1.5
"""For the delays of each step, and a machine that others use."""


class _Echoes(LabelledReplies):
    """Speaks what a muted utterance left of its words, too: as silence."""

    def synthesize(
        self, text: str, rate_hz: int, *, speed: float = 1.0, language: str = ""
    ) -> Samples:
        """See `Synthesizer`."""
        try:
            return super().synthesize(text, rate_hz, speed=speed, language=language)
        except AssertionError:
            return np.zeros(rate_hz // 10, dtype=np.int16)


def service(outcome: Outcome, folder: Path, seed: int, turns: int) -> None:
    """Lives of a service, each of `turns` voices; the last one ends by SIGTERM."""
    rng = random.Random(seed)
    room = Room()
    voices = {number: labelled_voice(number, 400) for number in range(turns)}
    served = LocalGateway(
        stt=LabelReader(voices), tts=_Echoes(defaultdict(lambda: 300.0)), keep_history=False
    )
    path, port = str(folder / "control"), _free_port()
    hook = [f"hooks.state={json.dumps([sys.executable, '-c', 'pass'])}"]

    def configuration(number: int) -> Config:
        return config_for(
            served.url,
            "audio.input=default",
            "audio.output=default",
            f"control.socket={path}",
            f"status_page.listen=127.0.0.1:{port}",
            f"vad.stop_ms={200 + 20 * (number % 3)}",
            "stt.final_timeout_s=1.0",
            "tts.first_audio_timeout_s=2.0",
            "gateway.connect_timeout_s=2.0",
            f"responder.kind={'echo' if number % 2 else 'command'}",
            f"responder.command={json.dumps(['cat'])}",
            *(hook if number % 4 == 1 else []),
        )

    read = iter(range(1, 10**6))
    kept = folder / "kept" / "settings.json"
    kept.parent.mkdir()
    with outcome.nothing_left("a service"), devices_of(room), served:
        with open(folder / "events.jsonl", "w", encoding="utf-8") as events:
            supervisor = Supervisor(
                configuration(0),
                # The same one now and then: that connects anew and changes nothing.
                reload=lambda: configuration(next(read) // 2),
                events=events,
                kept=KeptSettings(kept),
            )
            ended_at: list[float] = []
            driver = threading.Thread(
                target=_drive,
                args=(outcome, rng, room, served, (path, port), turns, ended_at),
                name="driver",
            )
            driver.start()
            handlers = {number: signal.getsignal(number) for number in _SIGNALS}
            try:
                # The key of a session is read from here.
                os.environ["SLNG_API_KEY"] = "key-of-the-stress-run"
                supervisor.run()
                outcome.check(ended_at, "the service ended by itself")
            finally:
                del os.environ["SLNG_API_KEY"]
                for number, handler in handlers.items():
                    signal.signal(number, handler)
            if ended_at:
                took_s = time.monotonic() - ended_at[0]
                outcome.check(took_s < END_S + SLACK_S, f"SIGTERM took {took_s:.1f} s")
            driver.join(30)
            outcome.check(not driver.is_alive(), "the driver does not come back")
        outcome.check(not Path(path).exists(), "the control socket is left")
    said = (folder / "events.jsonl").read_text().splitlines()
    times = [json.loads(line)["t"] for line in said]
    outcome.check(times == sorted(times), "events out of order")
    outcome.check(not kept.exists() or json.loads(kept.read_text()), "the kept settings")
    # A reply may be cut by a reload, and its question comes never again.
    outcome.violations += heard_wrong(room.heard())
    outcome.counts.update({"conversations": 1, "services": 1, "events": len(said)})


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _drive(
    outcome: Outcome,
    rng: random.Random,
    room: Room,
    served: LocalGateway,
    where: tuple[str, int],
    turns: int,
    ended_at: list[float],
) -> None:
    try:
        path, port = where
        up = wait_until(lambda: Path(path).exists() and stat.S_ISSOCK(os.stat(path).st_mode), 10)
        outcome.check(up, "there is no control socket")
        with _clients(outcome, rng, path, port):
            for number in range(turns):
                room.say(number, 400)
                time.sleep(rng.choice((0.5, 1.0, 1.6)))
                served.faults = Faults(*rng.choice(((), (f"random={rng.randrange(10**6)}:60",))))
                if rng.random() < 0.3:
                    served.drop_all()
                if rng.random() < 0.3:
                    os.kill(os.getpid(), signal.SIGHUP)
        with ControlConnection(path) as control:
            control.ask("unmute")
            outcome.check(control.ask("status")["state"], "no state")
    except BaseException as error:  # noqa: BLE001 - it is told
        outcome.violations.append(f"the driver: {error!r}")
    finally:
        ended_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)


def _clients(outcome: Outcome, rng: random.Random, path: str, port: int) -> Crowd:
    """Four control clients, one that reads events, and two browsers."""
    crowd = Crowd(outcome, ControlError)
    numbers = iter(range(500, 10**6))

    def command(own: random.Random) -> None:
        with ControlConnection(path) as control:
            for _ in range(own.randrange(1, 4)):
                name = own.choice(
                    ("status", "wake", "stop", "mute", "unmute", "unmute", "volume", "say", "ask")
                )
                more: dict[str, object] = {}
                if name == "volume":
                    more = {"percent": own.choice((50, 100))}
                if name == "say":
                    number = next(numbers)
                    more = {"text": answer_to(number, 1), "now": own.random() < 0.3}
                if name == "ask":
                    more = {"text": f"words of {next(numbers)}"}
                control.ask(name, **more)

    def reload() -> None:
        with ControlConnection(path) as control:
            said = control.ask("reload", timeout_s=30.0)["what"]
            outcome.counts["reloads"] += 1
            assert "config" in said, said

    def follow() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(0.3)
            sock.connect(path)
            sock.sendall(b'{"id": 1, "command": "events"}\n')
            try:
                while sock.recv(4096):
                    outcome.counts["read of events"] += 1
            except TimeoutError:
                pass

    def browse() -> None:
        for page in ("/status", "/metrics", "/healthz"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.request("GET", page)
                connection.getresponse().read()
            except ConnectionError:
                outcome.counts["calls refused"] += 1
            finally:
                connection.close()

    for index in range(3):
        own = random.Random(rng.random())
        crowd.add(f"client-{index}", lambda own=own: command(own), pause_s=0.1)  # type: ignore[misc]
    crowd.add("reloader", reload, pause_s=1.2)
    crowd.add("follower", follow, pause_s=0.1)
    crowd.add("browser", browse, pause_s=0.1)
    return crowd
