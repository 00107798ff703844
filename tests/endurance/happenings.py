"""What happens in the day of `day.py`, in this order."""

from __future__ import annotations

import datetime

from endurance.day import BACK_S, NOTICED_S, YEAR_S, Day, Happening
from endurance.outcome import HOUR_S
from endurance.played_clock import REAL
from endurance.world import NAMES_ADDRESS
from network.namespaces import GATEWAY_ADDRESS

CLOCK = "check the clock of this device"
UNRESOLVED = "cannot be resolved"
MOVED_ADDRESS = "10.77.0.3"
LEASED_ADDRESS = "10.77.0.9"

SHORT_S = 10.0
"""An outage in which a question is asked, and kept."""


# The clock


def boots_without_a_clock(day: Day) -> None:
    """In 1970, then in 2023 by a file; then NTP comes."""
    world = day.world
    world.clock.set_day(10.0)
    world.boot()
    day.failed(CLOCK)
    world.clock.set_day(datetime.datetime(2023, 5, 3, tzinfo=datetime.UTC).timestamp())
    world.pass_time(SHORT_S)
    world.clock.set_day(world.outside.now_s(REAL))


def steps(seconds: float) -> Happening:
    """The time of day jumps, and stays there for a while."""

    def play(day: Day) -> None:
        day.world.clock.step(seconds)
        day.answers()
        day.world.pass_time(60.0)
        day.world.clock.set_day(day.world.outside.now_s(REAL))

    return Happening(f"clock steps by {_span(seconds)} and back", play, quiet=True)


def step_in(state: str, seconds: float) -> Happening:
    """It jumps while somebody speaks or is answered."""

    def play(day: Day) -> None:
        day.says()
        day.until("state", state=state)
        day.world.clock.step(seconds)

    def play_and_return(day: Day) -> None:
        play(day)
        day.connected(BACK_S)
        day.world.clock.set_day(day.world.outside.now_s(REAL))

    return Happening(f"clock steps by {_span(seconds)} while {state}", play_and_return, quiet=True)


def step_in_back_off(day: Day) -> None:
    """To 1970 while the gateway is away, and right again when it is back."""
    day.world.gateway("off")
    day.failed("refused the connection")
    day.world.clock.set_day(10.0)
    day.world.pass_time(SHORT_S)
    day.world.gateway("on")
    day.until("connection", state="failed")
    day.world.clock.set_day(day.world.outside.now_s(REAL))
    day.says()


def falls_to_1970(day: Day) -> None:
    """While it is connected, which does no harm; the next dial finds no valid certificate."""
    day.world.clock.set_day(10.0)
    day.answers()
    day.world.gateway("drop")
    day.failed(CLOCK)
    day.says()
    day.world.pass_time(SHORT_S)
    day.world.clock.set_day(day.world.outside.now_s(REAL))


def slews(day: Day) -> None:
    """5 % fast for ten minutes: NTP takes a hundred times as long over it."""
    world = day.world
    world.run(30.0, slew=0.05)
    world.pass_time(600.0)
    world.run(30.0, slew=-0.05)
    world.pass_time(600.0)
    world.run(day.slow)
    world.clock.set_day(world.outside.now_s(REAL))


def asked_across(local: str, unix_s: float) -> Happening:
    """A question that begins before a moment and is answered after it."""

    def play(day: Day) -> None:
        day.world.clock.set_day(unix_s - 0.3)
        day.says()
        day.connected(BACK_S)
        day.world.clock.set_day(day.world.outside.now_s(REAL))

    return Happening(f"asked across {local}", play, quiet=True)


def _span(seconds: float) -> str:
    sign, size = ("−", -seconds) if seconds < 0 else ("+", seconds)
    return f"{sign}{size / YEAR_S:g} years" if size >= YEAR_S else f"{sign}{size / HOUR_S:g} h"


# Suspend


def sleeps_shortly(day: Day) -> None:
    """For a minute; nobody has noticed."""
    day.world.suspend(60.0, lambda: None, rate=5.0)


def sleeps_and_gateway_closes(day: Day) -> None:
    """For 20 minutes: the gateway ends a connection that is silent for so long."""
    day.world.suspend(1200.0, lambda: None, rate=120.0)
    day.noticed()


def sleeps_without_cable(day: Day) -> None:
    """For two hours, and the network comes a while after it: nobody could tell it anything."""
    network = day.world.network
    day.world.suspend(2 * HOUR_S, lambda: network.link_down(network.client), rate=300.0)
    day.world.pass_time(3.0)
    network.link_up(network.client)
    day.says()
    day.noticed()


def freezes(day: Day) -> None:
    """The process stands still for 15 s, its clocks do not: after 20 s it would be deaf."""
    day.world.freeze(15.0)


# Names


def names_fail(mood: str) -> Happening:
    """While a connection is needed; a question is kept."""

    def play(day: Day) -> None:
        day.world.names.mood = mood
        day.world.gateway("drop")
        day.failed("no name server answers" if mood == "silent" else UNRESOLVED)
        day.says()
        day.world.pass_time(SHORT_S)
        day.world.names.mood = "good"

    return Happening(f"names: {mood}, and back", play)


