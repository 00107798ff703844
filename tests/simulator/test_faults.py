"""The faults' language and its mistakes."""

from __future__ import annotations

import pytest

from slng_edge.errors import ConfigError
from slng_edge.simulator.faults import FAULTS, Faults, fault_table


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.name)
def test_every_fault_of_the_table_can_be_asked_for_by_name(kind):
    """Its default is a value that its own row allows."""
    assert kind.name in Faults(kind.name).for_connection("stt", 1)


@pytest.mark.parametrize(
    ("spec", "session", "number", "applies"),
    [
        ("wrong_case", "stt", 1, True),
        ("stt:wrong_case", "tts", 1, False),
        ("tts:wrong_case", "tts", 9, True),
        ("wrong_case@2", "stt", 1, False),
        ("wrong_case@2", "stt", 2, True),
        ("wrong_case@2", "stt", 3, False),
        ("wrong_case@2-3", "stt", 3, True),
    ],
)
def test_a_fault_applies_to_the_connections_it_names(spec, session, number, applies):
    """By kind and by number."""
    assert ("wrong_case" in Faults(spec).for_connection(session, number)) is applies


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_finl", "did you mean 'no_final'"),
        ("zzzzzz", "--list-faults"),
        ("pace=fast", "'pace' takes FACTOR, not 'fast'"),
        ("wrong_case=1", "'wrong_case' takes no value"),
        ("refuse=200", "'refuse' takes STATUS"),
        ("no_final@0", "write"),
        ("llm:no_final", "write"),
        ("", "write"),
        ("stall=3:4", "'stall' takes POINT"),
        ("close_after=3:999", "'close_after' takes POINT"),
        ("random=x", "'random' takes SEED"),
        ("random=1:101", "'random' takes SEED"),
        ("tts:tls=good", "'tls' is the whole gateway's"),
        ("tls=good@1", "'tls' is the whole gateway's"),
    ],
)
def test_a_mistake_is_named(spec, message):
    """With the nearest name, or what the value has to be."""
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        Faults(spec)


def test_a_count_is_used_up_over_all_connections():
    """Two finals in all, whichever connections they were for."""
    faults = Faults("no_final=2")
    first, second = faults.for_connection("stt", 1), faults.for_connection("stt", 2)
    assert [first.spend("no_final"), second.spend("no_final"), first.spend("no_final")] == [
        True,
        True,
        False,
    ]


def test_all_is_never_used_up():
    """The default of counted faults."""
    active = Faults("no_final").for_connection("stt", 1)
    assert all(active.spend("no_final") for _ in range(100))


@pytest.mark.parametrize(
    ("spec", "code", "strikes"),
    [
        ("error_on_text", "provider_error", [True, False]),
        ("error_on_text=backend_error:2", "backend_error", [True, True, False]),
        ("error_on_text=429", "429", [True] * 500),
    ],
)
def test_a_code_can_have_a_count(spec, code, strikes):
    """Without one it strikes always; a number as the code is no count."""
    active = Faults(spec).for_connection("tts", 1)
    assert active.code("error_on_text") == code
    assert [active.spend("error_on_text") for _ in strikes] == strikes


def test_a_fault_that_is_off_has_no_value():
    """Nothing, zero, and it never strikes."""
    active = Faults().for_connection("stt", 1)
    assert (active.text("pace"), active.number("final_delay"), active.spend("no_final")) == (
        "",
        0,
        False,
    )


def test_the_table_has_a_line_for_each():
    """With its value's name and its default."""
    lines = fault_table().splitlines()
    assert len(lines) == len(FAULTS)
    assert any(line.startswith("final_delay=MS") and "default 1000" in line for line in lines)
