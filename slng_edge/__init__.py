"""Embedded voice client for SLNG: microphone to words, an answer to the speaker."""

__version__ = "0.1.0"
