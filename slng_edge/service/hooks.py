"""`hooks.state`: a program of the user's that is run when the state changes.

One run at a time. What changes while one lasts is told by the next one, which gets the newest
state alone: a light that is behind has no use for what has passed.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence

from slng_edge.events import Stamped, StateChanged
from slng_edge.service.hook_run import HookRun
from slng_edge.threads import OnDeath, Worker

log = logging.getLogger(__name__)

LIMIT_S = 5.0
"""A run that takes longer is killed."""

WAIT_S = 60.0
"""How long one wait for a change is; `stop` ends it."""


class StateHook:
    """Owns the thread `hook` and the program that it runs.

    Args:
        argv: The program and its arguments.
        environ: Where the few variables that the program gets are looked up.
        on_death: As in `Worker`.

    Attributes:
        problem: Why the last run failed; "" where it did not.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environ: Mapping[str, str] = os.environ,
        on_death: OnDeath | None = None,
    ) -> None:
        self.problem = ""
        self._argv = tuple(argv)
        self._environment = small_environment(environ)
        self._changed = threading.Condition()
        self._newest: Stamped | None = None  # under the condition
        self._run: HookRun | None = None  # under the condition
        self._worker = Worker("hook", self._work, wake=self._wake, on_death=on_death)

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """End the program that runs, and the thread; any thread.

        Raises:
            StuckThread: the program does not end although it was killed.
        """
        self._worker.stop(timeout_s)

    def receive(self, stamped: Stamped) -> None:
        """Take an event; any thread, never waits."""
        if isinstance(stamped.event, StateChanged):
            with self._changed:
                self._newest = stamped
                self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
            if self._run is not None:
                self._run.cancel()

    def _work(self) -> None:
        while not self._worker.stopping.is_set():
            with self._changed:
                self._changed.wait_for(
                    lambda: self._newest is not None or self._worker.stopping.is_set(), WAIT_S
                )
                stamped, self._newest = self._newest, None
            if stamped is not None and not self._worker.stopping.is_set():
                self._tell(stamped)

    def _tell(self, stamped: Stamped) -> None:
        event = stamped.as_json()
        environment = {
            **self._environment,
            "SLNG_EDGE_STATE": event["state"],
            "SLNG_EDGE_EVENT": json.dumps(event),
        }
        run = HookRun(self._argv, environment)
        with self._changed:
            if self._worker.stopping.is_set():
                run.close()
                return
            self._run = run
        try:
            problem, said = run.wait(LIMIT_S)
        finally:
            with self._changed:
                self._run = None
            run.close()
        if not self._worker.stopping.is_set():
            self._judge(problem, said)

    def _judge(self, problem: str, said: str) -> None:
        """Once for each change of what comes of it: a broken hook is not worth a line a turn."""
        if problem == self.problem:
            return
        self.problem = problem
        if problem:
            log.warning("hooks.state: %s %s%s", self._argv[0], problem, said and f": {said}")
        else:
            log.info("hooks.state: %s works again", self._argv[0])


def small_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a hook gets of our environment: no key, and no setting that may hold a password."""
    kept = {name: environ[name] for name in ("HOME", "LANG", "TZ") if name in environ}
    return {"PATH": environ.get("PATH") or os.defpath, **kept}
