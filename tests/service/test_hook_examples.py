"""The hooks that the documents show: they compile, and do what they say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conversation_scripts import wait_until

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLES = [
    block
    for document in sorted(DOCUMENTS.glob("*.md"))
    for block in re.findall(r"```python\n(#!.*?)```", document.read_text(encoding="utf-8"), re.S)
    if "SLNG_EDGE_STATE" in block
]

pytestmark = pytest.mark.skipif(not EXAMPLES, reason="the documents show no hook")


def example(word: str) -> str:
    """The one with this word in it."""
    [found] = [block for block in EXAMPLES if word in block]
    return found


@pytest.mark.parametrize("block", EXAMPLES)
def test_it_compiles(block: str) -> None:
    """As Python, and it begins with what runs it."""
    compile(block, "hook", "exec")
    assert block.startswith(("#!/opt/slng-edge/bin/python\n", "#!/usr/bin/python3\n"))


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Path]:
    """The light's script; its helper is ended afterwards."""
    script = tmp_path / "led"
    script.write_text(example("gpiozero").replace("slng-edge-led", f"led-{os.getpid()}"))
    yield script
    for pid in helpers(script):
        os.kill(pid, signal.SIGKILL)


def helpers(script: Path) -> list[int]:
    """The processes that run it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(script) in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_the_light_has_one_helper_that_takes_every_state(helper: Path) -> None:
    """On simulated pins; each run ends at once."""
    for state in ("starting", "listening", "thinking", "muted", "offline", "idle"):
        done = subprocess.run(
            [sys.executable, helper],
            env={**os.environ, "SLNG_EDGE_STATE": state, "GPIOZERO_PIN_FACTORY": "mock"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=20,
        )
        assert done.returncode == 0
    assert wait_until(lambda: len(helpers(helper)) == 1)


def test_the_ring_gets_a_colour_for_each_led(tmp_path: Path) -> None:
    """The bytes that go to the bus, by a library that writes them down."""
    (tmp_path / "spidev.py").write_text(
        "class SpiDev:\n"
        "    def open(self, bus, device): print(bus, device)\n"
        "    def xfer2(self, data): print(bytes(data).hex(' '))\n"
        "    def close(self): pass\n"
    )
    script = tmp_path / "ring"
    script.write_text(example("spidev"))
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "SLNG_EDGE_STATE": "listening", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    frame = "e4 ff 50 00 "
    assert done.stdout == f"0 1\n00 00 00 00 {frame * 3}ff\n", done.stderr
