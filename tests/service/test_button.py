"""What presses of a button mean: tables of edges and acts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.service.button import (
    DEBOUNCE_S,
    LONG_S,
    STUCK_S,
    ButtonAct,
    ButtonPresses,
)

SHORT, LONG, STUCK = ButtonAct.SHORT, ButtonAct.LONG, ButtonAct.STUCK
Edges = list[tuple[float, str]]
Acts = list[tuple[float, ButtonAct]]


def acts_of(edges: Edges, *, held: bool = False, until_s: float = 100.0) -> Acts:
    """When each act is told where `advance` is called exactly when it is due."""
    presses = ButtonPresses(held=held, now_s=0.0)
    told: Acts = []
    for at_s, edge in [*edges, (until_s, "")]:
        while (due_s := presses.due_s()) is not None and due_s <= at_s:
            told += [(due_s, act) for act in presses.advance(due_s)]
        if edge:
            happened = presses.press(at_s) if edge == "down" else presses.release(at_s)
            told += [(at_s, act) for act in happened]
    return [(round(at_s, 3), act) for at_s, act in told]


def bounced(at_s: float, edge: str) -> Edges:
    """An edge as a contact makes it: three within 10 ms."""
    other = "up" if edge == "down" else "down"
    return [(at_s, edge), (at_s + 0.004, other), (at_s + 0.01, edge)]


@pytest.mark.parametrize(
    ("edges", "acts"),
    [
        ([], []),
        ([(1, "down"), (1.2, "up")], [(1.23, SHORT)]),
        ([(1, "down"), (2.4, "up")], [(2.43, SHORT)]),
        ([(1, "down"), (3, "up")], [(2.5, LONG)]),
        ([(1, "down"), (2.51, "up")], [(2.5, LONG)]),
        ([(1, "down"), (1.2, "up"), (1.4, "down"), (1.6, "up")], [(1.23, SHORT), (1.63, SHORT)]),
        ([(1, "down"), (3, "up"), (4, "down"), (4.1, "up")], [(2.5, LONG), (4.13, SHORT)]),
    ],
    ids=["nothing", "short", "nearly long", "long", "just long", "twice", "long and short"],
)
def test_short_and_long_presses(edges: Edges, acts: Acts) -> None:
    """A short press is told when it is over, a long one while it is held."""
    assert acts_of(edges) == acts


@pytest.mark.parametrize(
    ("edges", "acts"),
    [
        ([*bounced(1, "down"), *bounced(1.2, "up")], [(1.24, SHORT)]),
        ([*bounced(1, "down"), *bounced(3, "up")], [(2.51, LONG)]),
        ([(1, "down"), (1.02, "up")], []),
        ([(1, "down"), (2, "up"), (2.02, "down"), (3, "up")], [(2.5, LONG)]),
        ([(1, "up"), (1.1, "up"), (2, "down"), (2.1, "down"), (2.2, "up")], [(2.23, SHORT)]),
    ],
    ids=["short", "long", "spark", "a gap in a long one", "edges twice"],
)
def test_contacts_bounce(edges: Edges, acts: Acts) -> None:
    """A level that does not stay is none."""
    assert acts_of(edges) == acts


@pytest.mark.parametrize(
    ("edges", "acts"),
    [
        ([(1, "down")], [(2.5, LONG), (11, STUCK)]),
        ([(1, "down"), (50, "up")], [(2.5, LONG), (11, STUCK)]),
        (
            [(1, "down"), (50, "up"), (51, "down"), (51.2, "up")],
            [(2.5, LONG), (11, STUCK), (51.23, SHORT)],
        ),
    ],
    ids=["for ever", "and released", "and used again"],
)
def test_a_stuck_button_is_told_once_and_ignored(edges: Edges, acts: Acts) -> None:
    """Until it is released: then it is a button again."""
    assert acts_of(edges) == acts


@pytest.mark.parametrize(
    ("edges", "acts"),
    [
        ([], [(0, STUCK)]),
        ([(5, "up")], [(0, STUCK)]),
        ([(5, "up"), (6, "down"), (6.1, "up")], [(0, STUCK), (6.13, SHORT)]),
        ([(0, "down"), (0.01, "up")], [(0, STUCK)]),
    ],
    ids=["for ever", "and released", "and used again", "told by an edge"],
)
def test_a_button_that_is_held_at_the_start_is_told_and_ignored(edges: Edges, acts: Acts) -> None:
    """A wire on the wrong pin mutes nothing."""
    assert acts_of(edges, held=True) == acts


@pytest.mark.parametrize(
    ("late_by_s", "acts"),
    [(0.0, [SHORT]), (1.0, [SHORT]), (60.0, [SHORT])],
)
def test_a_late_look_makes_no_short_press_long(late_by_s: float, acts: list[ButtonAct]) -> None:
    """What counts is when the edges were, not when somebody came to look."""
    presses = ButtonPresses(held=False, now_s=0.0)
    assert presses.press(1.0) == []
    assert presses.release(1.2) == []
    assert presses.advance(1.23 + late_by_s) == acts


def test_a_long_press_seen_only_after_it_is_long() -> None:
    """Both edges were late: the press is told, once."""
    presses = ButtonPresses(held=False, now_s=0.0)
    presses.press(1.0)
    assert presses.release(4.0) == [LONG]
    assert presses.advance(5.0) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.001, 12.0), st.sampled_from(["down", "up"])), max_size=30),
    st.booleans(),
)
def test_whatever_happens_a_press_is_told_once(steps: list[tuple[float, str]], held: bool) -> None:
    """Acts are no more than presses, and each is told within its time."""
    edges, at_s = [], 0.0
    for wait_s, edge in steps:
        at_s += wait_s
        edges.append((at_s, edge))
    acts = acts_of(edges, held=held, until_s=at_s + STUCK_S + LONG_S)
    shorts_and_longs = [at_s for at_s, act in acts if act is not STUCK]
    assert len(shorts_and_longs) <= sum(edge == "down" for _, edge in edges)
    gaps = pairwise(shorts_and_longs)
    assert all(later - earlier >= DEBOUNCE_S - 0.002 for earlier, later in gaps)
    stuck = [at_s for at_s, act in acts if act is STUCK]
    assert all(later - earlier >= STUCK_S - 0.002 for earlier, later in pairwise(stuck))
