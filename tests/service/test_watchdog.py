"""What feeds systemd's watchdog: frames that went through the loop, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from conversation_scripts import PATIENCE_S, gateway

DEAF_S = 3.0

STUCK = f"""
import sys, threading
from slng_edge import conversation
from slng_edge.cli import main
from slng_edge.hearing_events import FramesFlow
from slng_edge.service import supervisor

supervisor.DEAF_S = {DEAF_S}
handle, flows = conversation.Conversation._handle, []

def stuck(self, item):
    handle(self, item)
    flows.extend([item] * isinstance(item, FramesFlow))
    if len(flows) == 3:
        threading.Event().wait({PATIENCE_S})

conversation.Conversation._handle = stuck
sys.exit(main(sys.argv[1:]))
"""


def test_a_loop_that_hears_nothing_is_not_alive(tmp_path: Path) -> None:
    """Its threads run, its main thread too; systemd hears no more of it, and it ends."""
    address = tmp_path / "notify"
    with gateway() as served, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(address))
        notify.settimeout(0.1)
        settings = (f"gateway.url={served.url}", "audio.input=null", "audio.output=null")
        options = [part for each in (*settings, "control.socket=") for part in ("-s", each)]
        process = subprocess.Popen(
            [sys.executable, "-c", STUCK, "run", *options],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "NOTIFY_SOCKET": str(address),
                "WATCHDOG_USEC": "30000000",
            },
        )
        fed_at: list[float] = []
        deadline = time.monotonic() + DEAF_S + PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if b"WATCHDOG=1" in notify.recv(4096):
                    fed_at.append(time.monotonic())
            except TimeoutError:
                continue
        ended_at = time.monotonic()
        assert process.stderr is not None
        log = process.stderr.read().decode()
        process.stderr.close()
        assert process.wait(PATIENCE_S) == 1, log
    assert "deaf: no microphone frame came through for 3 s" in log
    assert len(fed_at) == 3
    assert ended_at - fed_at[-1] >= DEAF_S - 0.1
