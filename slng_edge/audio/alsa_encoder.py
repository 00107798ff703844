"""ALSA's AC-3 encoder, which nobody speaks through, kept out of the list of devices.

PortAudio opens every device that ALSA's configuration defines to see what it can do. One of those
that come with ALSA's plugins (`libasound2-plugins`, which PulseAudio's devices need, too) is an
encoder for S/PDIF: it loads FFmpeg with sixty libraries, which stay, and is of no use without such
an output. Measured on Debian 12, x86-64, after `PyAudio()`: 36 MB resident instead of 23, and 31 ms
of CPU instead of 14.
"""

from __future__ import annotations

import ctypes
import logging

log = logging.getLogger(__name__)

_LIBRARY = "libasound.so.2"
_ENCODER = b"a52"


def leave_out() -> None:
    """Take the encoder out of the configuration in memory; before PortAudio starts, each time.

    Not where anything else in the configuration speaks of it: then somebody plays through it.
    Where there is no ALSA nothing is done. The thread that is about to start PortAudio.
    """
    try:
        alsa = ctypes.CDLL(_LIBRARY)
        root = ctypes.c_void_p.in_dll(alsa, "snd_config")
    except (OSError, ValueError) as error:
        log.debug("no configuration of ALSA's to look at: %s", error)
        return
    encoder = ctypes.c_void_p()
    if (
        alsa.snd_config_update() < 0
        or alsa.snd_config_search(root, b"pcm." + _ENCODER, ctypes.byref(encoder)) < 0
    ):
        return
    # Its name, and what is said of it there.
    if _text(alsa, root).count(_ENCODER) == 1 + _text(alsa, encoder).count(_ENCODER):
        alsa.snd_config_delete(encoder)


def _text(alsa: ctypes.CDLL, node: ctypes.c_void_p) -> bytes:
    """A part of the configuration as one would write it; empty where ALSA has no memory."""
    output, text = ctypes.c_void_p(), ctypes.c_void_p()
    if alsa.snd_output_buffer_open(ctypes.byref(output)) < 0:
        return b""
    try:
        alsa.snd_config_save(node, output)
        size = alsa.snd_output_buffer_string(output, ctypes.byref(text))
        return ctypes.string_at(text, size)
    finally:
        alsa.snd_output_close(output)
