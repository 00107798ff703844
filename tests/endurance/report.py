"""What an endurance run showed, as a table."""

from __future__ import annotations

from endurance.day import IDLE_MEDIA, SLOW
from endurance.outcome import HOUR_S, Outcome, settled


def table(outcome: Outcome) -> str:
    """All of it as text."""
    figures = f"{'conn.':>5} {'lost':>5} {'back, s':>8} {'answer, s':>9}"
    lines = [f"{'day, UTC':<10} {'what happens':<42} {figures}"]
    for row in outcome.rows:
        figures = f"{row.reconnects:>5} {row.losses:>5} {row.back_s:>8.1f} {row.answered_s:>9.1f}"
        lines.append(f"{row.day:<10} {row.name:<42} {figures}")
    if outcome.samples:
        first, last = settled(outcome), outcome.samples[-1][1]
        held = [each for _, each in outcome.samples]
        rows: list[tuple[str, object]] = [
            ("hours of the day", f"{outcome.hours:.1f}"),
            ("hours of CLOCK_MONOTONIC", f"{outcome.monotonic_s / 3600:.1f}"),
            ("hours of CLOCK_BOOTTIME", f"{outcome.boot_s / 3600:.1f}"),
            ("hours of sound", f"{outcome.media_s / 3600:.1f}"),
            ("hours in which nothing happens", f"{outcome.idle_s / 3600:.1f}"),
            ("times as fast in these", f"{outcome.rate:g}, sound {outcome.rate * IDLE_MEDIA:g}"),
            ("times as fast else", f"{SLOW:g}"),
            ("left out, as there was no processor, s", f"{outcome.left_out_s:.1f}"),
            ("questions", outcome.asked),
            ("answer after an idle stretch, longest s", f"{max(outcome.idle_answers):.1f}"),
            ("connections by rotation", outcome.rotations),
            ("events", outcome.events),
            ("feeds of the watchdog", outcome.feeds),
            ("longest without one, s", f"{outcome.longest_hunger_s:.1f}"),
            ("resident KiB", f"{first.resident_kib} to {last.resident_kib}"),
            ("resident KiB, each fourth hour", " ".join(map(str, _by_hours(outcome, 4)))),
            ("resident KiB at the most", max(each.resident_kib for each in held)),
            ("threads", f"{first.threads} to {last.threads}"),
            ("open files", f"{first.files} to {last.files}"),
            ("violations", len(outcome.violations)),
        ]
        width = max(len(name) for name, _ in rows)
        lines += [f"{name:<{width}}  {value!s:>16}" for name, value in rows]
    lines += outcome.violations
    lines.append("did not hold" if outcome.violations else "held")
    return "\n".join(lines)


def _by_hours(outcome: Outcome, hours: int) -> list[int]:
    """The first resident set of each of so many hours."""
    first: dict[int, int] = {}
    for at_s, held in outcome.samples:
        first.setdefault(int(at_s / HOUR_S / hours), held.resident_kib)
    return list(first.values())
