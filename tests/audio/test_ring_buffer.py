"""The ring buffer: order, numbers, fades, pauses, waiting writers, and its figures."""

from __future__ import annotations

import statistics
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.audio.ring_buffer import RingBuffer
from slng_edge.pcm import Samples

RATE_HZ = 1000  # One sample a millisecond.
LOUD = 10000


def loud(samples: int) -> Samples:
    return np.full(samples, LOUD, dtype=np.int16)


def ramp(samples: int, start: int = 1) -> Samples:
    return np.arange(start, start + samples, dtype=np.int16)


def ring(**options: float) -> RingBuffer:
    settings = {"capacity_s": 1.0, "fade_ms": 10, "prebuffer_ms": 0, **options}
    return RingBuffer(rate_hz=RATE_HZ, **settings)


def read(buffer: RingBuffer, samples: int) -> tuple[int, Samples]:
    block = np.full(samples, -1, dtype=np.int16)
    return buffer.read_into(block), block


def test_samples_come_out_as_they_went_in() -> None:
    """What is written is read in order, and the block is padded with silence."""
    buffer = ring()
    utterance = buffer.open_utterance()
    assert buffer.write(ramp(15), utterance)
    count, block = read(buffer, 20)
    assert count == 15
    assert block.tolist() == [*range(1, 16), 0, 0, 0, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.integers(0, 90), max_size=30),
    blocks=st.lists(st.integers(1, 60), min_size=1, max_size=8),
)
def test_any_sequence_of_sizes_keeps_every_sample(chunks: list[int], blocks: list[int]) -> None:
    """Whatever the sizes of chunks and blocks, each sample comes out once and in order."""
    buffer = ring(capacity_s=0.1)
    utterance = buffer.open_utterance()
    wanted: list[int] = []
    got: list[int] = []

    def take(size: int) -> None:
        count, block = read(buffer, size)
        got.extend(block[:count].tolist())
        assert not block[count:].any()

    for turn, size in enumerate(chunks):
        chunk = ramp(size, start=len(wanted) + 1)
        while not buffer.write(chunk, utterance, timeout_s=0):
            done = buffer.samples_written(utterance) - len(wanted)
            wanted.extend(chunk[:done].tolist())
            chunk = chunk[done:]
            take(blocks[turn % len(blocks)])
        wanted.extend(chunk.tolist())
    buffer.end(utterance)
    while not buffer.drained(utterance):
        take(blocks[0])
    assert got == wanted
    assert buffer.samples_read(utterance) == buffer.samples_written(utterance) == len(wanted)
    assert buffer.finished == utterance


def test_an_old_number_is_refused() -> None:
    """After `clear`, what the network still delivers of the reply is not taken."""
    buffer = ring()
    utterance = buffer.open_utterance()
    assert buffer.write(loud(50), utterance)
    buffer.clear()
    assert not buffer.write(loud(50), utterance)
    assert buffer.buffered_samples == 0


def test_late_samples_do_not_reach_the_next_utterance() -> None:
    """The next utterance holds only what carries its own number."""
    buffer = ring(fade_ms=0)
    old = buffer.open_utterance()
    buffer.write(loud(50), old)
    new = buffer.open_utterance()
    assert new > old
    assert not buffer.write(loud(50), old)
    buffer.end(old)
    assert buffer.write(ramp(5), new)
    count, block = read(buffer, 20)
    assert (count, block[:6].tolist()) == (5, [1, 2, 3, 4, 5, 0])
    assert not buffer.drained(new)


def test_an_ended_utterance_takes_no_more() -> None:
    """`end` is final."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.end(utterance)
    assert not buffer.write(loud(5), utterance)


def test_clear_says_what_it_dropped_and_fades_the_rest() -> None:
    """All but 10 ms is dropped, and these go down to zero without a step."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.write(loud(100), utterance)
    read(buffer, 20)
    assert buffer.clear() == 70
    assert buffer.fading
    assert not buffer.drained(utterance)
    count, block = read(buffer, 20)
    assert count == 10
    assert block[0] < LOUD
    assert block[9] == 0
    assert np.all(np.diff(block[:10].astype(int)) < 0)
    assert not block[10:].any()
    assert (buffer.drained(utterance), buffer.fading) == (True, False)
    assert buffer.samples_read(utterance) == 30


