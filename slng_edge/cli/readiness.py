"""Waiting for the gateway before a command of one session begins."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from slng_edge.connecting.model_choice import blames_model
from slng_edge.errors import GatewayError

if TYPE_CHECKING:
    from slng_edge.config import GatewayConfig, SttConfig, TtsConfig
    from slng_edge.gateway.session import Session

POLL_S = 0.1


def wait_ready(session: Session, gateway: GatewayConfig, models: SttConfig | TtsConfig) -> None:
    """Wait for `ready`; where the model fails and has fallbacks, until one of them is ready.

    Waits at most two `gateway.connect_timeout_s` for each model. Says on standard error that
    it waits for a fallback, as that may be heard or read in the results.

    Raises:
        SlngEdgeError: the first attempt that failed, where no other model can help; else the last.
    """
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
                print(f"waiting for {models.model}, else {others}: {error}", file=sys.stderr)
            time.sleep(POLL_S)
        else:
            return
