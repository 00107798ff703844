"""Embedded voice client for SLNG: microphone to words, an answer to the speaker."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from slng_edge.config import Config
    from slng_edge.config_loading import load_config
    from slng_edge.gateway.stt_session import SttSession
    from slng_edge.gateway.tts_session import TtsSession
    from slng_edge.voice_loop import VoiceLoop

__all__ = ["Config", "SttSession", "TtsSession", "VoiceLoop", "__version__", "load_config"]

# Where each name lives: loaded when it is used, because numpy and the sound libraries cost
# more than a command such as `--version` or `ctl` may take.
_HOMES = {
    "Config": "slng_edge.config",
    "load_config": "slng_edge.config_loading",
    "SttSession": "slng_edge.gateway.stt_session",
    "TtsSession": "slng_edge.gateway.tts_session",
    "VoiceLoop": "slng_edge.voice_loop",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
