"""The exit statuses, after sysexits.h, and which error gives which."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from slng_edge import errors


class ExitStatus(enum.IntEnum):
    """What a process of ours ends with."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_INPUT = 66
    UNAVAILABLE = 69
    AUDIO = 74
    PROTOCOL = 76
    KEY_REFUSED = 77
    CONFIG = 78


INTERRUPTED = 130
"""Ctrl-C before it was done: 128 and the number of SIGINT, as shells say it."""

PROTOCOL_CLOSES = frozenset({1002, 1003, 1007, 1008, 4002})
"""Close codes that say that one side broke the rules (RFC 6455, 7.4.1; protocol.md, 7)."""

_BY_ERROR: Mapping[type[BaseException], ExitStatus] = {
    errors.SlngEdgeError: ExitStatus.FAILED,
    errors.ConfigError: ExitStatus.CONFIG,
    errors.UsageError: ExitStatus.USAGE,
    errors.InputFileError: ExitStatus.NO_INPUT,
    errors.AudioError: ExitStatus.AUDIO,
    errors.GatewayError: ExitStatus.UNAVAILABLE,
    errors.RequestRejected: ExitStatus.CONFIG,
    errors.AuthenticationRejected: ExitStatus.KEY_REFUSED,
    errors.LocalProtocolError: ExitStatus.PROTOCOL,
    errors.RemoteProtocolError: ExitStatus.PROTOCOL,
}


def exit_status_for(error: BaseException) -> ExitStatus:
    """The exit status that says what `error` says; FAILED where nothing better fits."""
    if isinstance(error, errors.ServerReportedError):
        # The gateway works and says no: trying later may help, or what we sent was wrong.
        return ExitStatus.UNAVAILABLE if error.retryable else ExitStatus.PROTOCOL
    if isinstance(error, errors.SessionClosed) and error.code in PROTOCOL_CLOSES:
        return ExitStatus.PROTOCOL
    return next(
        (_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR), ExitStatus.FAILED
    )
