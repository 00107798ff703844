"""What a press of a button means, and what can be done without a word: decisions, no hardware."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

LONG_S = 1.5
"""Held so long, it is a long press; told while it is still held, for a finger to feel it."""
DEBOUNCE_S = 0.03
"""A level counts when it has stayed so long. Contacts bounce for up to 10 ms, poor ones for 20."""
STUCK_S = 10.0
"""Nobody holds a button so long; a wire or a case does."""


class HandControls(Protocol):
    """What buttons and keys do. Called in their threads; none of these waits."""

    def talk_or_stop(self) -> None:
        """Stop a reply that sounds or is thought about; else listen, as after a wake word."""

    def toggle_mute(self) -> None:
        """Mute, or unmute."""

    def change_volume(self, step: float) -> None:
        """Louder by `step`, of a full volume of 1; negative: softer."""

    def quit(self) -> None:
        """End the service."""


class ButtonAct(Enum):
    """What a button asks for."""

    SHORT = auto()
    """Pressed and released."""
    LONG = auto()
    """Held for `LONG_S`; nothing follows when it is released."""
    STUCK = auto()
    """Held from the start, or for `STUCK_S`: ignored until it is released."""


class ButtonPresses:
    """Edges of one button in, acts out. Times are of one clock, in seconds, and never go back.

    Args:
        held: Whether the button is held at the start; it is ignored until it is released.
    """

    def __init__(self, *, held: bool, now_s: float) -> None:
        self._level = self._pressed = held
        self._level_since_s = self._pressed_since_s = now_s
        self._long_told = self._ignored = held
        self._untold: list[ButtonAct] = [ButtonAct.STUCK] if held else []

    def press(self, now_s: float) -> list[ButtonAct]:
        """The contact closed."""
        return self._change(True, now_s)

    def release(self, now_s: float) -> list[ButtonAct]:
        """The contact opened."""
        return self._change(False, now_s)

    def advance(self, now_s: float) -> list[ButtonAct]:
        """Time has passed; due at `due_s`, and harmless at any other time."""
        acts, self._untold = self._untold, []
        if self._pressed:
            # The end of what had been settled by then, if its level has changed since.
            held_until_s = now_s if self._level else self._level_since_s
            acts += self._held(held_until_s)
        if self._level != self._pressed and now_s >= self._level_since_s + DEBOUNCE_S:
            acts += self._settle()
            if self._pressed:
                acts += self._held(now_s)
        return acts

    def due_s(self) -> float | None:
        """When to call `advance`; None: not before the next edge."""
        if self._untold:
            return self._level_since_s
        if self._level != self._pressed:
            return self._level_since_s + DEBOUNCE_S
        if self._pressed and not self._ignored:
            return self._pressed_since_s + (STUCK_S if self._long_told else LONG_S)
        return None

    def _change(self, level: bool, now_s: float) -> list[ButtonAct]:
        acts = self.advance(now_s)
        if level != self._level:
            self._level, self._level_since_s = level, now_s
        return acts

    def _held(self, until_s: float) -> list[ButtonAct]:
        acts = []
        if not self._long_told and until_s >= self._pressed_since_s + LONG_S:
            self._long_told = True
            acts.append(ButtonAct.LONG)
        if not self._ignored and until_s >= self._pressed_since_s + STUCK_S:
            self._ignored = True
            acts.append(ButtonAct.STUCK)
        return acts

    def _settle(self) -> list[ButtonAct]:
        """The level has stayed: it is what the button is."""
        self._pressed = self._level
        if self._pressed:
            self._pressed_since_s = self._level_since_s
            self._long_told = self._ignored = False
            return []
        return [] if self._long_told else [ButtonAct.SHORT]
