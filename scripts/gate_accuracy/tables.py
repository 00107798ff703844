"""What `evaluate-gate` measures, as rows and as lines on a terminal."""

from __future__ import annotations

import argparse
import itertools
import timeit
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from gate_accuracy.measures import (
    GateSettings,
    Tally,
    false_openings,
    frames_of,
    given_out,
    mixed,
    noise_that_begins,
)
from gate_accuracy.noises import BEGINNING, MIXED, noise_of
from gate_accuracy.recordings import RATE_HZ, Recording

from slng_edge.listening.vad_gate import Onset
from slng_edge.listening.voice_detector import VoiceDetector

SWEPT = {
    "aggressiveness": (0, 1, 2, 3),
    "start_ms": (20, 40, 60, 80, 100, 120),
    "preroll_ms": (0, 100, 200, 300, 400),
    "stop_ms": (300, 400, 500, 600, 700, 800),
}
NOISE_LEVELS_DBFS = (-50.0, -30.0)
Row: TypeAlias = dict[str, object]


Case: TypeAlias = tuple[float, str, float | None]
"""Gain, noise, and ratio in dB."""


def cases_of(options: argparse.Namespace) -> list[Case]:
    noises = [(kind, snr_db) for kind in options.noises for snr_db in options.snr]
    return [(gain_db, *case) for gain_db in options.gain_db for case in [("clean", None), *noises]]


def tallies(
    recordings: list[Recording], settings: list[GateSettings], options: argparse.Namespace
) -> Iterator[tuple[Case, list[Tally]]]:
    """Each case with one tally for each of the settings; they hear the very same sounds."""
    for case in cases_of(options):
        gain_db, kind, snr_db = case
        sums = [Tally() for _ in settings]
        for number, recording in enumerate(recordings):
            others = [other for other in recordings if other.speaker != recording.speaker]
            for seed in range(options.seeds if snr_db is not None else 1):
                noise_seed = 1000 * seed + number
                heard = mixed(recording, kind, snr_db, noise_seed, gain_db, others)
                for tally, setting in zip(sums, settings, strict=True):
                    tally.add(heard, setting)
        yield case, sums


def pair_of(spread: object, first: str = "median", second: str = "p95") -> str:
    return f"{spread[first]:.0f}/{spread[second]:.0f}" if isinstance(spread, dict) else "-"


def percent(share: object) -> str:
    return f"{share:.2%}" if isinstance(share, float) else "-"


def say(options: argparse.Namespace, line: str = "") -> None:
    if not options.json:
        print(line, flush=True)


def measure_kept(recordings: list[Recording], options: argparse.Namespace) -> list[Row]:
    settings = [replace(options.settings, aggressiveness=each) for each in options.aggressiveness]
    rows: list[Row] = []
    for (gain_db, kind, snr_db), sums in tallies(recordings, settings, options):
        for setting, tally in zip(settings, sums, strict=True):
            case = {"aggressiveness": setting.aggressiveness, "gain_db": gain_db}
            rows.append(case | {"noise": kind, "snr_db": snr_db} | tally.row())
    for level, gain_db in itertools.product(options.aggressiveness, options.gain_db):
        say(options, f"\naggressiveness {level}" + (f", {gain_db:+g} dB" if gain_db else ""))
        say(
            options,
            f"{'noise':<7}{'SNR':>4} {'kept':>8} {'people':>8} {'other':>7} {'excess':>7}"
            f"{'clipped':>10}{'late':>10}{'missed':>8}{'cut':>5}{'held':>5}   least kept",
        )
        for row in rows:
            if (row["aggressiveness"], row["gain_db"]) != (level, gain_db):
                continue
            snr = "-" if row["snr_db"] is None else f"{row['snr_db']:g}"
            say(
                options,
                f"{row['noise']:<7}{snr:>4} {percent(row['kept']):>8} "
                f"{percent(row['kept_people']):>8} {percent(row['other']):>7} "
                f"{percent(row['excess']):>7}{pair_of(row['clipped_ms'], 'p95', 'worst'):>10}"
                f"{pair_of(row['late_ms']):>10}{row['missed']:>4}/{row['utterances']:<3}"
                f"{row['split']:>5}{row['held']:>5}   "
                f"{percent(row['least_kept'])} {row['least_kept_name']}",
            )
    return rows


def measure_noises(talkers: list[Recording], options: argparse.Namespace) -> list[Row]:
    levels = options.aggressiveness
    heading = "".join(f"{f'at {level}':>16}" for level in levels)
    say(options, f"\n{'noise alone':<20}{heading}   openings a minute, share given out")
    rows: list[Row] = []
    for kind in BEGINNING:
        if kind == "babble" and not talkers:
            continue
        for level_dbfs in NOISE_LEVELS_DBFS:
            cells = []
            for level in levels:
                setting = replace(options.settings, aggressiveness=level)
                count, share = false_openings(kind, level_dbfs, setting, options.noise_s, talkers)
                cells.append(f"{count:8.1f}{share:8.1%}")
                rows.append(
                    {"noise": kind, "level_dbfs": level_dbfs, "aggressiveness": level}
                    | {"openings_a_minute": count, "given_out": share}
                )
            say(options, f"{kind:<12}{level_dbfs:4g} dBFS{''.join(cells)}")
    return rows


