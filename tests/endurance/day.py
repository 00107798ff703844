"""A day of an idle device: what happens to its clock, its network, its names and its gateway.

Between two happenings nothing happens, at a great speed; a happening is played slowly, because TCP
and the resolver keep real time. After each the device has to be connected within a documented time
and to answer a question, and a question is asked after each idle stretch too.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from endurance.device import Violation
from endurance.outcome import HOUR_S, Outcome, Row
from endurance.played_clock import MONOTONIC, REAL
from endurance.world import World
from labelled_sound import numbers_of

BEGINS = datetime.datetime(2026, 10, 24, 10, tzinfo=datetime.UTC)
"""Noon in Berlin, where the clocks go back in the night that follows."""

SLOW = 5.0
"""Seconds in a second while something happens; a lost SYN is repeated after 5 s of the device's."""

IDLE_MEDIA = 0.2
"""Of an idle stretch the microphone hears a fifth: sound is what costs processor time."""

BACK_S = 40.0
"""The longest back-off (30 s) and the longest dial (10 s)."""
NOTICED_S = 10.0
ANSWERED_S = 6.0
"""Asked (0.5 s), its end heard (0.3 s), answered (1.5 s), by a gateway that takes no time."""
ROTATION_S = 24 * 60.0
"""80 % of what the plan pro allows: not one connection more often than that."""

YEAR_S = 365.25 * 24 * HOUR_S
WATCHDOG_S = 30.0
KEPT_S = 30.0
KEPT_WHY = "no connection for 30 s"
"""A back-off may last as long as speech is kept: then it is told as lost, and nothing else is."""

AT_TOLERANCE_S = 10.0


