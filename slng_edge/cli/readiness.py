"""What commands of one session share: waiting for the gateway, and saying why they end."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from slng_edge.cli import tell
from slng_edge.connecting.model_choice import blames_model
from slng_edge.errors import GatewayError

if TYPE_CHECKING:
    from slng_edge.config import GatewayConfig, SttConfig, TtsConfig
    from slng_edge.gateway.session import Session

POLL_S = 0.1

_RETRIED = re.compile(r"[;:]?\s*\bit will be tried again\.?", re.IGNORECASE)

_outages = logging.getLogger("slng_edge.gateway.outage_log")


@contextlib.contextmanager
def one_attempt() -> Iterator[None]:
    """In here what fails ends the command: its error does not promise another attempt.

    Sessions end in here: until then their threads may log.
    """
    try:
        yield
    except GatewayError as error:
        error.args = (_RETRIED.sub("", str(error)), *error.args[1:])
        raise
    finally:
        _outages.removeFilter(_hold_back)


def _hold_back(record: logging.LogRecord) -> bool:
    return record.levelno < logging.WARNING or _outages.isEnabledFor(logging.DEBUG)


def wait_ready(session: Session, gateway: GatewayConfig, models: SttConfig | TtsConfig) -> None:
    """Wait for `ready`; where the model fails and has fallbacks, until one of them is ready.

    Waits at most two `gateway.connect_timeout_s` for each model. Says on standard error that
    it waits for a fallback, as that may be heard or read in the results. Inside `one_attempt`.

    Raises:
        SlngEdgeError: the first attempt that failed, where no other model can help; else the last.
    """
    _outages.addFilter(_hold_back)  # what fails is raised or said here, and not logged as well
    _wait_ready(session, gateway, models)
    _outages.removeFilter(_hold_back)  # else later: the session logs what was raised after that


def _wait_ready(session: Session, gateway: GatewayConfig, models: SttConfig | TtsConfig) -> None:
    patience_s = 2 * gateway.connect_timeout_s
    if not models.fallbacks:
        session.wait_ready(patience_s)
        return
    deadline = time.monotonic() + patience_s * (1 + len(models.fallbacks))
    told = False
    while True:
        try:
            session.wait_ready(max(0.0, deadline - time.monotonic()))
        except GatewayError as error:
            if not blames_model(error, at_work=False) or time.monotonic() >= deadline:
                raise
            if not told:
                told = True
                others = ", ".join(models.fallbacks)
                tell(f"waiting for {models.model}, else {others}: {error}")
            time.sleep(POLL_S)
        else:
            return
