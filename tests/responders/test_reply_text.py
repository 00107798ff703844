"""What a reply may be, as a table: text, and not too much of it."""

from __future__ import annotations

import random

import pytest

from slng_edge.responders.reply_lines import ReplyLines
from slng_edge.responders.reply_text import MAX_CHARS, ReplyText, UnfitReply, speakable

BINARY = random.Random(1).randbytes(300)


def looked_at(*texts: str, from_model: bool = False) -> str:
    """What is wrong with it, or ""."""
    reply = ReplyText("x", from_model=from_model, web_page="sent a web page")
    try:
        for text in texts:
            reply.check(text)
            reply.count(text)
        reply.end()
    except UnfitReply as error:
        return str(error).removeprefix("x ").partition(" and was stopped")[0]
    return ""


NO_TEXT = "wrote what is no text (binary?)"
PAGE = "sent a web page"


@pytest.mark.parametrize(
    ("texts", "of_a_program", "of_a_model"),
    [
        ([], "", ""),
        (["Tab\t, form\f, lines\r\n\v Grüße \U0001f600 世界\u200d\u2028"], "", ""),
        (["a\0b"], NO_TEXT, ""),
        (["a", "\x1b[1mb"], NO_TEXT, ""),
        (["a\x7f"], NO_TEXT, ""),
        (["a\x01\x02", "\x03\x04"], NO_TEXT, NO_TEXT),
        (["a\ufffd"], "", ""),
        (["\ufffd" * 3 + "a"], "", ""),
        (["a\ufffd", "\ufffd\ufffd", "\ufffd"], NO_TEXT, NO_TEXT),
        (["a\x80\x85\x9f\ufffd"], "", ""),
        (["a\x80\x99\x9f\ufffd"], NO_TEXT, NO_TEXT),
        (["\ufffd"], NO_TEXT, NO_TEXT),
        ([" ", "\ufffd\n"], NO_TEXT, NO_TEXT),
        (["\ufeff \r\n<!DOCTYPE html>"], PAGE, ""),
        (["<HTML lang=de>"], PAGE, ""),
        (["<?xml version='1.0'?>"], PAGE, ""),
        (["<", "ht", "ml>"], PAGE, ""),
        (["<htmlish> and <think>"], "", ""),
        (["A page begins with ", "<html>"], "", ""),
        (["x" * MAX_CHARS], "", ""),
        (["x" * MAX_CHARS, "x"], *["wrote more than 4000 characters"] * 2),
        (["x" * 10_000_000], *["wrote more than 4000 characters"] * 2),
    ],
)
def test_what_is_no_reply(texts: list[str], of_a_program: str, of_a_model: str) -> None:
    """Binary, a web page, too much of it; a model may write a tag and a stray character."""
    assert looked_at(*texts) == of_a_program
    assert looked_at(*texts, from_model=True) == of_a_model


def test_it_says_what_it_found() -> None:
    """The character, as a colour of a terminal has it; or that it is not UTF-8."""
    with pytest.raises(UnfitReply, match=r"stopped: it has a character U\+001B$"):
        ReplyText("x").check("\x1b[1mYes")
    with pytest.raises(UnfitReply, match=r"stopped: it is not UTF-8$"):
        ReplyText("x").check("Gr\ufffd\ufffde, sch\ufffdn \ufffdbel")


def test_strays_are_left_out() -> None:
    """Speech has no sound for them."""
    assert speakable("a\ufffdb\x80\0c ü") == "abc ü"


@pytest.mark.parametrize("size", [1, 7, 300])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("data", [BINARY, b"x\n" + BINARY, bytes(9), b"\x1b[0m\n\n"])
def test_nothing_of_what_is_binary_is_given_out(data: bytes, kept: bool, size: int) -> None:
    """However it is dealt out: of what came with it no line, and an error before its end."""
    reply = ReplyLines("x", until_empty_line=kept)
    given: list[str] = []

    def deal_out() -> None:
        for at in range(0, len(data), size):
            given.extend(reply.receive(data[at : at + size]))

    with pytest.raises(UnfitReply, match="no text"):
        deal_out()
    assert given in ([], ["x\n"])
    assert size < 300 or not given
    assert not reply.is_complete


def test_what_comes_after_the_empty_line_is_not_of_the_reply() -> None:
    """It may be binary, or too much: the reply before it stands."""
    for more in (b"\0", b"x" * 9000):
        reply = ReplyLines("x", until_empty_line=True)
        assert reply.receive(b"Yes.\n \n" + more) == ["Yes.\n"]
        assert reply.is_complete
        assert reply.has_more


@pytest.mark.parametrize("kept", [False, True])
def test_half_a_character_is_harmless_where_there_is_more(kept: bool) -> None:
    """Left out; alone it is no text."""
    reply = ReplyLines("x", until_empty_line=kept)
    assert reply.receive(b"Yes. \xc3\n") == ["Yes. \n"]
    assert reply.receive(b"No \xe2\x82") == []
    assert reply.end() == ["No "]
    alone = ReplyLines("x", until_empty_line=kept)
    assert alone.receive(b"\xc3") == []
    with pytest.raises(UnfitReply, match="no text"):
        alone.end()
