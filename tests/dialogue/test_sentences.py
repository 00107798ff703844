"""The sentence splitter: pieces of a reply in, sentences out."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slng_edge.dialogue.sentences import SentenceSplitter
from slng_edge.sentence_ends import TAG, has_letter


def split(*pieces: str, max_chars: int = 500) -> list[str]:
    splitter = SentenceSplitter(max_chars)
    sentences = [sentence for piece in pieces for sentence in splitter.receive(piece)]
    return sentences + splitter.end()


@pytest.mark.parametrize(
    "text",
    [
        "Ask Dr. Smith and Mrs. Jones.",
        "Fruit, e.g. Apples, is good.",
        "Obst, z.B. Milch, und z. B. Brot.",
        "See No. 5 and Fig. 3 on p. 12.",
        "Pi is 3.14 and a half is 0,5.",
        "The U.S. President and J. R. R. Tolkien met.",
        "He has a Ph.D. Nobody knew.",
        "Look at https://example.com/a.b?c=d. and mail me@example.com now.",
        "Um 10.30 Uhr am 3. Mai 2024 geht es los.",
        "Well... maybe not.",
        "Why? she asked.",
        "It was Jan. 5 then.",
        "Really?! no.",
        "1. Take the bread",
        "Version 2.0.1 is out",
        "Hello.World is one word",
        'He said "Stop!" and went.',
        "Hello.<3 is no tag",
        "Yes. <b>but</b> no",
    ],
)
def test_it_is_one_sentence(text: str) -> None:
    """What only looks like the end of a sentence is none."""
    assert split(text) == [text]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hello there. How are you?", ["Hello there.", "How are you?"]),
        ("Stop! Now! Please.", ["Stop!", "Now!", "Please."]),
        ('He said "Stop." Then he went.', ['He said "Stop."', "Then he went."]),
        ("(It rains.) We stay.", ["(It rains.)", "We stay."]),
        ('Yes. "No," he said.', ["Yes.", '"No," he said.']),
        ("Really?! Yes.", ["Really?!", "Yes."]),
        ("Wait… What?", ["Wait…", "What?"]),
        ("Wait. ... What", ["Wait. ...", "What"]),
        ("Wait... What?", ["Wait...", "What?"]),
        ("No. I will not.", ["No.", "I will not."]),
        ("It was in 1999. We met.", ["It was in 1999.", "We met."]),
        ("It weighs 3.14. That is much.", ["It weighs 3.14.", "That is much."]),
        ("It has 42. That is much.", ["It has 42.", "That is much."]),
        ("Try example.com. It works.", ["Try example.com.", "It works."]),
        ("¿Qué? ¡No! Vale.", ["¿Qué?", "¡No!", "Vale."]),
        ("今日は。元気？はい！", ["今日は。", "元気？", "はい！"]),
        ("「はい。」次です。", ["「はい。」", "次です。"]),
        ("नमस्ते। आप कैसे हैं?", ["नमस्ते।", "आप कैसे हैं?"]),
        ("مرحبا؟ نعم.", ["مرحبا؟", "نعم."]),
        ("First line\nsecond line\n", ["First line", "second line"]),
        ("Dear Dr.\nSmith", ["Dear Dr.", "Smith"]),
        ("One.\r\nTwo.", ["One.", "Two."]),
        ("**Note.** Then go.", ["**Note.**", "Then go."]),
        ("<b>Hi.</b> You.", ["<b>Hi.</b>", "You."]),
        ('Hi.<break time="1.5s"/>You.', ['Hi.<break time="1.5s"/>', "You."]),
        ("Hi.<b>You</b>.", ["Hi.", "<b>You</b>."]),
        ("Hi. <b>You. All</b>.", ["Hi.", "<b>You.", "All</b>."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_it_is_several_sentences(text: str, sentences: list[str]) -> None:
    """A mark, then white space, then what begins a sentence; or a line break."""
    assert split(text) == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Great! 😀", ["Great! 😀"]),
        ("How much? 4.5. Good.", ["How much?", "4.5. Good."]),
        ("How much? 4.5.", ["How much? 4.5."]),
        ("— Yes.", ["— Yes."]),
        ("42.\nYes.", ["42.\nYes."]),
        ("... And so on. Fine.", ["... And so on.", "Fine."]),
        ('Yes. <break time="1s"/>', ['Yes. <break time="1s"/>']),
        ("4.5", ["4.5"]),
        ("😀", ["😀"]),
    ],
)
def test_what_has_no_letter_goes_with_its_neighbour(text: str, sentences: list[str]) -> None:
    """Some routes refuse a text without a letter; alone it stays only where nothing is near."""
    assert split(text) == sentences


def test_a_sentence_waits_for_what_follows() -> None:
    """A full stop at the end of a piece is no end yet."""
    splitter = SentenceSplitter()
    assert splitter.receive("It is 3.") == []
    assert splitter.receive("14 metres.") == []
    assert splitter.receive(" ") == []
    assert splitter.receive("Good") == ["It is 3.14 metres."]
    assert splitter.end() == ["Good"]


def test_a_line_break_does_not_wait() -> None:
    """The line is given out as soon as it is known to be one."""
    assert SentenceSplitter().receive("Hello.\n") == ["Hello."]


def test_several_sentences_come_at_once() -> None:
    """One piece may hold more than one sentence."""
    assert SentenceSplitter().receive("One. Two. Three. Four") == ["One.", "Two.", "Three."]


def test_an_open_tag_is_waited_for() -> None:
    """Half a tag is not looked into, and is text in the end when it was none."""
    splitter = SentenceSplitter()
    assert splitter.receive('Hi. <break time="1. ') == []
    assert splitter.receive('S"/> You') == ["Hi."]
    assert splitter.end() == ['<break time="1. S"/> You']
    assert split("Is a <b or not? Yes") == ["Is a <b or not?", "Yes"]


def test_it_can_be_used_again() -> None:
    """After the end of one reply the next begins afresh."""
    splitter = SentenceSplitter()
    splitter.receive("One")
    assert splitter.end() == ["One"]
    assert splitter.end() == []
    assert splitter.receive("Two. Three") == ["Two."]


@pytest.mark.parametrize(
    ("text", "max_chars", "sentences"),
    [
        ("one two, three four five", 12, ["one two,", "three four", "five"]),
        ("one two three four", 9, ["one two", "three", "four"]),
        ("one two three", 7, ["one two", "three"]),
        ("extraordinarily", 5, ["extra", "ordin", "arily"]),
        ("12345 67890 abc", 11, ["12345 67890", "abc"]),
        ("12345 67890", 5, ["12345", "67890"]),
        ("pay, 1234567", 7, ["pay,", "1234567"]),
        ("一二，三四五六", 5, ["一二，", "三四五六"]),
        ("Hello. World", 6, ["Hello.", "World"]),
        ("Hello\nWorld", 5, ["Hello", "World"]),
        ("Hi.<b>abcdef</b>", 8, ["Hi.", "<b>abcde", "f</b>"]),
        ('ab <break time="1s"/> cd', 6, ["ab", '<break time="1s"/>', "cd"]),
        ("abc<break/>def", 5, ["abc", "<break/>", "def"]),
        ("abc</b>123", 8, ["abc</b>1", "23"]),
        ("abc</b>123", 5, ["abc", "</b>1", "23"]),
        ("abc</b>def", 8, ["abc</b>", "def"]),
        ("Sentence one. And two", 13, ["Sentence one.", "And two"]),
        ("Sentence one. And two", 12, ["Sentence", "one.", "And two"]),
    ],
)
def test_a_long_sentence_is_cut_after_a_clause_then_a_word(
    text: str, max_chars: int, sentences: list[str]
) -> None:
    """Never over the limit, within a word only as the last resort, within a tag never."""
    assert split(text, max_chars=max_chars) == sentences


def test_a_long_sentence_is_cut_before_it_ends() -> None:
    """Text that never ends is given out as it comes."""
    splitter = SentenceSplitter(20)
    given_out = [sentence for _ in range(100) for sentence in splitter.receive("and on ")]
    assert len(given_out) > 30
    assert all(len(sentence) <= 20 for sentence in given_out)


def test_a_cut_waits_for_no_more_than_it_looks_at() -> None:
    """32 characters beyond the limit, and not for one more."""
    assert SentenceSplitter(10).receive("and on " * 6) == ["and on and"]
    assert SentenceSplitter(10).receive("and on " * 5 + "and on") == []


def test_a_sentence_as_long_as_the_limit_is_given_as_soon_as_any() -> None:
    """It need not be cut, so nothing beyond it is waited for."""
    assert SentenceSplitter(4).receive("One. Two") == ["One."]


def test_a_sentence_ends_behind_a_tag() -> None:
    """Its full stop may follow one, and the one within one is none."""
    assert split("It is <b>bold</b>. Next one") == ["It is <b>bold</b>.", "Next one"]
    text = 'One <break time="0.5s"/> two. Three'
    assert split(text) == ['One <break time="0.5s"/> two.', "Three"]


def test_what_is_left_at_the_end_has_no_white_space_around_it() -> None:
    """Like every sentence."""
    splitter = SentenceSplitter()
    assert splitter.receive(" one ") == []
    assert splitter.end() == ["one"]


def test_a_limit_of_one_is_kept() -> None:
    """It is the smallest there can be."""
    assert split("ab c", max_chars=1) == ["a", "b", "c"]


def test_what_began_like_a_tag_and_never_ends_is_text() -> None:
    """A tag is at most 200 characters long; a "<b" of a comparison does not hold a reply up."""
    splitter = SentenceSplitter(50)
    given_out = [sentence for _ in range(80) for sentence in splitter.receive("a <b and ")]
    assert given_out
    splitter = SentenceSplitter(50)
    given_out = splitter.receive("a <b " + "and so on " * 30)
    assert all(len(sentence) <= 50 for sentence in given_out)
    assert len(given_out) > 4


def test_a_limit_below_one_is_refused() -> None:
    """There is no text of no characters."""
    with pytest.raises(ValueError, match="0 characters"):
        SentenceSplitter(0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", True), ("é", True), ("—", False), ("4.5", False), ("<b>4</b>", False), ("中", True)],
)
def test_letters_are_looked_for_outside_tags(text: str, expected: bool) -> None:
    """The name of a tag is nothing to say."""
    assert has_letter(text) is expected


PARTS = st.sampled_from(
    [
        *"ab AB 19 .!?… ,;: \n\t\"'()<>/",
        *"。，中।",
        "Dr",
        "No",
        "z.B.",
        "U.S.",
        "...",
        '<break time="1.5s"/>',
        "<b>",
        "</b>",
        "Hello",
        "😀",
        " ",
        " ",
        ". ",
        "http://a.b/c",
        "<b " + "x" * 199,
    ]
)
TEXTS = st.lists(PARTS, max_size=60).map("".join)
LIMITS = st.sampled_from([1, 5, 12, 40, 500])


def bare(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=600, deadline=None)
@given(TEXTS, LIMITS)
def test_nothing_is_lost_or_changed(text: str, max_chars: int) -> None:
    """All sentences joined are the text again but for white space."""
    sentences = split(text, max_chars=max_chars)
    assert bare("".join(sentences)) == bare(text)
    assert all(sentence == sentence.strip() != "" for sentence in sentences)


@settings(max_examples=600, deadline=None)
@given(TEXTS, LIMITS, st.data())
@example("Hi. <b", 5, None)
def test_it_does_not_matter_how_the_text_was_dealt_out(
    text: str, max_chars: int, data: st.DataObject | None
) -> None:
    """Character by character, at random places or at once: the sentences are the same."""
    whole = split(text, max_chars=max_chars)
    assert split(*text, max_chars=max_chars) == whole
    if data is not None:
        places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
        pieces = [
            text[left:right] for left, right in zip([0, *places], [*places, None], strict=True)
        ]
        assert split(*pieces, max_chars=max_chars) == whole


@settings(max_examples=600, deadline=None)
@given(TEXTS, LIMITS)
def test_the_limit_is_kept_but_for_tags(text: str, max_chars: int) -> None:
    """A sentence over the limit is one tag alone."""
    for sentence in split(text, max_chars=max_chars):
        assert len(sentence) <= max_chars or TAG.fullmatch(sentence)


@settings(max_examples=600, deadline=None)
@given(TEXTS, LIMITS)
def test_no_tag_is_cut(text: str, max_chars: int) -> None:
    """Every tag of the text is whole in some sentence."""
    sentences = split(text, max_chars=max_chars)
    assert [tag for sentence in sentences for tag in TAG.findall(sentence)] == TAG.findall(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["yes", "no,", "Dr.", "fine.", "well"]), max_size=80))
def test_words_that_fit_are_never_cut(words: list[str]) -> None:
    """Where each word is shorter than the limit, all cuts are between words."""
    sentences = split(" ".join(words), max_chars=12)
    assert [word for sentence in sentences for word in sentence.split()] == words
