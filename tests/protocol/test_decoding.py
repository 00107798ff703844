"""Reading JSON that nobody vouches for, and writing JSON that any peer can read."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slng_edge.errors import ConfigError
from slng_edge.protocol import decoding
from slng_edge.protocol.vocabulary import NotUnderstood

NOT_OBJECTS = {
    "empty": "",
    "bare text": "hello",
    "cut short": '{"type":"rea',
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "integer beyond the digit limit": '{"code":' + "9" * 5000 + "}",
    "list": "[1]",
    "null": "null",
    "text": '"ready"',
    "NaN": "NaN",
}


@pytest.mark.parametrize("message", NOT_OBJECTS.values(), ids=NOT_OBJECTS.keys())
def test_what_is_no_json_object_is_not_understood(message: str) -> None:
    """Anything but a JSON object gives NotUnderstood with a short reason on one line."""
    result = decoding.parse_object(message)
    assert isinstance(result, NotUnderstood)
    assert result.type == ""
    assert 0 < len(result.why) < 80
    assert len(result.why.splitlines()) == 1


def test_an_object_is_parsed() -> None:
    """A JSON object comes back as a dict, NaN included, which JSON does not know."""
    parsed = decoding.parse_object('{"type":"x","n":NaN}')
    assert isinstance(parsed, dict)
    assert parsed["type"] == "x"
    assert math.isnan(parsed["n"])


def test_a_long_text_is_no_great_number_of_values() -> None:
    """Values are counted, and not characters."""
    words = "X" * (decoding.VALUES + 1)
    assert decoding.parse_object(json.dumps({"text": words})) == {"text": words}


@pytest.mark.parametrize(("more", "understood"), [(0, True), (1, False)])
def test_only_so_many_values_are_read(more: int, understood: bool) -> None:
    """Each is taken for what begins or parts it: a comma, a colon, a bracket."""
    commas = decoding.VALUES - 3 + more
    message = '{"n":[' + "0," * commas + "0]}"
    assert isinstance(decoding.parse_object(message), dict) is understood


def test_an_excerpt_hides_what_cannot_be_printed() -> None:
    """A log line gets the first characters, control characters and line ends replaced."""
    assert decoding.excerpt("a\nb\x1b\u2028c") == "a?b??c"
    assert decoding.excerpt("x" * 40) == "x" * 40
    assert decoding.excerpt("x" * 41) == "x" * 40 + "…"


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"type": "Ready"}, "ready"),
        ({"type": " FINAL_Transcript "}, "final_transcript"),
        ({"type": "x" * 100}, "x" * 64),
        ({"type": 7}, ""),
        ({"type": 7, "error": "x"}, ""),
        ({}, ""),
        ({"error": None}, ""),
        ({"error": {"message": "no"}}, "error"),
        ({"type": None, "error": "no"}, "error"),
    ],
)
def test_types_are_compared_in_lower_case(fields: dict[str, Any], kind: str) -> None:
    """The type is lower-cased and bounded; an object with `error` and no type is an error."""
    assert decoding.type_of(fields) == kind


def test_an_unknown_type_is_named() -> None:
    """NotUnderstood says which type it was, or that there was none."""
    assert decoding.unknown("odd") == NotUnderstood("odd", "unknown type 'odd'")
    assert decoding.unknown("") == NotUnderstood("", "no type")


def test_nested_answers_an_object_whatever_is_there() -> None:
    """What is no object reads as an empty one."""
    assert decoding.nested({"data": {"a": 1}}, "data") == {"a": 1}
    for other in (None, [], "x", 3):
        assert decoding.nested({"data": other}, "data") == {}
    assert decoding.nested({}, "data") == {}


def test_the_first_text_that_is_not_empty_counts() -> None:
    """Names are tried in order; blanks and other types are passed over."""
    fields = {"a": " ", "b": 3, "c": " word ", "d": "other"}
    assert decoding.text_in(fields, "a", "b", "c", "d") == "word"
    assert decoding.text_in(fields, "a", "b", "missing") == ""


@pytest.mark.parametrize(
    ("value", "identifier"),
    [
        ("s-1", "s-1"),
        (7, "7"),
        (True, ""),
        (None, ""),
        ([1], ""),
        (1.5, ""),
        ("x" * 128, "x" * 128),
        ("x" * 129, "x" * 128 + "…"),
    ],
)
def test_identifiers_may_be_numbers(value: object, identifier: str) -> None:
    """A text or an integer is an identifier; all else is none."""
    assert decoding.identifier_in({"id": value}, "id") == identifier


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0.0),
        (2.5, 2.5),
        (1, 1.0),
        (-0.1, None),
        (math.nan, None),
        (math.inf, None),
        (10**400, None),
        (True, None),
        ("2.5", None),
        (None, None),
    ],
)
def test_numbers_are_finite_and_not_negative(value: object, number: float | None) -> None:
    """What is no finite number from 0 on reads as None."""
    assert decoding.number_in({"n": value}, "n") == number


def test_a_number_is_looked_for_under_several_names() -> None:
    """A name whose value is unfit, or above the highest, gives way to the next."""
    fields = {"a": "x", "b": 10**400, "c": 3, "d": 0.5}
    assert decoding.number_in(fields, "a", "b", "c", "d", highest=1.0) == 0.5
    assert decoding.number_in(fields, "c", highest=1.0) is None
    assert decoding.number_in(fields, "c", highest=3.0) == 3.0


def test_integers_are_no_booleans() -> None:
    """True is no integer here, though Python says so."""
    assert decoding.integer_in({"n": 3}, "n") == 3
    assert decoding.integer_in({"n": True}, "n") is None
    assert decoding.integer_in({"n": 3.0}, "n") is None


@pytest.mark.parametrize(
    ("value", "integer"),
    [
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (1 - 2**63, 1 - 2**63),
        (-(2**63), None),
    ],
)
def test_integers_have_64_bits(value: int, integer: int | None) -> None:
    """Longer ones are no number or code of anybody."""
    assert decoding.integer_in({"n": value}, "n") == integer


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        ("true", True),
        (" True ", True),
        ("1", True),
        ("false", False),
        ("0", False),
        ("yes", None),
        (None, None),
        ([True], None),
        (1.0, None),
    ],
)
def test_truth_may_be_written_as_text(value: object, truth: bool | None) -> None:
    """Booleans, 0 and 1, and their texts are understood; all else is unclear."""
    assert decoding.truth_in({"t": value}, "t") is truth


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("naïve 😀", "naïve 😀"),
        ("\ud83d\ude00", "😀"),
        ("a\ud800b", "a\ufffdb"),
        ("\udc00", "\ufffd"),
    ],
)
def test_lone_surrogates_are_replaced(text: str, expected: str) -> None:
    """Text from JSON can be encoded as UTF-8 afterwards."""
    assert decoding.well_formed(text) == expected


def test_messages_are_compact_and_keep_scripts() -> None:
    """Nothing is escaped to ASCII: the plan limits bytes."""
    assert decoding.encode_message("text", text="नमस्ते") == '{"type":"text","text":"नमस्ते"}'


@settings(deadline=None)
@given(st.text(st.characters()), st.dictionaries(st.text(), st.text(st.characters())))
def test_messages_can_always_be_sent(text: str, table: dict[str, str]) -> None:
    """Whatever text goes in, the message is UTF-8 and a JSON object."""
    message = decoding.encode_message("text", text=text, table=table)
    assert json.loads(message.encode("utf-8"))["type"] == "text"


WORDS = [
    ("two\r\nlines\x1b[31m", "two lines [31m"),
    ("Authorization: Bearer abc", "Authorization: Bearer ***"),
    ('{"authorization":"bearer  s3cret"}', '{"authorization":"bearer ***"}'),
    ("Bearer%20abc", "Bearer%20***"),
    ("bearer: abc, and Bearer def", "bearer: ***, and Bearer ***"),
    ("Missing bearer token.", "Missing bearer token."),
    ("Bearer token-abc", "Bearer ***"),
    ("Invalid API key: sk_live_12345678", "Invalid API key: ***"),
    ('"token": "eyJhbGciOi1.x"', '"token": "***"'),
    ("the key is abcdefgh1", "the key is ***"),
    ("key abcdefgh1 refused", "key *** refused"),
    ("key expired yesterday", "key expired yesterday"),
    ("invalid_api_key", "invalid_api_key"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "shown"), WORDS)
def test_the_words_of_a_server_are_shown_without_keys(text: str, shown: str) -> None:
    """One line, no control characters, and nothing that looks like a key."""
    assert decoding.server_words(text) == shown


def test_the_words_of_a_server_are_cut() -> None:
    """At most 300 characters are shown, and a key across the cut is hidden whole."""
    assert len(decoding.server_words("x" * 1000)) == 300
    assert decoding.server_words("x" * 300) == "x" * 300
    shown = decoding.server_words("x" * 285 + " Bearer s3cret-s3cret-s3cret")
    assert "s3" not in shown


def merge(**options: Any) -> dict[str, Any]:
    """The merged config of a session at 16 kHz."""
    return decoding.merge_options("stt", {"sample_rate": 16000, "encoding": "linear16"}, options)


def test_options_pass_through_and_override() -> None:
    """Options are laid over the config; what says the same as the config is fine."""
    merged = merge(encoding="linear16", sample_rate=16000, vad_threshold=0.5, nested={"a": [1]})
    assert merged == {
        "sample_rate": 16000,
        "encoding": "linear16",
        "vad_threshold": 0.5,
        "nested": {"a": [1]},
    }


DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"encoding": "mp3"}, "stt.options.encoding"),
        ({"encoding": "LINEAR16"}, "stt.options.encoding"),
        ({"encoding": None}, "stt.options.encoding"),
        ({"sample_rate": 8000}, "stt.options.sample_rate"),
        ({"when": datetime.date(2024, 1, 1)}, "stt.options.when"),
        ({"far": math.inf}, "stt.options.far"),
        ({"deep": DEEP}, "stt.options.deep"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], key: str) -> None:
    """The error names the key of the configuration and what to do."""
    with pytest.raises(ConfigError) as caught:
        merge(**options)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{key}: ")


def test_all_wrong_options_are_told_at_once() -> None:
    """One line for each problem."""
    with pytest.raises(ConfigError) as caught:
        merge(encoding="opus", sample_rate=8000, far=math.nan)
    assert len(caught.value.problems) == 3
