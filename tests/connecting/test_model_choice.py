"""Which model is used while models fail."""

from __future__ import annotations

import pytest

from slng_edge.connecting.model_choice import ModelChoice, blames_model, is_duration_exceeded
from slng_edge.errors import (
    AuthenticationRejected,
    ConnectFailed,
    GatewayError,
    LocalProtocolError,
    RateLimited,
    RemoteProtocolError,
    RequestRejected,
    ServerReportedError,
    SessionClosed,
)

BUSY = ServerReportedError("provider_error", "", retryable=True)
SILENT = SessionClosed("no final", code=1000, by_us=True)
NETWORK = ConnectFailed("no route")


def choice(*models: str) -> ModelChoice:
    """A first model and fallbacks; the cool-down is 100 s."""
    return ModelChoice(models or ("a", "b"), cooldown_s=100.0)


def fail(models: ModelChoice, times: int, now: float = 0.0) -> list[bool]:
    """What is said to some failures in a row."""
    return [models.failed(BUSY, now, at_work=True) for _ in range(times)]


@pytest.mark.parametrize(
    ("error", "at_work", "blamed"),
    [
        (NETWORK, False, False),
        (ConnectFailed("503", status=503), False, True),
        (SessionClosed("", code=1006), False, False),
        (SessionClosed("", code=1006), True, True),
        (SessionClosed("", code=1000), True, False),
        (SessionClosed("", code=1001), True, False),
        (SessionClosed("", code=1011), False, True),
        (ServerReportedError("idle_timeout_exceeded", "", retryable=True), True, False),
        (ServerReportedError("max_connection_duration_exceeded", "", retryable=True), True, False),
        (SILENT, True, True),
        (SessionClosed("no `cleared`", code=1002, by_us=True), True, False),
        (SessionClosed("too large", code=1009, by_us=True), True, False),
        (RateLimited(""), False, True),
        (RemoteProtocolError("no ready"), False, True),
        (BUSY, True, True),
        (ServerReportedError("config_error", "", retryable=False), True, False),
        (AuthenticationRejected(""), False, False),
        (RequestRejected(""), False, False),
        (LocalProtocolError(""), True, False),
    ],
)
def test_a_model_is_blamed_for_what_another_may_do_better(
    error: GatewayError, at_work: bool, blamed: bool
) -> None:
    """Neither for the network, nor for the key, nor for what we asked or gave up ourselves."""
    assert blames_model(error, at_work=at_work) is blamed


@pytest.mark.parametrize(
    "error", [SessionClosed("", code=1011), RateLimited(""), RemoteProtocolError(""), BUSY]
)
def test_a_connection_that_was_well_blames_its_model_only_at_work(error: GatewayError) -> None:
    """What ends while nothing is asked of it may be ended because of that."""
    assert not blames_model(error, at_work=False, at_start=False)
    assert blames_model(error, at_work=True, at_start=False)


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (ServerReportedError("max_connection_duration_exceeded", "", retryable=True), True),
        (SessionClosed("", code=1000, reason="max_connection_duration_exceeded"), True),
        (SessionClosed("", reason="max_connection_duration_exceeded", by_us=True), False),
        (BUSY, False),
        (NETWORK, False),
    ],
)
def test_the_end_of_its_time_is_told_from_other_ends(error: GatewayError, is_so: bool) -> None:
    """Said by an `error`, or as the reason of a close."""
    assert is_duration_exceeded(error) is is_so


def test_an_error_of_an_unknown_kind_blames_no_model() -> None:
    """Though it may pass."""
    error = GatewayError("?")
    error.retryable = True
    assert not blames_model(error, at_work=True)


