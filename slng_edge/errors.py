"""Every error that slng-edge raises on purpose.

    SlngEdgeError
    ├── ConfigError                 the configuration is wrong: exit 78
    ├── UsageError                  the command line is wrong: exit 2
    ├── InputFileError              an input file is missing or unreadable: exit 66
    ├── MissingLibrary              a library of an extra is not installed
    ├── AudioError                  exit 74
    │   ├── DeviceNotFound          no device of that name (now)
    │   ├── DeviceLost              it was open and is gone
    │   └── FormatUnsupported       it exists and opens at none of our rates
    ├── GatewayError
    │   ├── ConnectFailed           no connection: DNS, TCP, TLS, HTTP 5xx: exit 69
    │   ├── RequestRejected         the gateway refused what we asked for (HTTP 400, 404): exit 78
    │   ├── AuthenticationRejected  the key was refused: exit 77
    │   ├── RateLimited             too many connections or messages
    │   ├── SessionClosed           the connection is gone
    │   ├── LocalProtocolError      we broke the protocol: a bug of ours
    │   ├── RemoteProtocolError     the gateway broke the protocol: exit 76
    │   └── ServerReportedError     the gateway said `error`
    ├── ResponderError              the responder failed
    ├── ControlError                the control socket refused
    └── StuckThread                 a thread did not stop within its deadline

``retryable`` says whether the same call may succeed later with nothing changed.
A message says what failed, on what, and what to do next; it never holds a key.
"""

from __future__ import annotations


class SlngEdgeError(Exception):
    """Base of all; `retryable` is a class default that an instance may override."""

    retryable = False


class ConfigError(SlngEdgeError):
    """The configuration is wrong.

    `problems` holds one line for each thing that is wrong, so that all of them
    can be shown at once.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UsageError(SlngEdgeError):
    """The command line asks for something that cannot be."""


class InputFileError(SlngEdgeError):
    """An input file is missing, unreadable, or not audio that can be read."""


class MissingLibrary(SlngEdgeError):
    """A library that this function needs is not installed.

    The message carries the exact line that installs it.
    """

    def __init__(self, library: str, needed_for: str, install: str) -> None:
        super().__init__(f"{needed_for} needs {library}, which is not installed. Run: {install}")


class AudioError(SlngEdgeError):
    """An audio device failed."""


class DeviceNotFound(AudioError):
    """There is no device of that name now; it may be plugged in later."""

    retryable = True


class DeviceLost(AudioError):
    """The device was open and does not answer any more (unplugged, server gone)."""

    retryable = True


class FormatUnsupported(AudioError):
    """The device exists, but opens at none of the sample rates we can convert from."""


class GatewayError(SlngEdgeError):
    """Talking to the gateway failed."""


class ConnectFailed(GatewayError):
    """No connection came about: DNS, TCP, TLS, HTTP status, or `ready` did not come.

    `status` is the gateway's HTTP status, None where the gateway was not reached at all.
    """

    retryable = True

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.status = status


class RequestRejected(GatewayError):
    """The gateway answered the upgrade with a status that says the request is wrong."""


class AuthenticationRejected(GatewayError):
    """The key was refused (HTTP 401, 403, close 4000, `auth_error`)."""


class RateLimited(GatewayError):
    """Too many connections or messages (HTTP 429, close 4001, `rate_limit`)."""

    retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SessionClosed(GatewayError):
    """The connection is gone.

    `code` is the WebSocket close code, 1006 where there was no close frame. `by_us` says
    that we gave it up, to replace it at once: the gateway is there, and answers no more.
    """

    retryable = True

    def __init__(
        self, message: str, *, code: int = 1006, reason: str = "", by_us: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.by_us = by_us


class LocalProtocolError(GatewayError):
    """We tried to break the protocol: a bug of ours."""


class RemoteProtocolError(GatewayError):
    """The gateway sent what the protocol does not allow."""

    retryable = True


class ServerReportedError(GatewayError):
    """The gateway sent an `error` message; its own words are kept."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.retryable = retryable


class ResponderError(SlngEdgeError):
    """The responder failed; the turn ends without an answer."""

    retryable = True


class ControlError(SlngEdgeError):
    """The control socket refused a request."""


class StuckThread(SlngEdgeError):
    """A thread did not stop within its deadline."""


def forget_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error that will be kept, and of its causes.

    Their frames keep all that was on the stack: a connection, with what was read from it.
    """
    known: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in known:
            continue
        known.add(id(each))
        each.__traceback__ = None
        left += [each.__cause__, each.__context__]
