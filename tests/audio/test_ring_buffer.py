"""The ring buffer: order, numbers, fades, pauses, waiting writers, and its figures."""

from __future__ import annotations

import statistics
import threading
import time

import numpy as np
import pytest
from audio.ring_model import RingModel
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
    # What faded out was hardly heard, and is played again.
    assert buffer.samples_read(utterance) == 40


def test_pause_and_resume_within_a_block_are_not_heard() -> None:
    """Nothing has faded yet, so nothing fades."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.write(loud(100), utterance)
    read(buffer, 20)
    buffer.pause()
    buffer.resume()
    assert read(buffer, 20)[1].tolist() == loud(20).tolist()


def paused(buffer: RingBuffer, *, written: int = 400, read_before: int = 100) -> int:
    """An utterance that was paused after `read_before` samples, and has faded out."""
    utterance = buffer.open_utterance()
    assert buffer.write(ramp(written), utterance)
    for _ in range(read_before // 20):
        read(buffer, 20)
    assert buffer.pause()
    read(buffer, 20)
    return utterance


@pytest.mark.parametrize(
    ("rewind_ms", "back", "first"), [(0, 10, 101), (30, 40, 71), (999, 110, 1), (-5, 10, 101)]
)
def test_a_reply_goes_on_before_the_pause(rewind_ms: float, back: int, first: int) -> None:
    """So many milliseconds before where it began to fade, never before the reply's start."""
    buffer = ring()
    utterance = paused(buffer)
    assert buffer.resume(rewind_ms) == back
    _, block = read(buffer, 20)
    assert block[5:].tolist() == list(range(first + 5, first + 20))
    assert buffer.samples_read(utterance) == buffer.last_read_total == 110 - back + 20


def test_going_on_begins_softly() -> None:
    """The first 5 ms rise from zero."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.write(loud(200), utterance)
    read(buffer, 100)
    buffer.pause()
    read(buffer, 20)
    buffer.resume(50)
    _, block = read(buffer, 20)
    assert block[:6].tolist() == [0, LOUD // 4, LOUD // 2, LOUD * 3 // 4, LOUD, LOUD]


def test_a_waiting_writer_does_not_overwrite_what_may_be_played_again() -> None:
    """The buffer is full and a writer waits; a second before the pause is still there."""
    buffer = ring(capacity_s=0.5)
    utterance = buffer.open_utterance()
    writer = threading.Thread(target=buffer.write, args=(ramp(4000), utterance), daemon=True)
    writer.start()

    def full() -> None:
        deadline = time.monotonic() + 5
        while buffer.buffered_samples < 500 and time.monotonic() < deadline:
            time.sleep(0.001)

    for _ in range(100):
        full()
        read(buffer, 20)
    full()
    buffer.pause()
    read(buffer, 20)
    full()
    assert buffer.resume(1000) == 1010
    rest = []
    while len(rest) < 3000:
        count, block = read(buffer, 20)
        rest += block[:count].tolist()
    writer.join(1)
    assert rest[5:] == list(range(1006, 4001))


def test_who_coughs_again_and_again_does_not_drive_it_back() -> None:
    """No pause takes a reply further back than a second before the furthest that was heard."""
    buffer = ring(capacity_s=10)
    utterance = paused(buffer, written=5000, read_before=3000)
    for _ in range(5):
        buffer.resume(600)
        read(buffer, 20)
        buffer.pause()
        read(buffer, 20)
    assert buffer.samples_read(utterance) >= 3010 - 1010
    buffer.resume(600)
    _, block = read(buffer, 20)
    assert block[19] == 3000 - 1000 + 20


def test_a_pause_that_nobody_heard_rewinds_nothing() -> None:
    """Nothing was read meanwhile, so nothing is said twice."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.write(ramp(200), utterance)
    read(buffer, 20)
    buffer.pause()
    assert buffer.resume(500) == 0
    assert read(buffer, 20)[1].tolist() == list(range(21, 41))


def test_a_reply_paused_before_its_first_sample_waits_and_starts_at_it() -> None:
    """Paused while it is gathered: no fade, nothing to go back to, and not a sample lost."""
    buffer = ring(prebuffer_ms=80)
    utterance = buffer.open_utterance()
    buffer.write(ramp(50), utterance)
    read(buffer, 20)
    assert buffer.pause()
    buffer.write(ramp(150, start=51), utterance)
    assert (read(buffer, 20)[0], buffer.fading) == (0, False)
    assert buffer.resume(500) == 0
    assert read(buffer, 20)[1].tolist() == list(range(1, 21))


def test_a_reply_that_ended_while_it_was_paused_is_finished_after_it() -> None:
    """Its last samples faded out: it is not over, because they are played again."""
    buffer = ring()
    utterance = paused(buffer, written=105, read_before=100)
    buffer.end(utterance)
    read(buffer, 20)
    assert (buffer.finished, buffer.drained(utterance), buffer.idle) == (0, False, False)
    assert buffer.resume(20) == 25
    count, block = read(buffer, 30)
    assert (count, block[24]) == (25, 105)
    assert (buffer.finished, buffer.drained(utterance), buffer.idle) == (utterance, True, True)