def test_two_failures_in_a_row_give_a_model_up() -> None:
    """The first is tried again; the second leads to the next in the list, at once."""
    models = choice("a", "b", "c")
    assert (models.current, models.first_rests_until) == ("a", None)
    assert fail(models, 1) == [False]
    assert models.current == "a"
    assert fail(models, 1, now=7.0) == [True]
    assert (models.current, models.first, models.first_rests_until) == ("b", "a", 107.0)
    assert fail(models, 2, now=50.0) == [False, True]
    assert (models.current, models.first_rests_until) == ("c", 107.0)


def test_after_the_last_the_first_has_to_wait_like_any_other_retry() -> None:
    """It is its turn again, and there is nothing that it would rest for."""
    models = choice()
    assert fail(models, 4) == [False, True, False, False]
    assert (models.current, models.first_rests_until) == ("a", None)


def test_a_model_that_fails_before_it_is_of_use_is_given_up_as_well() -> None:
    """Unless it is said otherwise, that is where it failed."""
    models = choice()
    assert not models.failed(BUSY, 0.0, at_work=False)
    assert models.failed(BUSY, 0.0, at_work=False)


def test_an_answer_begins_the_count_anew() -> None:
    """`ready` does not."""
    models = choice()
    fail(models, 1)
    models.answered()
    assert fail(models, 2) == [False, True]


def test_a_model_that_says_nothing_is_given_up_at_once() -> None:
    """To wait for it a second time costs the same silence again."""
    models = choice()
    assert models.failed(SILENT, 0.0, at_work=True)
    assert models.current == "b"


def test_failures_that_are_not_its_own_do_not_count() -> None:
    """However many."""
    models = choice()
    assert not any(models.failed(NETWORK, 0.0, at_work=False) for _ in range(9))
    assert fail(models, 1) == [False]


def test_without_fallbacks_there_is_nothing_to_switch_to() -> None:
    """Not even from silence."""
    models = choice("a")
    assert not models.failed(SILENT, 0.0, at_work=True)
    assert (models.current, models.first_rests_until) == ("a", None)


def test_back_on_probation_one_failure_is_enough() -> None:
    """And it rests again; an answer ends the probation."""
    models = choice()
    fail(models, 2)
    models.go_back()
    assert (models.current, models.first_rests_until) == ("a", None)
    assert fail(models, 1, now=200.0) == [True]
    assert (models.current, models.first_rests_until) == ("b", 300.0)
    assert fail(models, 1) == [False]  # which is on none
    assert models.current == "b"
    models.go_back()
    models.answered()
    assert fail(models, 2) == [False, True]


def test_from_a_probation_the_way_leads_back_to_the_one_that_worked() -> None:
    """Not to the next of the first one, which has failed before it."""
    models = choice("a", "b", "c")
    fail(models, 4)
    assert models.current == "c"
    models.answered()
    models.go_back()
    assert fail(models, 1, now=200.0) == [True]
    assert (models.current, models.first_rests_until) == ("c", 300.0)
    assert fail(models, 2) == [False, False]  # after the last it is the first's turn
    assert (models.current, models.first_rests_until) == ("a", None)


def test_on_probation_a_final_error_leads_back_as_well() -> None:
    """The other model did work: the device must not fall silent for the first one's sake."""
    models = choice()
    final = RequestRejected("no such model")
    assert not models.failed(final, 0.0, at_work=False)
    fail(models, 2)
    models.go_back()
    assert models.failed(final, 200.0, at_work=False)
    assert (models.current, models.first_rests_until) == ("b", 300.0)


def test_on_probation_the_network_is_still_not_its_fault() -> None:
    """It stays, and stays on probation."""
    models = choice()
    fail(models, 2)
    models.go_back()
    assert not models.failed(NETWORK, 200.0, at_work=False)
    assert models.current == "a"
    assert fail(models, 1) == [True]


def test_the_first_rests_again_when_it_fails_beside_the_current_one() -> None:
    """The current one is not touched by it."""
    models = choice()
    fail(models, 2)
    models.first_failed(150.0)
    assert (models.current, models.first_rests_until) == ("b", 250.0)
    assert fail(models, 1, now=160.0) == [False]
