"""What a soak showed: a table, what grew, and a picture."""

from __future__ import annotations

from pathlib import Path

from soak import Outcome, Sample

WARM_TURNS = 200
"""Until then libraries load, buffers grow to their size, and the allocator finds its own."""

GROWTH_KIB = 1024
LEFT_WAITING = 8
"""Items that may be on their way at the moment of a sample."""

QUEUES = ("inbox", "notices", "questions", "events")


def growth(outcome: Outcome) -> list[str]:
    """What is more at the end than after the first `WARM_TURNS`; nothing is as it has to be."""
    if not outcome.samples:
        return ["nothing was measured"]
    early, late = outcome.after(WARM_TURNS), outcome.samples[-1]
    threads, files = _at_first(outcome)
    grew = []
    if late.rss_kib - early.rss_kib > GROWTH_KIB:
        grew.append(f"memory grew by {late.rss_kib - early.rss_kib} KiB")
    if late.threads > threads:
        grew.append(f"{late.threads - threads} threads more")
    if late.files > files:
        grew.append(f"{late.files - files} open files more")
    grew += [
        f"{late.depths[name]} wait in {name}"
        for name in QUEUES
        if late.depths.get(name, 0) > LEFT_WAITING
    ]
    return grew


def _at_first(outcome: Outcome) -> tuple[int, int]:
    """The most threads and open files in the first turns: without a connection there are less."""
    first = [each for each in outcome.samples if each.turn <= WARM_TURNS] or outcome.samples[:1]
    return max(each.threads for each in first), max(each.files for each in first)


def table(outcome: Outcome) -> str:
    """All of it as text."""
    early, late = outcome.after(WARM_TURNS), outcome.samples[-1]
    threads, files = _at_first(outcome)
    deepest = {
        name: max(sample.depths.get(name, 0) for sample in outcome.samples) for name in late.depths
    }
    rows: list[tuple[str, object]] = [
        ("seed", outcome.seed),
        ("turns", outcome.turns),
        ("seconds", round(outcome.seconds)),
        ("hours of media", round(outcome.media_s / 3600, 1)),
        *((f"{name} events", count) for name, count in sorted(outcome.counts.items())),
        (f"resident KiB after {early.turn} turns", early.rss_kib),
        (f"resident KiB after {late.turn} turns", late.rss_kib),
        ("resident KiB at the most", max(sample.rss_kib for sample in outcome.samples)),
        ("threads", f"{threads} to {late.threads}"),
        ("open files", f"{files} to {late.files}"),
        *((f"most in {name}", count) for name, count in deepest.items()),
        ("violations", len(outcome.violations)),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value!s:>9}" for name, value in rows]
    grew = growth(outcome)
    verdict = "held" if not (grew or outcome.violations) else "did not hold"
    return "\n".join([*lines, *outcome.violations, *grew, verdict])


def draw(outcome: Outcome, path: Path) -> None:
    """Memory, threads, open files and queues over the turns, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    samples = outcome.samples
    turns = [sample.turn for sample in samples]
    figure, (memory, counts, queues) = pyplot.subplots(3, 1, sharex=True, figsize=(8, 7), dpi=90)
    memory.plot(turns, [sample.rss_kib / 1024 for sample in samples], color="tab:blue")
    memory.set_ylabel("resident, MiB")
    memory.set_ylim(bottom=0)
    _line(counts, samples, "threads")
    _line(counts, samples, "files")
    counts.set_ylim(bottom=0)
    counts.legend(["threads", "open files"])
    for name in QUEUES:
        queues.plot(turns, [sample.depths.get(name, 0) for sample in samples], label=name)
    queues.set_ylabel("waiting")
    queues.legend()
    queues.set_xlabel("turns")
    figure.suptitle(
        f"{outcome.turns} turns, {outcome.media_s / 3600:.1f} hours of media, seed {outcome.seed}"
    )
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def _line(axes: object, samples: list[Sample], name: str) -> None:
    axes.plot(  # type: ignore[attr-defined]
        [sample.turn for sample in samples], [getattr(sample, name) for sample in samples]
    )