def test_a_fade_longer_than_a_block_goes_on_in_the_next() -> None:
    """The ramp does not start anew in each block."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.write(loud(100), utterance)
    read(buffer, 4)
    buffer.clear()
    pieces = [read(buffer, 4)[1] for _ in range(3)]
    assert np.all(np.diff(np.concatenate(pieces)[:10].astype(int)) < 0)
    assert not read(buffer, 4)[1].any()


def test_clear_before_anything_sounded_leaves_no_tail() -> None:
    """There is nothing to fade where no sample was read."""
    buffer = ring(prebuffer_ms=80)
    utterance = buffer.open_utterance()
    buffer.write(loud(100), utterance)
    assert buffer.clear() == 100
    assert read(buffer, 20)[0] == 0


def test_clear_raises_the_number_in_silence_too() -> None:
    """A reply that was asked for and has not begun is refused as well."""
    buffer = ring()
    utterance = buffer.open_utterance()
    assert buffer.clear() == 0
    assert not buffer.write(loud(5), utterance)


def test_a_tail_and_the_next_utterance_never_share_a_block() -> None:
    """A block belongs to one utterance, so that the position of each is known."""
    buffer = ring()
    old = buffer.open_utterance()
    buffer.write(loud(100), old)
    read(buffer, 20)
    new = buffer.open_utterance()
    buffer.write(loud(100), new)
    assert read(buffer, 20)[0] == 10
    assert (buffer.last_read, buffer.last_read_total) == (old, 30)
    assert read(buffer, 20)[0] == 20
    assert (buffer.last_read, buffer.last_read_total) == (new, 20)


def test_nothing_sounds_until_the_prebuffer_is_gathered() -> None:
    """Silence until 80 ms are there, then everything from the first sample on."""
    buffer = ring(prebuffer_ms=80)
    utterance = buffer.open_utterance()
    buffer.write(ramp(79), utterance)
    assert read(buffer, 20)[0] == 0
    buffer.write(ramp(1, start=80), utterance)
    count, block = read(buffer, 20)
    assert (count, block[0]) == (20, 1)


def test_a_short_reply_does_not_wait_for_the_prebuffer() -> None:
    """When no more is to come, there is nothing to wait for."""
    buffer = ring(prebuffer_ms=80)
    utterance = buffer.open_utterance()
    buffer.write(ramp(10), utterance)
    buffer.end(utterance)
    assert read(buffer, 20)[0] == 10
    assert buffer.drained(utterance)


@pytest.mark.parametrize("first", [90, 100])
def test_running_dry_gathers_again_and_counts_once(first: int) -> None:
    """Dry within a block or just at its end: one underrun, and a new prebuffer."""
    buffer = ring(prebuffer_ms=80)
    utterance = buffer.open_utterance()
    buffer.write(loud(first), utterance)
    for _ in range(7):
        read(buffer, 20)
    buffer.write(loud(79), utterance)
    assert read(buffer, 20)[0] == 0
    buffer.write(loud(1), utterance)
    assert read(buffer, 20)[0] == 20
    assert buffer.underruns == 1


def test_a_late_end_is_no_underrun() -> None:
    """The end marker may come after the last sample was read."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.write(loud(30), utterance)
    read(buffer, 20)
    read(buffer, 20)
    buffer.end(utterance)
    assert buffer.drained(utterance)
    assert (buffer.finished, buffer.underruns) == (utterance, 0)


def test_pause_fades_out_and_resume_goes_on_there() -> None:
    """No sample is skipped by a pause, and both edges are soft."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.write(loud(200), utterance)
    read(buffer, 20)
    buffer.pause()
    count, block = read(buffer, 20)
    assert (count, block[9], block[10]) == (10, 0, 0)
    assert read(buffer, 20)[0] == 0
    buffer.resume()
    count, block = read(buffer, 20)
    assert (count, block[0], block[19]) == (20, 0, LOUD)
    assert buffer.samples_read(utterance) == 50


def test_pause_and_resume_within_a_block_are_not_heard() -> None:
    """Nothing has faded yet, so nothing fades."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.write(loud(100), utterance)
    read(buffer, 20)
    buffer.pause()
    buffer.resume()
    assert read(buffer, 20)[1].tolist() == loud(20).tolist()