class Day:
    """Plays happenings on a world, and judges what the device makes of them.

    Args:
        world: Where.
        outcome: What is noted down.
        slow: Seconds in a second while something happens.
    """

    def __init__(self, world: World, outcome: Outcome, *, slow: float = SLOW) -> None:
        self.slow = slow
        self.world = world
        self.outcome = outcome
        self._finals_due: list[int] = []
        self._since = 0

    # What happenings are made of

    def says(self) -> int:
        """Somebody speaks; that it is answered is looked at when all is well again."""
        number = self.world.device.say()
        self._finals_due.append(number)
        self.outcome.asked += 1
        return number

    def failed(self, words: str) -> None:
        """Wait until both sessions say that they are not connected, because of that."""
        world, since = self.world, self._since

        def both() -> bool:
            told = world.device.told.of("connection", since, state="failed")
            return {"stt", "tts"} <= {each["session"] for each in told if words in each["reason"]}

        try:
            world.wait_for(both, NOTICED_S + BACK_S, "both connections fail")
        except Violation as error:
            told = world.device.told.of("connection", since, state="failed")
            reasons = sorted({each["reason"] for each in told})
            raise Violation(f"{error}; {words!r} was to be in {reasons}") from error
        world.wait_for(lambda: world.device.state == "offline", NOTICED_S, "offline")

    def until(self, kind: str, **fields: object) -> None:
        """Wait for an event since this happening began."""
        world, since = self.world, self._since
        world.wait_for(
            lambda: world.device.told.of(kind, since, **fields), BACK_S, f"{kind} {fields}"
        )

    def noticed(self) -> None:
        """Wait until both sessions have seen that their connections are gone."""
        world, since = self.world, self._since

        def both() -> bool:
            told = world.device.told.of("connection", since)
            return {"stt", "tts"} <= {each["session"] for each in told if each["state"] != "ready"}

        world.wait_for(both, NOTICED_S, "both connections are noticed to be gone")

    # What is looked at

    def answers(self) -> float:
        """Ask, and wait until all that was asked is answered; the seconds that this took."""
        self.says()
        return self.world.wait_for(self._all_answered, ANSWERED_S, "an answer")

    def connected(self, within_s: float) -> float:
        """Wait until both sessions are ready and nobody is heard; how long that took."""
        world = self.world
        return world.wait_for(
            lambda: set(world.device.sessions.values()) == {"ready"} and self._all_answered(),
            within_s,
            "connected again",
        )

    def _all_answered(self) -> bool:
        finals = self.world.device.told.of("final", self._since)
        said = [words for each in finals for words in numbers_of(each["text"])]
        expected = list(self._finals_due)
        # The oldest goes first.
        del expected[: len(self.world.device.told.of("lost", self._since, what="speech"))]
        return (
            said == expected
            and self.world.device.state == "idle"
            and len(self.world.device.told.of("playback_end", self._since)) >= len(finals)
        )

    def begin(self) -> None:
        """What is told from now on belongs to what comes."""
        self._since = len(self.world.device.told.events)
        self._log_since = len(self.world.device.told.log)
        self._finals_due.clear()

    def reconnects(self) -> int:
        """How often a session became ready since `begin`."""
        return len(self.world.device.told.of("connection", self._since, state="ready"))

    def losses(self) -> list[dict[str, Any]]:
        """What was told to be lost since `begin`."""
        return self.world.device.told.of("lost", self._since)

    def _kept_too_long(self, loss: dict[str, Any]) -> bool:
        """Whether there was no connection for all the time that speech is kept."""
        ready = self.world.device.told.of("connection", session="stt", state="ready")
        return loss["why"] == KEPT_WHY and not any(
            loss["t"] - KEPT_S < each["t"] < loss["t"] for each in ready
        )

    def look(self, name: str) -> None:
        """What must hold after anything: nothing lost, all clocks of the device sane."""
        world = self.world
        wrong = [f"lost: {each}" for each in self.losses() if not self._kept_too_long(each)]
        wrong += world.device.told.backwards
        world.device.told.backwards.clear()
        wrong += [
            f"log: {entry['message']}"
            for entry in world.device.told.log[self._log_since :]
            if entry["level"] not in ("debug", "info", "warning")
        ]
        world.device.look_for_hunger()
        if world.device.told.longest_hunger_s > WATCHDOG_S:
            wrong.append(f"the watchdog was not fed for {world.device.told.longest_hunger_s:.1f} s")
        self.outcome.longest_hunger_s = max(
            self.outcome.longest_hunger_s, world.device.told.longest_hunger_s
        )
        world.device.told.longest_hunger_s = 0.0
        status = world.device.status()
        up_s = world.clock.now_s(MONOTONIC) - world.device.booted_s
        if abs(status["uptime_s"] - up_s) > AT_TOLERANCE_S or status["state_s"] < 0:
            wrong.append(f"up for {up_s:.1f} s, and the status says {status['uptime_s']}")
        last = world.device.told.events[-1]
        told_s = datetime.datetime.fromisoformat(last["at"]).timestamp()
        if abs(last["arrived_s"] - world.device.booted_s - last["t"]) > AT_TOLERANCE_S:
            wrong.append(
                f"t is {last['t']} after {last['arrived_s'] - world.device.booted_s:.1f} s"
            )
        if abs(told_s - last["arrived_day_s"]) > AT_TOLERANCE_S:
            wrong.append(f"an event of {last['arrived_day_s']:.1f} is dated {last['at']}")
        self.outcome.violations += [f"{name}: {each}" for each in wrong]

    def play(self, happening: Happening) -> None:
        """One happening, and what has to follow."""
        day = datetime.datetime.fromtimestamp(self.world.outside.now_s(REAL), datetime.UTC)
        self.world.run(self.slow)
        self.begin()
        name = happening.name
        back_s = answered_s = float("nan")
        try:
            happening.play(self)
            back_s = self.connected(happening.back_s)
            answered_s = self.answers()
        except Violation as error:
            self.outcome.violations.append(f"{name}: {error}")
            if self.world.device.ended:
                return
            self._mend()
        failed = self.world.device.told.of("connection", self._since, state="failed")
        if happening.quiet and failed:
            self.outcome.violations.append(f"{name}: {len(failed)} connections lost, none may be")
        self.look(name)
        row = Row(
            f"{day:%d. %H:%M}", name, self.reconnects(), len(self.losses()), back_s, answered_s
        )
        self.outcome.rows.append(row)

    def _mend(self) -> None:
        """All is well again, so that the next happening is judged by itself."""
        world = self.world
        world.run(self.slow)
        world.clock.set_day(world.outside.now_s(REAL))
        world.names.mood = "good"
        world.trust_authority()
        world.gateway("on")
        with contextlib.suppress(Violation):
            world.wait_for(lambda: world.device.state == "idle", BACK_S, "all well")

    def idle(self, seconds: float, rate: float) -> None:
        """Nothing happens for so long but rotation; then a question."""
        if seconds <= 0:
            return
        world = self.world
        self.begin()
        world.run(rate, media=IDLE_MEDIA, forgiving=True)
        try:
            world.pass_time(seconds)
            world.run(self.slow)
            world.pass_time(2.0)
            rotated = self.reconnects()
            self.outcome.rotations += rotated
            self.outcome.idle_s += seconds
            if rotated > 2 * (seconds / ROTATION_S + 1):
                self.outcome.violations.append(f"idle: {rotated} connections in {seconds:.0f} s")
            for event in world.device.told.of("connection", self._since, state="failed"):
                self.outcome.violations.append(f"idle: {event}")
            for event in world.device.told.of("state", self._since):
                self.outcome.violations.append(f"idle: {event}")
            self.connected(0.1)
            self.outcome.idle_answers.append(self.answers())
        except Violation as error:
            self.outcome.violations.append(f"idle: {error}")
            if world.device.ended:
                return
        warned = [
            entry for entry in world.device.told.log[self._log_since :] if entry["level"] != "info"
        ]
        self.outcome.violations += [f"idle, log: {entry['message']}" for entry in warned]
        self.look("idle")
        held = world.device.holds()
        self.outcome.samples.append((world.outside.now_s() - world.began_s, held))


@dataclass(frozen=True)
class Happening:
    """Something that happens.

    Attributes:
        play: Does it, from `begin` to the moment from which all is well again.
        quiet: No connection may be lost by it.
        back_s: Within so long both sessions have to be ready after it.
    """

    name: str
    play: Callable[[Day], None]
    quiet: bool = False
    back_s: float = BACK_S
