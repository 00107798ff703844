"""What finds races and waits has to be able to: each kind of mistake, made on purpose."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stress import primitives
from stress.delays import Delays
from stress.justified import HELD_ACROSS, SIGNALS
from stress.lines import MODULES, trace
from stress.primitives import Condition, Event, Lock, Queue, RLock, Thread
from stress.watch import Watch, cycles

import slng_edge

PRODUCT = Path(slng_edge.__file__).parent


@pytest.fixture
def watch() -> Iterator[Watch]:
    """What the primitives of this process tell, for one test."""
    given = primitives.DELAYS, primitives.WATCH
    primitives.DELAYS = Delays(1)
    primitives.WATCH = Watch(primitives.DELAYS)
    yield primitives.WATCH
    primitives.DELAYS, primitives.WATCH = given


def write_to_a_file() -> None:
    with open("/dev/null", "wb", buffering=0) as file:
        file.write(b"x")


def send_to_a_socket() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.send(b"x")


def join_a_thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def wait_for_another_condition() -> None:
    condition = Condition(Lock("other"))
    with condition:
        condition.wait(0.001)


WAITS: dict[str, Callable[[], object]] = {
    "time sleep": lambda: time.sleep(0.001),
    "file write": write_to_a_file,
    "io open": write_to_a_file,
    "socket send": send_to_a_socket,
    "thread join": join_a_thread,
    "thread start": join_a_thread,
    "program fork_exec": lambda: subprocess.run(["true"], check=True),
    "thread event": lambda: Event().wait(0.001),
    "thread queue": lambda: Queue(1).put(1),
    "thread condition": wait_for_another_condition,
}


@pytest.mark.parametrize("what", WAITS)
def test_a_wait_with_a_lock_held_is_told_with_both_stacks(watch: Watch, what: str) -> None:
    """Where the lock was taken and where the wait is; without a lock nothing is told."""
    WAITS[what]()
    assert watch.violations == {}
    lock = Lock("held")
    with lock:
        WAITS[what]()
    told = watch.violations[f"held is held across {what}"]
    assert "taken at" in told
    assert told.count("in test_a_wait_with_a_lock_held_is_told_with_both_stacks") == 2


def test_a_condition_gives_its_own_lock_up_while_it_waits(watch: Watch) -> None:
    """So that is no wait with a lock held; nor is what the wait itself does."""
    condition = Condition(Lock("held"))
    with condition:
        condition.wait(0.001)
        condition.notify_all()
    with condition:
        assert not condition.wait_for(lambda: False, 0.01)
    assert watch.violations == {}
    assert watch.uses["held"].taken >= 4


def test_what_is_justified_is_not_told(watch: Watch) -> None:
    """And that it was needed is noted."""
    lock = Lock("gateway.byte_stream.ByteStream._sending")
    with lock:
        send_to_a_socket()
    assert watch.violations == {}
    assert watch.excused == {("gateway.byte_stream.ByteStream._sending", "socket send")}


def test_a_lock_that_is_taken_twice_is_told_before_it_hangs(watch: Watch) -> None:
    """A reentrant one may be."""
    lock, again = Lock("once"), RLock("again")
    with lock:
        assert not lock.acquire(blocking=False)
        assert watch.violations == {}
        assert not lock.acquire(timeout=0.01)
    assert list(watch.violations) == ["once takes again what it holds, which never ends"]
    with again, again:
        pass
    assert len(watch.violations) == 1


def test_locks_that_are_taken_in_a_circle_are_found(watch: Watch) -> None:
    """By two threads that never meet; three in one circle, too."""
    a, b, c = Lock("a"), Lock("b"), Lock("c")
    for first, then in ((a, b), (b, c)):
        with first, then:
            pass
    assert cycles(watch.pairs) == []
    with c, a:
        pass
    assert cycles(watch.pairs) == [["a", "b", "c", "a"]]
    assert cycles([("a", "a")]) == [["a", "a"]]


def test_how_long_a_lock_was_held_is_noted(watch: Watch) -> None:
    """Less what the delays have added to it."""
    lock, inner = Lock("long"), Lock("inner")
    with lock:
        until = time.monotonic() + 0.02
        while time.monotonic() < until:
            pass
    assert 0.02 <= watch.uses["long"].longest_s < 5
    assert watch.uses["long"].longest_cpu_s <= watch.uses["long"].longest_s + 0.001
    watch.delays.active = True
    for _ in range(300):
        with lock, inner:
            pass
    assert watch.delays.totals()["sleep"] > 0
    assert watch.uses["long"].taken == 301


def test_a_seed_gives_the_same_delays_again() -> None:
    """For a thread of the same name, whatever others do; another seed gives others."""

    def drawn(seed: int, *others: str) -> dict[str, int]:
        delays = Delays(seed)
        delays.active = True

        def pass_by() -> None:
            for _ in range(400):
                delays.pause("a lock")

        for name in (*others, "one"):
            if name == "one":
                before = delays.totals()
            thread = Thread(target=pass_by, name=name)
            thread.start()
            thread.join()
        return {kind: count - before[kind] for kind, count in delays.totals().items()}

    assert drawn(1) == drawn(1) == drawn(1, "another")
    assert drawn(1) != drawn(2)


COUNTER = """
count = 0


def add(times):
    global count
    for _ in range(times):
        count = count + one()


def one():
    return 1
"""


def test_an_update_that_nothing_guards_goes_wrong_between_its_instructions() -> None:
    """A module that is traced is held up there; that is how a missing lock shows."""
    program = f"""
import sys, threading, types
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from stress.delays import Delays
from stress.lines import trace
counted = types.ModuleType("slng_edge.counted")
exec(compile({COUNTER!r}, "counted.py", "exec"), counted.__dict__)
delays = Delays(1)
delays.active = True
trace(delays, ["counted"] if sys.argv[1] == "traced" else [])
threads = [threading.Thread(target=counted.add, args=(300,)) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(counted.count)
"""

    def counted(how: str) -> int:
        command = [sys.executable, "-c", program, how]
        return int(subprocess.run(command, capture_output=True, check=True).stdout)

    assert counted("traced") < 900
    assert counted("not traced") == 900
    assert trace.__doc__


def test_what_is_justified_is_still_there() -> None:
    """A lock that has another name now needs its reason again; so does a module that is chosen."""
    for name in {*SIGNALS, *(lock for lock, _ in HELD_ACROSS)}:
        module, owner, attribute = name.rsplit(".", 2)
        source = (PRODUCT / (module.replace(".", "/") + ".py")).read_text()
        assert re.search(rf"^class {owner}\b", source, re.M), name
        assert re.search(rf"self\.{attribute}\b.*= threading\.", source), name
    for module in MODULES:
        assert (PRODUCT / (module.replace(".", "/") + ".py")).exists(), module
