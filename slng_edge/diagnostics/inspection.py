"""Runs the checks side by side, each with a deadline, and gives what they find in their order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from slng_edge.config import Config
from slng_edge.diagnostics.finding import Finding, fail, warn
from slng_edge.diagnostics.running_service import RunningService
from slng_edge.errors import SlngEdgeError

log = logging.getLogger(__name__)

QUICK_S = 12.0
"""For what asks the kernel, a file, or a program that answers at once."""
SLOW_S = 35.0
"""For both sessions one after the other, each with `sessions.TIMEOUT_S` to connect and to be ready;
and for devices, whose opening is given up after 8 s."""


@dataclass(frozen=True)
class Subject:
    """What is looked at: a configuration, and the service that runs."""

    config: Config = field(default_factory=Config)
    service: RunningService = field(default_factory=RunningService)


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Attributes:
        name: As its findings have it, or what they have in common.
        run: Looks; in a thread of its own.
        longest_s: When its answer is no longer waited for.
        of_config: Whether it means nothing while the configuration is wrong.
    """

    name: str
    run: Callable[[Subject], Sequence[Finding]]
    longest_s: float = QUICK_S
    of_config: bool = False


class _Running:
    """A check under way."""

    def __init__(self, check: Check, subject: Subject) -> None:
        self.check = check
        self._subject = subject
        self._findings: Sequence[Finding] = ()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"check {check.name}", daemon=True)
        self._thread.start()

    def wait(self, began_s: float) -> Sequence[Finding]:
        """What it found; at the end of its time, that it did not answer."""
        if self._done.wait(max(0.0, began_s + self.check.longest_s - time.monotonic())):
            self._thread.join()
            return self._findings
        return [
            warn(
                self.check.name,
                f"no answer within {self.check.longest_s:g} s",
                "what it asks hangs: --log-level debug says more",
            )
        ]

    def _run(self) -> None:
        name = self.check.name
        try:
            self._findings = self.check.run(self._subject)
        except SlngEdgeError as error:
            self._findings = [fail(name, str(error), "")]
        except Exception as error:
            # One check that stumbles does not keep the others from being read.
            log.debug("check %s", name, exc_info=True)
            words = f"the check itself failed: {type(error).__name__}: {error}"
            self._findings = [warn(name, words, "--log-level debug says more; please report it")]
        finally:
            self._done.set()


def inspect(checks: Sequence[Check], subject: Subject) -> Iterator[Finding]:
    """What `checks` find, in their order and as soon as it is there.

    All begin at once, each in a thread; the last answer comes after the greatest `longest_s` at
    the latest. A check that hangs is left behind.
    """
    began_s = time.monotonic()
    running = [_Running(check, subject) for check in checks]
    for each in running:
        yield from each.wait(began_s)
