"""Lives a whole day: happenings, and the idle stretches between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from endurance.day import BEGINS, SLOW, Day, Happening
from endurance.device import hurry
from endurance.outcome import HOUR_S, Outcome, growth
from endurance.played_clock import BOOT, MEDIA, MONOTONIC
from endurance.world import World

STOPS_S = 25.0
"""5 s by the host's clock, as processes are ended by the kernel: at `SLOW`."""

HAPPENING_S = 60.0
"""What one of them takes, about."""

LEAST_IDLE_S = 400.0
"""A gateway holds on for 300 s to a connection whose device has moved, and counts it."""

FORGOTTEN = "idle_timeout_exceeded"
"""So these end at the gateway; one of a device that is there would be seen by it as well."""


def live(
    folder: Path,
    happenings: Iterable[Happening],
    *,
    hours: float,
    rate: float,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """A day of `hours`, in which all of `happenings` happen in turn.

    Args:
        folder: Where sockets, certificates and the device's log are.
        happenings: The first has to boot the device.
        hours: How long the day is; more where the happenings alone take longer.
        rate: Seconds in a second while nothing happens.
        say: Gets a line of progress for each happening.
    """
    outcome = Outcome(hours, rate)
    with World(folder, BEGINS) as world:
        world.run(SLOW)
        lines = MONOTONIC, BOOT, MEDIA
        begun = [world.clock.now_s(line) for line in lines]
        world.began_s = world.outside.now_s()
        day = Day(world, outcome)
        left, told = list(happenings), 0
        while left:
            happening = left.pop(0)
            day.play(happening)
            # The device waits where nobody takes its feeds of the watchdog.
            hurry(os.getpid())
            for row in outcome.rows[-1:]:
                say(f"{row.day} {row.name}: {row.back_s:.1f} s, answer {row.answered_s:.1f} s")
            for violation in outcome.violations[told:]:
                say(f"  {violation}")
            told = len(outcome.violations)
            if world.device.ended:
                break
            left_s = world.began_s + hours * HOUR_S - world.outside.now_s()
            expected_s = sum(HAPPENING_S for _ in left)
            day.idle(max(LEAST_IDLE_S, (left_s - expected_s) / (len(left) + 1)), rate)
            if world.device.ended or len(outcome.violations) > 30:
                break
        else:
            outcome.stopped_s = world.device.shut_down()
            if outcome.stopped_s > STOPS_S:
                outcome.violations.append(f"it took {outcome.stopped_s:.1f} s to stop")
        outcome.hours = (world.outside.now_s() - world.began_s) / HOUR_S
        outcome.monotonic_s, outcome.boot_s, outcome.media_s = (
            world.clock.now_s(line) - before for line, before in zip(lines, begun, strict=True)
        )
        outcome.left_out_s = world.clock.left_out_s
        outcome.events, outcome.feeds = len(world.device.told.events), world.device.told.feeds
        seen = world.gateway("on", "tell")
        outcome.violations += [
            f"gateway: {each}" for each in seen["violations"] if FORGOTTEN not in each
        ]
        outcome.violations += [f"utterance {each} came broken" for each in seen["broken"]]
    outcome.violations += growth(outcome)
    return outcome
