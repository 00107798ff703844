"""How long a text of one message may be, and what is left of it when one was too large."""

from __future__ import annotations

import pytest

from slng_edge.errors import GatewayError, ServerReportedError, SessionClosed
from slng_edge.protocol.text_limit import HALVED_CHARS, TextLimit


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("  ", []),
        (" One. ", [" One. "]),
        ("One and two.", ["One and two."]),
        (" One, two.  ", [" One, two.  "]),
        ("One and two. Three.", ["One and two.", "Three."]),
        ("abcdefghijklmnop", ["abcdefghijkl", "mnop"]),
    ],
)
def test_a_text_is_cut_only_where_the_plan_does_not_take_it(text: str, pieces: list[str]) -> None:
    """One that fits goes as it is, one of white space alone does not go."""
    assert TextLimit(12).pieces(text) == pieces


@pytest.mark.parametrize(
    ("texts", "messages"),
    [
        (("One.",), ["One."]),
        (("One.", "Two."), ["One. Two."]),
        (("One.", "And two.", "Three."), ["One. ", "And two. ", "Three."]),
    ],
)
def test_texts_are_one_message_as_far_as_it_holds_them(
    texts: tuple[str, ...], messages: list[str]
) -> None:
    """Put together as they come, several are the same text again, spaces included."""
    assert TextLimit(12).messages(texts) == messages
    assert "".join(messages) == " ".join(texts)


@pytest.mark.parametrize(
    ("plan_chars", "texts", "chars"),
    [
        (2000, ["x" * 600, "x"], 300),
        (2000, ["x" * 30], HALVED_CHARS),
        (2000, [], 1000),
        (150, ["x" * 400], 150),
        (50, ["x" * 30], 50),
    ],
)
def test_half_of_the_longest_text_is_the_new_limit(
    plan_chars: int, texts: list[str], chars: int
) -> None:
    """Never more than before, and not less than a short sentence needs."""
    limit = TextLimit(plan_chars)
    limit.halve(texts)
    assert limit.chars == chars


def test_a_long_word_goes_whole_where_the_plan_takes_it() -> None:
    """The limit that was found by halving is a guess; the plan's is not."""
    limit = TextLimit(250)
    limit.halve(["x" * 200])
    assert [len(piece) for piece in limit.pieces("x" * 180)] == [180]
    assert [len(piece) for piece in limit.pieces("x" * 260)] == [250, 10]


@pytest.mark.parametrize(
    ("text", "lengths"),
    [("x" * 180 + " ", [181]), ("x" * 180 + " y", [181, 1]), ("y " + "x" * 180, [2, 180])],
)
def test_a_long_word_takes_none_with_it(text: str, lengths: list[int]) -> None:
    """The limit gives way by as much as that word and its blank need, and no further."""
    limit = TextLimit(2000)
    limit.halve(["x" * 200])
    assert [len(message) for message in limit.messages([text])] == lengths


@pytest.mark.parametrize(
    ("error", "mends"),
    [
        (SessionClosed("too large", code=4002), True),
        (ServerReportedError("payload_too_large", "", retryable=False), True),
        (SessionClosed("gone"), False),
    ],
)
def test_only_a_text_that_was_too_large_is_mended_and_once(
    error: GatewayError, mends: bool
) -> None:
    """Halving again would not help: the fault is another one."""
    limit = TextLimit(2000)
    assert limit.mends(error) is mends
    limit.halve([])
    assert not limit.mends(error)
