"""What a language model is told of the turns before: what was heard, bounded, and not for ever."""

from __future__ import annotations

from slng_edge.responders.history import SPOKEN_CHARS_PER_S, History, IdleTime

Messages = list[dict[str, str]]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def history(turns: int = 10, chars: int = 1000) -> History:
    return History(turns=turns, chars=chars, idle_reset_s=60)


def turn(of: History, question: str, reply: str, now: float = 0.0) -> Messages:
    messages = of.ask(question, now)
    of.write(reply)
    of.end(now)
    return messages


def test_the_first_question_stands_alone() -> None:
    """Nothing was said before."""
    assert history().ask("a", 0.0) == [user("a")]


def test_the_turns_before_are_told_in_their_order() -> None:
    """Question and reply, piece by piece put together."""
    past = history()
    past.ask("a", 0.0)
    past.write("A")
    past.write("B")
    past.end(0.0)
    assert past.ask("b", 1.0) == [user("a"), assistant("AB"), user("b")]


def test_only_so_many_turns_are_told() -> None:
    """The oldest goes first; 0 is none."""
    past = history(turns=2)
    for name in "abc":
        turn(past, name, name.upper())
    assert past.ask("d", 0.0) == [
        *(user("b"), assistant("B"), user("c"), assistant("C")),
        user("d"),
    ]
    none = history(turns=0)
    turn(none, "a", "A")
    assert none.ask("b", 0.0) == [user("b")]


def test_only_so_many_characters_are_told() -> None:
    """Whole turns; the question that is asked now is told however long it is."""
    past = history(chars=10)
    turn(past, "aaaa", "AAAA")
    turn(past, "bb", "BBBB")
    assert past.ask("c" * 50, 0.0) == [user("bb"), assistant("BBBB"), user("c" * 50)]
    past.write("C" * 50)
    past.end(0.0)
    assert past.ask("d", 0.0) == [user("d")]


def test_what_was_heard_replaces_what_was_written() -> None:
    """Also where the writing had been stopped."""
    past = history()
    turn(past, "a", "one two three")
    past.heard(" one two ", 1.0)
    assert past.ask("b", 2.0) == [user("a"), assistant("one two"), user("b")]
    past.write("four five")
    past.give_up()
    past.heard("four", 3.0)
    assert past.ask("c", 4.0)[-2:] == [assistant("four"), user("c")]


def test_a_turn_that_was_stopped_before_a_sound_is_forgotten() -> None:
    """Nobody heard an answer, and turn taking hands its words in again with what follows."""
    past = history()
    turn(past, "a", "A")
    past.ask("what is", 0.0)
    past.write("It is")
    past.give_up()
    whole = "what is the time"
    assert past.ask(whole, 0.0) == [user("a"), assistant("A"), user(whole)]


def test_a_question_of_which_no_answer_was_heard_goes_before_the_next() -> None:
    """In one message, as some models refuse two of one role in a row; and never twice."""
    past = history()
    turn(past, "weather?", "It rains.")
    past.heard("", 0.0)
    assert past.ask("in Rome", 0.0) == [user("weather?\nin Rome")]
    past.heard("", 0.0)
    assert past.ask("weather?\nin Rome and Bari", 0.0) == [user("weather?\nin Rome and Bari")]


def test_a_reply_that_was_dropped_before_it_sounded_is_forgotten() -> None:
    """Also where it was complete: the words come again with what follows."""
    past = history()
    turn(past, "what is", "What do you mean?")
    past.heard(None, 0.0)
    assert past.ask("what is the time", 0.0) == [user("what is the time")]


def test_an_empty_history_has_heard_nothing() -> None:
    """A reply of another responder may have been interrupted."""
    past = history()
    past.heard("something", 0.0)
    assert past.ask("a", 0.0) == [user("a")]


def test_all_is_forgotten_when_nobody_has_spoken_for_a_while() -> None:
    """The next visitor does not inherit the last one's conversation."""
    past = history()
    turn(past, "a", "A" * round(SPOKEN_CHARS_PER_S), now=100.0)
    assert len(past.ask("b", 160.9)) == 3
    past.give_up()
    turn(past, "c", "", now=161.0)
    past.heard("x", 162.0)
    assert len(past.ask("d", 221.9)) == 5
    past.give_up()
    assert past.ask("e", 282.0) == [user("e")]


def test_a_long_reply_is_no_idleness() -> None:
    """The time in which it sounds does not count."""
    idle = IdleTime(60)
    assert not idle.is_over(1000.0)
    idle.spoke(0.0, chars=round(30 * SPOKEN_CHARS_PER_S))
    assert not idle.is_over(89.9)
    assert idle.is_over(90.0)