def test_clear_ends_a_pause() -> None:
    """The reply after an interruption is not held back by the pause before it."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.write(loud(100), utterance)
    read(buffer, 20)
    buffer.pause()
    read(buffer, 20)
    assert buffer.clear() == 70
    new = buffer.open_utterance()
    buffer.write(loud(100), new)
    assert read(buffer, 20)[0] == 20


def test_a_full_buffer_makes_the_writer_wait() -> None:
    """The writer goes on as soon as there is room, and all samples arrive."""
    buffer = ring(capacity_s=0.1)
    utterance = buffer.open_utterance()
    results: list[bool] = []
    writer = threading.Thread(
        target=lambda: results.append(buffer.write(ramp(150), utterance)), daemon=True
    )
    writer.start()
    got: list[int] = []
    deadline = time.monotonic() + 5
    while len(got) < 150 and time.monotonic() < deadline:
        count, block = read(buffer, 20)
        got += block[:count].tolist()
    writer.join(5)
    assert results == [True]
    assert got == list(range(1, 151))


@pytest.mark.parametrize("release", ["clear", "open_utterance", "close"])
def test_a_waiting_writer_is_woken_and_refused(release: str) -> None:
    """Whatever ends an utterance ends the wait of who writes it."""
    buffer = ring(capacity_s=0.1)
    utterance = buffer.open_utterance()
    results: list[bool] = []
    writer = threading.Thread(
        target=lambda: results.append(buffer.write(loud(150), utterance)), daemon=True
    )
    writer.start()
    time.sleep(0.05)
    getattr(buffer, release)()
    writer.join(1)
    assert results == [False]


def test_a_wait_for_room_has_an_end() -> None:
    """With `timeout_s` the writer is told that not all were taken."""
    buffer = ring(capacity_s=0.1)
    utterance = buffer.open_utterance()
    assert not buffer.write(loud(150), utterance, timeout_s=0.02)
    assert buffer.samples_written(utterance) == 100


def test_a_closed_buffer_takes_nothing() -> None:
    """`close` is for good."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.close()
    assert not buffer.write(loud(5), utterance)


def test_counters_of_past_utterances_can_be_asked_for() -> None:
    """What was heard of an interrupted reply is asked after the clear."""
    buffer = ring(fade_ms=0)
    first = buffer.open_utterance()
    buffer.write(loud(50), first)
    read(buffer, 20)
    buffer.open_utterance()
    assert (buffer.samples_written(first), buffer.samples_read(first)) == (50, 20)
    assert buffer.samples_read(999) == 0


def test_it_is_idle_unless_an_utterance_is_open_or_unread() -> None:
    """What playback sleeps longer by."""
    buffer = ring()
    assert buffer.idle
    utterance = buffer.open_utterance()
    assert not buffer.idle
    buffer.write(loud(30), utterance)
    buffer.end(utterance)
    assert not buffer.idle
    read(buffer, 30)
    assert buffer.idle
    buffer.write(loud(30), buffer.open_utterance())
    read(buffer, 10)
    buffer.clear()
    assert not buffer.idle
    read(buffer, 20)
    assert buffer.idle


def microseconds(call: object, repeat: int = 300) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def test_cost_does_not_depend_on_how_full_it_is() -> None:
    """Write, read and clear touch a block, never the whole (generous: the machine is shared)."""
    buffer = RingBuffer(rate_hz=24000, fade_ms=0)
    block = np.zeros(480, dtype=np.int16)
    chunk = loud(480)
    figures = []
    for share in (0.0, 0.5, 1.0):
        utterance = buffer.open_utterance()
        filled = int(share * 120 * 24000) - 480
        if filled > 0:
            buffer.write(loud(filled), utterance)

        def pass_on(utterance: int = utterance) -> None:
            buffer.write(chunk, utterance)
            buffer.read_into(block)

        figures.append(microseconds(pass_on))
    assert max(figures) < 3 * min(figures)
    assert max(figures) < 100
