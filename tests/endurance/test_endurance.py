"""Clock steps, names and certificates on a device whose clock is played; and how a day is judged.

`scripts/endurance` plays a whole day; here some of its happenings are played, thirty times as fast.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from endurance.day import BEGINS, Day, Happening
from endurance.happenings import names_fail, renewed_late, step_in, step_in_back_off
from endurance.outcome import GROWTH_KIB, HOUR_S, Outcome, Row, growth
from endurance.played_clock import BOOT, MONOTONIC, REAL, PlayedClock, build
from endurance.played_clock import missing_for_played_clocks as missing_for_clocks
from endurance.report import table
from endurance.world import World
from network.namespaces import missing_for_namespaces

from slng_edge.benchmarks.processes import Holdings, child_environment

SLOW = 30.0
"""Nothing is lost in the network of these, so TCP keeps up."""


def boots(day: Day) -> None:
    """With the right time."""
    day.world.boot()


def stays_away(day: Day) -> None:
    """The gateway, for longer than is waited for."""
    day.world.gateway("off")
    day.noticed()


def comes_back(day: Day) -> None:
    """It does."""
    day.world.gateway("on")


def drops(day: Day) -> None:
    """The gateway cuts all connections."""
    day.world.gateway("drop")
    day.noticed()


STEPS = [step_in(state, hours * HOUR_S) for state in ("listening", "speaking") for hours in (-3, 3)]
HELD = [
    *STEPS,
    Happening("clock at 1970 during back-off", step_in_back_off),
    names_fail("nxdomain"),
    renewed_late(valid_s=20.0),
]
NOT_HELD = {
    "stays away": "connected again: not within 2 s",
    "drops, and may not": "2 connections lost, none may be",
}


@dataclass
class Played:
    """What came of each happening, and the violations of those that were to hold."""

    rows: dict[str, Row]
    violations: list[str]
    provoked: list[str]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """All of `HELD` on one device, then what cannot hold."""
    if missing := missing_for_clocks() or missing_for_namespaces():
        pytest.skip(missing)
    outcome = Outcome(hours=0, rate=SLOW)
    with World(tmp_path_factory.mktemp("world"), BEGINS) as world:
        day = Day(world, outcome, slow=SLOW)
        for happening in (Happening("boots", boots), *HELD):
            day.play(happening)
        held = list(outcome.violations)
        day.play(Happening("drops, and may not", drops, quiet=True))
        day.play(Happening("stays away", stays_away, back_s=2.0))
        assert world.device.shut_down() < 5 * SLOW
    return Played({row.name: row for row in outcome.rows}, held, outcome.violations[len(held) :])


def test_nothing_is_lost_and_every_clock_of_the_device_is_sane(played: Played) -> None:
    """No loss, no error in the log, `t` and durations never backwards, the watchdog fed."""
    assert played.violations == []


@pytest.mark.parametrize("name", [each.name for each in HELD])
def test_a_question_is_answered_after_it(played: Played, name: str) -> None:
    """Within the documented time, which the violations would say."""
    assert 0 < played.rows[name].answered_s < float("inf")


@pytest.mark.parametrize("name", [each.name for each in STEPS])
def test_a_step_of_the_clock_costs_no_connection(played: Played, name: str) -> None:
    """Hours back or forwards, in the middle of a question or of its answer."""
    assert played.rows[name].reconnects == 0


@pytest.mark.parametrize("name", NOT_HELD)
def test_what_does_not_hold_is_told(played: Played, name: str) -> None:
    """A gateway that stays away, and a connection that was lost where none may be."""
    said = [each for each in played.provoked if each.startswith(name)]
    assert any(NOT_HELD[name] in each for each in said), played.provoked


def test_the_script_tells_what_can_happen() -> None:
    """Where nothing has the words of `--only` in its name: exit status 2."""
    script = Path(__file__).resolve().parents[2] / "scripts" / "endurance"
    command = [sys.executable, str(script), "--only", "no such thing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "certificate expires, renewed late" in done.stderr


# The clocks themselves

WAITS = """
import queue, select, socket, sys, threading, time
began, day, boot = time.monotonic(), time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
ours, theirs = socket.socketpair()
ours.settimeout(20)
time.sleep(20)
threading.Event().wait(20)
try: queue.SimpleQueue().get(timeout=20)
except queue.Empty: pass
try: ours.recv(1)
except TimeoutError: pass
select.select([ours], [], [], 20)
select.epoll().poll(20)
print(time.monotonic() - began, time.time() - day, time.clock_gettime(time.CLOCK_BOOTTIME) - boot)
"""


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[PlayedClock]:
    """One that is played."""
    if missing := missing_for_clocks():
        pytest.skip(missing)
    clock = PlayedClock(tmp_path / "clock")
    yield clock
    clock.close()


def test_every_kind_of_wait_follows_the_clock(clock: PlayedClock, tmp_path: Path) -> None:
    """Sleeping, locks, queues, sockets, select and epoll: two minutes in two seconds."""
    clock.run(100)
    environment = clock.environment(build(tmp_path), child_environment())
    command = [sys.executable, "-c", WAITS]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=20, check=True)
    assert [float(word) for word in done.stdout.split()] == [pytest.approx(120, abs=20)] * 3


def test_a_suspended_clock_stands_still_and_the_day_goes_on(clock: PlayedClock) -> None:
    """As CLOCK_MONOTONIC and CLOCK_BOOTTIME differ."""
    clock.run(1000.0)
    clock.suspend()
    before = [clock.now_s(line) for line in (MONOTONIC, BOOT, REAL)]
    clock.step(-3600.0)
    while clock.now_s(BOOT) < before[1] + 1:
        pass
    assert clock.now_s(MONOTONIC) == before[0]
    assert before[2] - 3600 < clock.now_s(REAL) < before[2] - 1800


# What a day is judged by


def held(kib: int = 0, threads: int = 0, files: int = 0) -> Holdings:
    """What is held, above some usual figures."""
    return Holdings(50_000 + kib, 16 + threads, 9 + files)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (held(), []),
        (held(GROWTH_KIB), []),
        (held(GROWTH_KIB + 1), ["memory grew by 2049 KiB"]),
        (held(threads=1), ["17 threads"]),
        (held(files=1), ["10 open files"]),
    ],
)
def test_what_grew_since_the_first_hours_is_told(last: Holdings, said: list[str]) -> None:
    """In which libraries load."""
    outcome = Outcome(hours=24, rate=120, idle_answers=[2.0])
    outcome.samples = [(HOUR_S, held(-9000)), (3 * HOUR_S, held()), (24 * HOUR_S, last)]
    outcome.violations = growth(outcome)
    assert outcome.violations == said
    assert table(outcome).endswith("did not hold" if said else "held")


def test_a_day_that_was_not_measured_does_not_hold() -> None:
    """Where the device did not even boot."""
    outcome = Outcome(hours=24, rate=120)
    outcome.violations = growth(outcome)
    assert table(outcome).endswith("nothing was measured\ndid not hold")
