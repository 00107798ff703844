"""Cells and rows of the fault matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from faults.outcomes import BROKEN, EVERYWHERE_AS_EVER, OWN_FINAL, Outcomes
from faults.stage import RESET, Played, Setting, State, Strike, play
from faults.verdict import Outcome, Words, as_said, judge

S = State
Check = Callable[[Played], None]
NO_STRIKE = Strike()
AT_TIMES = "at times"
"""Begins what is said of a cell that fails by chance."""
LATE_S = 1.0
"""What a loaded machine may take for what is due."""


@dataclass(frozen=True)
class Cell:
    """A fault in a state.

    Attributes:
        row: The label of its row.
        state: Where the loop is.
        outcome: What has to come of it; None where it cannot do anything.
        otherwise: What may come of it as well, where chance decides.
        why_not: Why it cannot do anything.
        faults: The gateway's from the beginning.
        strike: What happens in the state.
        config: Overrides of the configuration.
        words: The words of the final of a turn.
        lost: What is told as lost, where it is not the outcome's.
        also: What else has to be.
        fails: What the product does instead, "" where it does not fail; see `AT_TIMES`.
    """

    row: str
    state: State
    outcome: Outcome | None
    otherwise: Outcome | None = None
    why_not: str = ""
    faults: tuple[str, ...] = ()
    strike: Strike = NO_STRIKE
    config: tuple[str, ...] = ()
    words: Words = as_said
    lost: tuple[str, ...] | None = None
    also: Check | None = None
    fails: str = ""

    def __str__(self) -> str:
        return f"{self.row} - {self.state.value}"

    @property
    def fails_always(self) -> bool:
        """Whether it must fail, as it is noted to."""
        return bool(self.fails) and not self.fails.startswith(AT_TIMES)

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What may come of it."""
        return tuple(filter(None, (self.outcome, self.otherwise)))

    def play(self) -> Played:
        """Play it."""
        events = tuple(self._counts(outcome) for outcome in self.outcomes)
        ends_in = self.outcomes[0].ends_in
        return play(Setting(self.state, self.faults, self.strike, self.config, events, ends_in))

    def judge(self, played: Played) -> None:
        """Raise an AssertionError where something else came of it."""
        outcome = self.outcomes[0]
        if self.otherwise is not None and len(played.jsons("lost")) == len(self.otherwise.lost):
            outcome = self.otherwise
        lost = outcome.lost if self.lost is None else self.lost
        judge(played, self.state, outcome, self.words, lost)
        if self.also is not None:
            self.also(played)

    def _counts(self, outcome: Outcome) -> Counter[str]:
        counts = Counter(outcome.events(self.state, probe=False))
        counts["lost"] = len(outcome.lost)
        counts["refused"] = 0 if outcome.probed else 2
        return counts


@dataclass(frozen=True)
class Row:
    """A fault in every state.

    Attributes:
        label: How it is asked for.
        names: The faults it is made of.
        cells: One for each state.
    """

    label: str
    names: tuple[str, ...]
    cells: tuple[Cell, ...]


def row(
    label: str,
    outcomes: Outcomes,
    *,
    strike: Strike | Mapping[State, Strike] = NO_STRIKE,
    faults: Iterable[str] | Mapping[State, Iterable[str]] = (),
    config: Iterable[str] = (),
    words: Words | Mapping[State, Words] = as_said,
    lost: Mapping[State, tuple[str, ...]] | None = None,
    also: Check | None = None,
    otherwise: Mapping[State, Outcome] | None = None,
    fails: Mapping[State, str] | None = None,
) -> Row:
    """A row whose cells differ in what is given by state."""

    def cell(state: State) -> Cell:
        outcome = outcomes[state]
        if isinstance(outcome, str):
            return Cell(label, state, None, why_not=outcome)
        return Cell(
            label,
            state,
            outcome,
            otherwise=(otherwise or {}).get(state),
            faults=tuple(faults.get(state, ()) if isinstance(faults, Mapping) else faults),
            strike=strike.get(state, NO_STRIKE) if isinstance(strike, Mapping) else strike,
            config=tuple(config),
            words=words.get(state, as_said) if isinstance(words, Mapping) else words,
            lost=None if lost is None else lost[state],
            also=also,
            fails=(fails or {}).get(state, ""),
        )

    names = tuple(spec.partition("=")[0] for spec in label.split(" "))
    return Row(label, names, tuple(map(cell, S)))


def habit(label: str, outcomes: Outcomes = EVERYWHERE_AS_EVER, **more: object) -> Row:
    """A row of what a gateway always does."""
    return row(label, outcomes, faults=label.split(" "), **more)  # type: ignore[arg-type]


def broken(label: str, strike: Strike, outcomes: Outcomes = BROKEN, **more: object) -> Row:
    """A row of what ends the open connections."""
    return row(label, outcomes, strike=strike, **more)  # type: ignore[arg-type]


def at_points(name: str, values: Mapping[State, str]) -> dict[State, tuple[str, ...]]:
    """A fault that strikes by itself where the loop is in the state; {0} is its name."""
    return {state: tuple(value.format(name).split()) for state, value in values.items()}


def next_fails(*faults: str, passes: bool = False) -> Strike:
    """The connections are cut, and the next ones have faults."""
    return Strike(upcoming=faults, close=RESET, passes=passes)


def was_told(part: str) -> Check:
    """That the reason of a failed connection has `part` in it."""

    def check(played: Played) -> None:
        reasons = [line.get("reason", "") for line in played.jsons("connection")]
        assert any(part in reason for reason in reasons), reasons

    return check


def waited(session: str, at_least_s: float) -> Check:
    """That `session` kept away from the gateway for so long."""

    def check(played: Played) -> None:
        waits = [
            line.get("retry_in_s", 0.0)
            for line in played.jsons("connection")
            if line["session"] == session
        ]
        assert max(waits) >= at_least_s, waits

    return check


def given_up_within(seconds: float) -> Check:
    """That speech which found no connection for so long is told as lost then, not later."""

    def check(played: Played) -> None:
        ended = {line["type"]: line["t"] for line in played.jsons("speech_end", "lost")}
        speech = [line for line in played.jsons("lost") if line["what"] == "speech"]
        assert not speech or ended["lost"] - ended["speech_end"] < seconds + LATE_S

    return check


def words_after(first: int, words: Words) -> Words:
    """The words of finals from turn `first` on; before it they are what was said."""
    return lambda turn, text: words(turn - first, text) if turn >= first else text


def own_finals(label: str, words: Words, strays: int) -> Row:
    """A row of what a gateway says unasked; so many `strays` are told as lost."""
    begins = {state: 1 if state is S.INTERRUPTING else 0 for state in S}
    specs = tuple(label.split(" "))
    return row(
        label,
        dict.fromkeys(S, OWN_FINAL),
        faults={state: () if begins[state] else specs for state in S},
        strike={S.INTERRUPTING: Strike(open=tuple(f"stt:{spec}" for spec in specs))},
        words={state: words_after(first, words) for state, first in begins.items()},
        lost=dict.fromkeys(S, ("words",) * strays),
    )
