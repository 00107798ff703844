"""All fuzz targets by their names."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from fuzz import (
    files,
    gateway_messages,
    network_bytes,
    responder_bytes,
    service_requests,
    stt_session,
    tts_session,
)
from fuzz.target import Target

SEEDS = Path(__file__).parent / "seeds"

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in itertools.chain(
        gateway_messages.TARGETS,
        stt_session.TARGETS,
        tts_session.TARGETS,
        network_bytes.TARGETS,
        responder_bytes.TARGETS,
        service_requests.TARGETS,
        files.TARGETS,
    )
}


def seeds_of(name: str) -> list[Path]:
    """The seeds of a target, in the order of their names."""
    return sorted(path for path in (SEEDS / name).glob("*") if path.is_file())
