"""Text as the providers' own clients send it, on a classic text-to-speech endpoint.

The gateway takes the providers' frames and its own messages side by side (protocol.md, 5). So
the session is opened, kept alive and interrupted as the classic dialect does it, which gives
a voice and a `ready`; text and flush alone are the provider's. What comes back is read by the
classic dialect, which knows raw binary audio and `{audio, isFinal}` too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from slng_edge.protocol.classic_tts import ClassicTts
from slng_edge.protocol.decoding import encode_message, well_formed


class NativeOrpheusTts(ClassicTts):
    """Bare text frames, and a control message as flush; arguments are those of `ClassicTts`."""

    def text(self, text: str) -> str:
        """Text to speak, as it is; where it could be read as a message, in a classic one."""
        if not text.strip() or _is_json(text):
            return super().text(text)
        return well_formed(text)

    def flush(self) -> str:
        """Ask for the audio of all text sent so far."""
        return encode_message("control", action="flush")


class NativeElevenLabsTts(ClassicTts):
    """``{"text", "voice_settings"}``; an empty text is the flush, after which the route may close.

    Arguments are those of `ClassicTts`; `options.voice_settings` goes with every text.
    """

    def text(self, text: str) -> str:
        """Text to speak; the provider wants a blank at its end."""
        spaced = text if text.endswith(" ") else f"{text} "
        settings = self.provider_field("voice_settings")
        return _encode({"text": spaced, **({"voice_settings": settings} if settings else {})})

    def flush(self) -> str:
        """Say that no more text follows: what is left is spoken."""
        return _encode({"text": ""})


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        # Only what begins so can be meant as an object by a reader more lenient than ours.
        return text.lstrip().startswith("{")
    return True


def _encode(fields: Mapping[str, Any]) -> str:
    return well_formed(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))