def test_a_reply_that_ends_without_a_sound_while_it_is_paused_is_finished_after_it() -> None:
    """`resume` itself says so, for nothing is left to read."""
    buffer = ring()
    utterance = buffer.open_utterance()
    buffer.pause()
    buffer.end(utterance)
    assert buffer.finished == 0
    buffer.resume()
    assert buffer.finished == utterance


def test_what_was_read_to_its_end_cannot_be_paused() -> None:
    """Nothing is left to hold, and what stands in the device sounds."""
    buffer = ring()
    assert not buffer.pause()
    utterance = buffer.open_utterance()
    buffer.write(ramp(20), utterance)
    buffer.end(utterance)
    read(buffer, 20)
    assert not buffer.pause()
    assert (buffer.paused, buffer.finished) == (False, utterance)


def test_pausing_what_has_not_begun_leaves_the_fading_reply_alone() -> None:
    """The tail of the reply before is not taken for the beginning of the one that is paused."""
    buffer = ring()
    old = buffer.open_utterance()
    buffer.write(ramp(100), old)
    read(buffer, 20)
    new = buffer.open_utterance()
    buffer.write(ramp(100, start=1000), new)
    buffer.pause()
    count, _ = read(buffer, 20)
    assert (count, buffer.last_read, buffer.samples_read(new)) == (10, old, 0)
    buffer.resume()
    assert read(buffer, 20)[1][0] == 1000


@pytest.mark.parametrize("stop", ["pause", "clear"])
def test_stopping_again_before_it_sounds_makes_no_noise(stop: str) -> None:
    """After silence there is nothing to fade out."""
    buffer = ring()
    paused(buffer)
    buffer.resume(50)
    getattr(buffer, stop)()
    assert not buffer.fading
    assert not read(buffer, 20)[1].any()


def test_a_new_reply_ends_a_pause_and_cannot_go_back_into_the_old_one() -> None:
    """What was read before belongs to another utterance."""
    buffer = ring()
    paused(buffer)
    new = buffer.open_utterance()
    assert not buffer.paused
    buffer.write(ramp(100, start=1000), new)
    read(buffer, 20)
    buffer.pause()
    read(buffer, 20)
    assert buffer.last_samples(1000).tolist() == list(range(1000, 1020))
    assert buffer.resume(1000) == 30
    assert buffer.samples_read(new) == 0


def test_the_last_samples_are_those_before_the_pause() -> None:
    """What faded out is not among them: going on counts from where the fade began."""
    buffer = ring()
    paused(buffer)
    assert buffer.last_samples(30).tolist() == list(range(71, 101))
    assert buffer.last_samples(5000).tolist() == list(range(1, 101))
    buffer.resume()
    read(buffer, 20)
    assert buffer.last_samples(10).tolist() == list(range(111, 121))
    assert not len(buffer.last_samples(0))
    assert not len(ring().last_samples(100))


KEPT = 1010  # MAX_REWIND_MS and the fade
OPERATIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 700)),
    st.tuples(st.just("read"), st.integers(10, 60)),
    st.tuples(st.just("read"), st.integers(10, 600)),
    st.tuples(st.just("pause"), st.just(0)),
    st.tuples(st.just("resume"), st.integers(0, 1200)),
    st.tuples(st.sampled_from(["clear", "open", "end"]), st.just(0)),
    st.tuples(st.just("last"), st.integers(0, 1200)),
)


@settings(max_examples=120, deadline=None)
@given(operations=st.lists(OPERATIONS, max_size=60))
def test_it_does_what_plain_lists_do(operations: list[tuple[str, int]]) -> None:
    """Any sequence of calls: the same samples, gains, numbers and counters."""
    buffer = ring(capacity_s=0.5)
    model = RingModel(capacity=500, fade=10, kept=KEPT)
    value = 0
    buffer.open_utterance()
    model.open()
    for what, size in operations:
        if what == "write":
            samples = [(value + k) % 20000 + 1000 for k in range(size)]
            value += size
            taken = buffer.write(np.array(samples, dtype=np.int16), buffer.utterance, timeout_s=0)
            assert taken == model.write(samples)
        elif what == "read":
            count, block = read(buffer, size)
            expected = model.read(size)
            assert count == len(expected)
            wanted = [sample * gain for sample, gain in expected]
            assert np.allclose(block[:count], wanted, atol=1.01)
            assert not block[count:].any()
        elif what == "resume":
            assert buffer.resume(size) == model.resume(size)
        elif what == "pause":
            assert buffer.pause() == model.pause()
        elif what == "last":
            assert buffer.last_samples(size).tolist() == model.last(min(size, 1000))
        elif what == "end":
            buffer.end(buffer.utterance)
            model.end()
        elif what == "clear":
            assert buffer.clear() == model.clear()
        else:
            assert buffer.open_utterance() == model.open()
        current = model.current
        assert buffer.samples_read(current.number) == current.at
        assert buffer.samples_written(current.number) == len(current.samples)
        assert (buffer.paused, buffer.finished) == (model.paused, model.finished)
        assert buffer.fading == bool(model.tail)
        last = model.everything[buffer.last_read]
        assert buffer.last_read_total == last.at or not buffer.last_read


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