def names_fail_unneeded(day: Day) -> None:
    """While the connection stands: nobody asks."""
    day.world.names.mood = "silent"
    day.world.pass_time(120.0)
    day.answers()
    day.world.names.mood = "good"


def gateway_moves(address: str) -> Happening:
    """It has another address, and the name server says so."""

    def play(day: Day) -> None:
        network = day.world.network
        network.flush_addresses(network.gateway)
        for each in (address, NAMES_ADDRESS):
            network.give_address(network.gateway, each)
        day.world.names.address = address
        day.noticed()

    return Happening(f"gateway moves to {address}", play, back_s=NOTICED_S + BACK_S)


# The network


def leases_another_address(day: Day) -> None:
    """DHCP gives the device another one."""
    network = day.world.network
    network.flush_addresses(network.client)
    day.world.pass_time(2.0)
    network.give_address(network.client, LEASED_ADDRESS)
    day.noticed()


def cable_out(day: Day) -> None:
    """For 25 s, and somebody asks."""
    network = day.world.network
    network.link_down(network.gateway)
    day.says()
    day.world.pass_time(25.0)
    network.link_up(network.gateway)


# The gateway


def gateway_restarts(day: Day) -> None:
    """It says goodbye, and is there again."""
    day.world.gateway("restart")
    day.noticed()


def gateway_is_away(day: Day) -> None:
    """For ten minutes."""
    day.world.gateway("off")
    day.failed("")
    day.world.run(30.0)
    day.world.pass_time(600.0)
    day.world.run(day.slow)
    day.world.gateway("on")


# Certificates


def certificate_is_renewed(day: Day) -> None:
    """In time: who is connected does not notice."""
    day.world.certify()
    day.world.gateway("certificate")


def renewed_certificate_is_shown(day: Day) -> None:
    """By the next connection."""
    certificate_is_renewed(day)
    day.world.gateway("drop")
    day.noticed()


def renewed_late(valid_s: float) -> Happening:
    """The certificate expires `valid_s` from now, and is renewed too late."""

    def play(day: Day) -> None:
        world = day.world
        world.certify(seconds=valid_s)
        world.gateway("certificate")
        world.pass_time(valid_s)
        world.gateway("drop")
        day.failed("expired")
        day.failed(CLOCK)
        day.says()
        world.pass_time(SHORT_S)
        world.certify()
        world.gateway("certificate")

    return Happening("certificate expires, renewed late", play)


def authority_changes(day: Day) -> None:
    """The gateway's authority is another one; somebody brings its certificate, and no restart."""
    world = day.world
    world.new_authority()
    world.certify()
    world.gateway("certificate", "drop")
    day.failed("its authority is not known here")
    day.says()
    world.pass_time(SHORT_S)
    world.trust_authority()


MIDNIGHT = datetime.datetime(2026, 10, 24, 22, tzinfo=datetime.UTC).timestamp()
CLOCKS_GO_BACK = datetime.datetime(2026, 10, 25, 1, tzinfo=datetime.UTC).timestamp()

HAPPENINGS = (
    Happening("boots in 1970, then 2023, then NTP", boots_without_a_clock),
    steps(-5 * HOUR_S),
    steps(5 * HOUR_S),
    steps(3 * YEAR_S),
    step_in("listening", -3 * HOUR_S),
    step_in("listening", 3 * HOUR_S),
    step_in("speaking", -3 * HOUR_S),
    step_in("speaking", 3 * HOUR_S),
    Happening("clock at 1970 during back-off", step_in_back_off),
    Happening("clock falls to 1970, connection lost", falls_to_1970),
    Happening("clock 5 % fast, then 5 % slow", slews, quiet=True),
    Happening("suspended for a minute", sleeps_shortly, quiet=True),
    Happening("suspended for 20 min, gateway closes", sleeps_and_gateway_closes),
    Happening("suspended for 2 h, cable out", sleeps_without_cable, back_s=NOTICED_S + BACK_S),
    Happening("process stands still for 15 s", freezes),
    names_fail("servfail"),
    names_fail("nxdomain"),
    names_fail("silent"),
    Happening("names: silent while connected", names_fail_unneeded, quiet=True),
    gateway_moves(MOVED_ADDRESS),
    gateway_moves(GATEWAY_ADDRESS),
    Happening("DHCP gives another address", leases_another_address, back_s=NOTICED_S + BACK_S),
    Happening("cable out for 25 s", cable_out, back_s=NOTICED_S + BACK_S),
    Happening("gateway restarts", gateway_restarts),
    Happening("gateway away for 10 min", gateway_is_away),
    Happening("certificate renewed while connected", certificate_is_renewed, quiet=True),
    Happening("renewed certificate is shown", renewed_certificate_is_shown),
    renewed_late(valid_s=60.0),
    Happening("authority changes", authority_changes),
    asked_across("midnight", MIDNIGHT),
    asked_across("the end of summer time", CLOCKS_GO_BACK),
)
