"""Which state the outside is shown: muted, error and offline hide what the dialogue does."""

from __future__ import annotations

from dataclasses import dataclass, replace

from slng_edge.dialogue.turn_taking import State


@dataclass(frozen=True)
class Conditions:
    """What the visible state depends on besides the dialogue.

    `offline` and `refused` hold the names of the sessions ("stt", "tts") that have no
    connection, or were refused for good; `unready` those that were not ready yet.
    """

    unready: frozenset[str] = frozenset(("stt", "tts"))
    offline: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    deaf: bool = False
    muted: bool = False

    def session_ready(self, session: str) -> Conditions:
        """`session` is ready."""
        return replace(
            self,
            unready=self.unready - {session},
            offline=self.offline - {session},
            refused=self.refused - {session},
        )

    def session_failed(self, session: str, *, final: bool) -> Conditions:
        """An attempt of `session` failed; `final` where trying again cannot help."""
        return replace(
            self,
            offline=self.offline | {session},
            refused=self.refused | {session} if final else self.refused,
        )

    def hearing(self, hears: bool) -> Conditions:
        """The microphone is there, or is not."""
        return replace(self, deaf=not hears)

    def muting(self, muted: bool) -> Conditions:
        """It shall hear nothing, or hear again."""
        return replace(self, muted=muted)


def visible_state(state: State, conditions: Conditions) -> str:
    """The name that `contract.md` gives it.

    A microphone that is lost makes "error": a box that cannot hear must not say that it listens.
    """
    if conditions.muted:
        return "muted"
    if conditions.refused or conditions.deaf:
        return "error"
    if conditions.offline:
        return "offline"
    if conditions.unready and state is State.IDLE:
        return "starting"
    return state.value
