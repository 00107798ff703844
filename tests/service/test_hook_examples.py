"""The hooks that the documents show: they compile, and do what they say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conversation_scripts import wait_until

from slng_edge.service.hook_run import HookRun

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


def test_the_light_does_what_the_state_is() -> None:
    """On the pins that gpiozero simulates itself: on, off, and blinking both ways."""
    from gpiozero import LED
    from gpiozero.pins.mock import MockFactory

    parts: dict[str, Any] = {}
    exec(example("gpiozero").partition("\nstate = ")[0], parts)
    factory = MockFactory()
    led = LED(parts["PIN"], pin_factory=factory)
    pin = factory.pin(parts["PIN"])
    try:
        for state, level in (("listening", 1), ("idle", 0), ("speaking", 1), ("paused", 0)):
            parts["show"](led, state)
            assert pin.state == level
        for state in ("thinking", "offline", "muted"):
            parts["show"](led, "idle")
            pin.clear_states()
            parts["show"](led, state)
            assert wait_until(lambda: [each.state for each in pin.states][:3] == [0, 1, 0])
    finally:
        led.close()
        factory.reset()


@pytest.mark.parametrize(("leds", "tail"), [((), "ff"), (("12",), "ff"), (("40",), "ffffff")])
def test_the_ring_gets_a_colour_for_each_led(
    tmp_path: Path, leds: tuple[str, ...], tail: str
) -> None:
    """The bytes as they go to the bus, on a raw terminal in its place."""
    script = tmp_path / "ring"
    script.write_text(example("spidev"))
    ours, theirs = os.openpty()
    try:
        tty.setraw(theirs)
        done = subprocess.run(
            [sys.executable, script, os.ttyname(theirs), *leds],
            env={**os.environ, "SLNG_EDGE_STATE": "listening"},
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == 0, done.stderr
        frames = "e4ff5000" * int(leds[0] if leds else 3)
        assert os.read(ours, 4096).hex() == f"00000000{frames}{tail}"
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_bus_that_is_not_there_is_the_hooks_last_word(tmp_path: Path) -> None:
    """What the one warning in the log will say."""
    script = tmp_path / "ring"
    script.write_text(example("spidev"))
    run = HookRun([sys.executable, str(script), "/dev/spidev9.9"], {"SLNG_EDGE_STATE": "idle"})
    problem, said = run.wait(10)
    run.close()
    assert problem == "ended with status 1"
    assert said == "FileNotFoundError: [Errno 2] No such file or directory: '/dev/spidev9.9'"


def test_the_usb_ring_gets_its_request(tmp_path: Path) -> None:
    """As the vendor's protocol has it, by a library that writes it down."""
    (tmp_path / "usb").mkdir()
    (tmp_path / "usb" / "__init__.py").touch()
    (tmp_path / "usb" / "core.py").write_text(
        "class _Ring:\n"
        "    def ctrl_transfer(self, *arguments): print(arguments)\n"
        "def find(**which): print(which); return _Ring()\n"
    )
    script = tmp_path / "ring"
    script.write_text(example("usb.core"))
    said = {}
    for state in ("listening", "muted", "idle"):
        said[state] = subprocess.run(
            [sys.executable, script],
            env={**os.environ, "SLNG_EDGE_STATE": state, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout.splitlines()
    assert said["listening"][0] == "{'idVendor': 10374, 'idProduct': 24}"
    assert said["listening"][1] == "(64, 0, 2, 28, [0], 1000)"
    assert said["muted"][1] == "(64, 0, 1, 28, [48, 0, 0, 0], 1000)"
    assert said["idle"][1] == "(64, 0, 1, 28, [0, 0, 0, 0], 1000)"
