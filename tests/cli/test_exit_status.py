"""Every error ends a process with the status that the contract gives it."""

import pytest

from slng_edge import errors
from slng_edge.cli.exit_status import ExitStatus, exit_status_for


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.SlngEdgeError("x"), 1),
        (errors.ConfigError("x"), 78),
        (errors.UsageError("x"), 2),
        (errors.InputFileError("x"), 66),
        (errors.MissingLibrary("a", "b", "c"), 1),
        (errors.AudioError("x"), 74),
        (errors.DeviceNotFound("x"), 74),
        (errors.DeviceLost("x"), 74),
        (errors.FormatUnsupported("x"), 74),
        (errors.GatewayError("x"), 69),
        (errors.ConnectFailed("x"), 69),
        (errors.RequestRejected("x"), 78),
        (errors.AuthenticationRejected("x"), 77),
        (errors.RateLimited("x"), 69),
        (errors.SessionClosed("x"), 69),
        (errors.SessionClosed("x", code=1008), 76),
        (errors.LocalProtocolError("x"), 76),
        (errors.RemoteProtocolError("x"), 76),
        (errors.ServerReportedError("x", "y", retryable=True), 69),
        (errors.ServerReportedError("x", "y", retryable=False), 76),
        (errors.ResponderError("x"), 1),
        (errors.ControlError("x"), 1),
        (errors.StuckThread("x"), 1),
        (KeyError("x"), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_an_error_has_its_exit_status(error: BaseException, status: int) -> None:
    """After sysexits.h; what is not in the table is a plain failure."""
    assert exit_status_for(error) == status


def test_no_error_of_ours_is_forgotten() -> None:
    """A new error class gets its status by its base, and the statuses are the contract's."""
    assert [int(status) for status in ExitStatus] == [0, 1, 2, 66, 69, 74, 76, 77, 78]
