"""Which model a session uses now: the first, or the fallback that is tried while it fails.

A model that fails twice in a row is left for the next in the list (protocol.md, 7: "retry,
back-off, then next fallback model"); one that says nothing at all is left at once. `ready` is no
success: only an answer is, so that a model which says `ready` and then errors is left as well.
After the cool-down the first is tried again, on probation: there one failure is enough, also one
that is final, because the other model did work; it leads back to that one.
"""

from __future__ import annotations

from slng_edge.errors import (
    ConnectFailed,
    GatewayError,
    RateLimited,
    RemoteProtocolError,
    ServerReportedError,
    SessionClosed,
)

FAILURES = 2
"""In a row, until the next model is tried: one retry each."""

BROKE_WITHOUT_CLOSE = 1006

GOES_AWAY = (1000, 1001)
"""The codes of a server that goes away, or ends what was idle (protocol.md, 7)."""

DURATION_EXCEEDED = "max_connection_duration_exceeded"
NO_FAILURES = (DURATION_EXCEEDED, "idle_timeout_exceeded")
"""What a gateway says to a connection that was well: any model's would have ended so."""

FELL_SILENT = 1000
"""The code of a connection that *we* gave up because no answer came; other codes have other causes
than the model."""


class ModelChoice:
    """The models of one session; the owner serializes all calls.

    Args:
        models: The model and its fallbacks, in order; at least one.
        cooldown_s: How long the first is left alone once it was given up.
    """

    def __init__(self, models: tuple[str, ...], *, cooldown_s: float) -> None:
        self._models = models
        self._cooldown_s = cooldown_s
        self._index = 0
        self._back_to = 0
        self._failures = 0
        self._on_probation = False
        self._first_rests_until: float | None = None

    @property
    def current(self) -> str:
        """The model that connections are opened for."""
        return self._models[self._index]

    @property
    def first(self) -> str:
        """The model that is wanted."""
        return self._models[0]

    @property
    def first_rests_until(self) -> float | None:
        """When the first model may be tried again; None while it is the current one."""
        return self._first_rests_until

    def answered(self) -> None:
        """The current model did what it is for."""
        self._failures = 0
        self._on_probation = False

    def failed(
        self, error: GatewayError, now: float, *, at_work: bool, at_start: bool = True
    ) -> bool:
        """A connection of the current model failed.

        Args:
            error: Why.
            now: Seconds of a monotonic clock.
            at_work: Whether it had said `ready`, and work was under way on it.
            at_start: Whether it had never come as far as to be of use.

        Returns:
            Whether another model is to be tried, at once. After the last it is the first's
            turn again, which has to wait out the back-off like any other retry.
        """
        hopeless = self._on_probation and not error.retryable
        blamed = hopeless or blames_model(error, at_work=at_work, at_start=at_start)
        if len(self._models) == 1 or not blamed:
            return False
        self._failures += 1
        silent = isinstance(error, SessionClosed) and error.by_us
        if self._failures < FAILURES and not silent and not self._on_probation:
            return False
        following = self._back_to if self._on_probation else self._index + 1
        self._failures = 0
        self._on_probation = False
        if self._index == 0:
            self._first_rests_until = now + self._cooldown_s
        self._index = following % len(self._models)
        if self._index == 0:
            self._first_rests_until = None
        return self._index != 0

    def go_back(self) -> None:
        """The first model is used again, on probation: where it fails, the one of now is next."""
        self._back_to, self._index = self._index, 0
        self._on_probation = True
        self._first_rests_until = None

    def first_failed(self, now: float) -> None:
        """The first model was tried beside the current one, and still fails."""
        self._first_rests_until = now + self._cooldown_s


def blames_model(error: GatewayError, *, at_work: bool, at_start: bool = True) -> bool:
    """Whether another model may do better: not where the network is the trouble, nor the key.

    Nor where the gateway ends connections that are idle or old. For the arguments see
    `ModelChoice.failed`.
    """
    if not error.retryable:
        return False
    match error:
        case ConnectFailed():
            return error.status is not None
        case SessionClosed():
            if error.by_us:
                return error.code == FELL_SILENT
            if error.code in GOES_AWAY:
                return False
            return at_work or (at_start and error.code != BROKE_WITHOUT_CLOSE)
        case ServerReportedError(code=code) if code in NO_FAILURES:
            return False
        case RateLimited() | RemoteProtocolError() | ServerReportedError():
            return at_work or at_start
    return False


def is_duration_exceeded(error: GatewayError) -> bool:
    """Whether the gateway says that the connection has lived for as long as it may."""
    match error:
        case ServerReportedError(code=said) | SessionClosed(reason=said, by_us=False):
            return said == DURATION_EXCEEDED
    return False