def measure_beginnings(talkers: list[Recording], options: argparse.Namespace) -> list[Row]:
    levels = options.aggressiveness
    seconds = 30.0
    heading = "".join(f"{f'at {level}':>16}" for level in levels)
    say(options, f"\n{'noise that begins':<20}{heading}   s given out of {seconds:g}, the last at")
    rows: list[Row] = []
    for kind in BEGINNING:
        if kind == "babble" and not talkers:
            continue
        cells = []
        for level in levels:
            setting = replace(options.settings, aggressiveness=level)
            sent_s, last_s = noise_that_begins(kind, setting, seconds, talkers)
            cells.append(f"{sent_s:8.1f}{last_s:8.1f}")
            rows.append(
                {"noise": kind, "aggressiveness": level, "given_out_s": sent_s, "last_s": last_s}
            )
        say(options, f"{kind:<20}{''.join(cells)}")
    return rows


def measure_onsets(recordings: list[Recording], options: argparse.Namespace) -> list[Row]:
    """From the first labelled sample to the decision, white noise at 20 dB."""
    say(options, f"\n{'onset':<14}{'opened':>9}   label's start to the decision, ms: median/95 %")
    rows: list[Row] = []
    for speech_ms, extra_db in ((options.settings.start_ms, 0.0), (200, 0.0), (200, 6.0)):
        waits = []
        for number, recording in enumerate(recordings):
            heard = mixed(recording, "white", 20, number, options.gain_db[0])
            first = int(np.flatnonzero(heard.speech)[0])
            result = given_out(heard.samples, options.settings, Onset(speech_ms, extra_db))
            if not result.open_at(first):
                waits += [(at - first) * 1000 / RATE_HZ for at in result.opened if at > first][:1]
        median, high = np.percentile(waits, (50, 95))
        row: Row = {"speech_ms": speech_ms, "extra_db": extra_db, "opened": len(waits)}
        rows.append(row | {"of": len(recordings), "median_ms": median, "p95_ms": high})
        say(
            options,
            f"{speech_ms:4} ms +{extra_db:g} dB{len(waits):6}/{len(recordings)}   "
            f"{median:.0f}/{high:.0f}",
        )
    return rows


def measure_cost(options: argparse.Namespace) -> Row:
    settings = options.settings
    quiet = noise_of("white", RATE_HZ * 4, 20, 4)
    frames = list(frames_of(quiet, settings.frame_ms))
    gate, detector = settings.gate(), VoiceDetector(settings.aggressiveness, RATE_HZ)

    def best_us(call: object) -> float:
        runs = timeit.repeat(lambda: [call(frame) for frame in frames], number=10, repeat=7)  # type: ignore[operator]
        return min(runs) / 10 / len(frames) * 1e6

    whole_us, detector_us = best_us(gate.receive_frame), best_us(detector.is_speech)
    say(
        options,
        f"\na {settings.frame_ms} ms frame of silence: {whole_us:.1f} µs through the gate, "
        f"{detector_us:.1f} µs through the detector alone",
    )
    return {"gate_us": whole_us, "detector_us": detector_us}


def measure_sweep(recordings: list[Recording], options: argparse.Namespace) -> list[Row]:
    """Each setting by itself, the others as they are."""
    settings = [
        replace(options.settings, **{name: value})
        for name, values in SWEPT.items()
        for value in values
    ]
    names = [name for name, values in SWEPT.items() for _ in values]
    sums = [Tally() for _ in settings]
    least = [(2.0, "")] * len(settings)
    for (gain_db, kind, snr_db), found in tallies(recordings, settings, options):
        for index, tally in enumerate(found):
            case = kind if snr_db is None else f"{kind} {snr_db:g} dB"
            case += f", {gain_db:+g} dB" if gain_db else ""
            least[index] = min(least[index], (tally.kept / tally.speech, case))
            sums[index].include(tally)
    say(
        options,
        f"{'setting':<20}{'kept':>8} {'other':>7} {'excess':>7}{'clipped':>10}{'late':>10}"
        f"{'decided':>9}{'missed':>8}{'cut':>6}{'held':>6}{'false':>7}   least kept",
    )
    rows: list[Row] = []
    for name, setting, tally, (share, case) in zip(names, settings, sums, least, strict=True):
        value = getattr(setting, name)
        counts = [
            false_openings(kind, NOISE_LEVELS_DBFS[1], setting, options.noise_s, recordings)[0]
            for kind in MIXED
            if kind != "babble"
        ]
        row = {"setting": name, "value": value, "false_a_minute": sum(counts) / len(counts)}
        row |= tally.row() | {"least_kept": share, "least_kept_name": case}
        rows.append(row)
        chosen = "*" if value == getattr(options.settings, name) else " "
        say(
            options,
            f"{name:<15}{value:>4}{chosen}{percent(row['kept']):>8} {percent(row['other']):>7} "
            f"{percent(row['excess']):>7}{pair_of(row['clipped_ms'], 'p95', 'worst'):>10}"
            f"{pair_of(row['late_ms']):>10}{pair_of(row['decided_ms']):>9}{row['missed']:>8}"
            f"{row['split']:>6}{row['held']:>6}{row['false_a_minute']:>7.1f}   "
            f"{percent(share)} {case}",
        )
    say(options, f"of {rows[0]['utterances']} utterances; * is what the others were measured with")
    return rows
