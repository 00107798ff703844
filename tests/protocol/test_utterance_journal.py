"""The journal of utterances: what is due, what is kept, what had to go."""

from __future__ import annotations

import pytest

from slng_edge.protocol.utterance_journal import AudioDue, FinalizeDue, UtteranceJournal


def journal(*, keep_bytes: int = 1000, message_bytes: int = 4) -> UtteranceJournal:
    """A journal whose messages hold two samples."""
    return UtteranceJournal(keep_bytes=keep_bytes, message_bytes=message_bytes)


def taken(kept: UtteranceJournal) -> list[AudioDue | FinalizeDue]:
    """All that is due now."""
    due = []
    while (item := kept.take()) is not None:
        due.append(item)
    return due


def test_an_utterance_is_audio_and_then_finalize() -> None:
    """Finalize is due once, after all audio, and only when the utterance has ended."""
    kept = journal()
    kept.open(1)
    kept.append(1, b"ab")
    assert taken(kept) == [AudioDue(1, b"ab")]
    kept.append(1, b"cd")
    kept.end(1)
    assert taken(kept) == [AudioDue(1, b"cd"), FinalizeDue(1)]
    assert taken(kept) == []


def test_waiting_chunks_are_sent_together_up_to_the_size_of_a_message() -> None:
    """A backlog does not cost one message a chunk, and no message is too large."""
    kept = journal()
    kept.open(1)
    for chunk in (b"ab", b"cd", b"ef"):
        kept.append(1, chunk)
    assert taken(kept) == [AudioDue(1, b"abcd"), AudioDue(1, b"ef")]


def test_a_chunk_that_is_larger_than_a_message_is_split() -> None:
    """A long pre-roll comes in one piece, and still stays inside the plan's message size."""
    kept = journal()
    kept.open(1)
    kept.append(1, b"abcdefghij")
    assert [item.pcm for item in taken(kept)] == [b"abcd", b"efgh", b"ij"]  # type: ignore[union-attr]


def test_utterances_are_sent_in_their_order() -> None:
    """The next one follows the finalize of the one before."""
    kept = journal()
    for number in (1, 2):
        kept.open(number)
        kept.append(number, b"ab")
        kept.end(number)
    assert taken(kept) == [
        AudioDue(1, b"ab"),
        FinalizeDue(1),
        AudioDue(2, b"ab"),
        FinalizeDue(2),
    ]
    assert len(kept) == 2


def test_a_rewind_makes_everything_due_again() -> None:
    """What is not answered is sent from its start on the next connection, its finalize too."""
    kept = journal()
    kept.open(1)
    kept.append(1, b"ab")
    kept.end(1)
    first = taken(kept)
    assert kept.unsent_bytes == 0
    assert kept.rewind() == []
    assert kept.unsent_bytes == 2
    assert taken(kept) == first


def test_an_answered_utterance_is_forgotten() -> None:
    """It takes no room any more, and says how much it held; one that is not known held nothing."""
    kept = journal(keep_bytes=6)
    kept.open(1)
    kept.append(1, b"abcd")
    kept.open(2)
    kept.append(2, b"ef")
    assert kept.forget(1) == 4
    assert kept.forget(1) == 0
    assert taken(kept) == [AudioDue(2, b"ef")]
    kept.rewind()
    kept.open(3)
    assert kept.append(3, b"ghij") == 0
    assert kept.append(3, b"kl") == 2


def test_audio_of_another_utterance_than_the_last_is_refused() -> None:
    """It cannot be put in order any more, so all of it counts as dropped."""
    kept = journal()
    assert kept.append(1, b"ab") == 2
    kept.open(1)
    kept.open(2)
    assert kept.append(1, b"abcd") == 4
    assert kept.unsent_bytes == 0


def test_the_end_of_an_utterance_that_is_not_known_changes_nothing() -> None:
    """It may have been given up before it ended."""
    kept = journal()
    kept.open(2)
    kept.end(1)
    assert taken(kept) == []


def test_too_much_audio_pushes_out_the_oldest() -> None:
    """The oldest utterance loses its oldest audio first, and keeps its finalize."""
    kept = journal(keep_bytes=6)
    kept.open(1)
    assert kept.append(1, b"ab") == 0
    kept.end(1)
    kept.open(2)
    assert kept.append(2, b"cdef") == 0
    assert kept.append(2, b"gh") == 2
    assert kept.append(2, b"ij") == 4
    assert kept.unsent_bytes == 4
    assert taken(kept) == [FinalizeDue(1), AudioDue(2, b"ghij")]


def test_audio_that_was_sent_is_lost_only_for_a_resend() -> None:
    """To push out what the gateway has got costs nothing until its connection is gone."""
    kept = journal(keep_bytes=4)
    kept.open(1)
    kept.append(1, b"ab")
    taken(kept)
    assert kept.append(1, b"cdef") == 0
    assert taken(kept) == [AudioDue(1, b"cdef")]
    assert kept.rewind() == [(1, 2)]
    assert kept.rewind() == []
    assert taken(kept) == [AudioDue(1, b"cdef")]


def test_as_many_pieces_go_as_room_is_needed_for() -> None:
    """Each is counted: dropped where it was not sent, for a resend alone where it was."""
    kept = journal(keep_bytes=6, message_bytes=2)
    kept.open(1)
    assert kept.append(1, b"abcdef") == 0
    assert kept.append(1, b"ghijkl") == 6
    assert [item.pcm for item in taken(kept)] == [b"gh", b"ij", b"kl"]  # type: ignore[union-attr]
    assert kept.append(1, b"mnopqr") == 0
    assert kept.rewind() == [(1, 6)]
    assert kept.append(1, b"stuvwx") == 6
    assert kept.forget(1) == 6


def test_what_is_pushed_out_after_a_rewind_counts_anew() -> None:
    """What had to go on the connection before is told, and over."""
    kept = journal(keep_bytes=4)
    kept.open(1)
    kept.append(1, b"abcd")
    taken(kept)
    kept.append(1, b"ef")
    assert kept.rewind() == [(1, 4)]
    taken(kept)
    kept.append(1, b"ghij")
    assert kept.rewind() == [(1, 2)]


def test_the_size_of_an_utterance_is_all_that_came_of_it() -> None:
    """What was sent and had to make room counts; what was dropped, and other utterances, do not."""
    kept = journal(keep_bytes=4)
    kept.open(1)
    kept.append(1, b"ab")
    taken(kept)
    kept.append(1, b"cdef")
    assert kept.size_of(1) == 6
    kept.open(2)
    kept.append(2, b"gh")
    assert (kept.size_of(1), kept.size_of(2), kept.size_of(3)) == (2, 2, 0)


def test_an_utterance_that_is_cut_off_sends_no_more_audio() -> None:
    """What is out of it is finalized, so that its words are not mixed into the next one's."""
    kept = journal(keep_bytes=6)
    kept.open(1)
    kept.append(1, b"ab")
    taken(kept)
    kept.append(1, b"cdef")
    assert kept.cut(1)
    assert taken(kept) == [FinalizeDue(1)]
    kept.open(2)
    assert kept.append(2, b"ghij") == 0
    assert kept.forget(1) == 2


def test_an_utterance_of_which_nothing_is_out_is_forgotten_when_it_is_cut_off() -> None:
    """The gateway knows nothing of it."""
    kept = journal(keep_bytes=4)
    kept.open(1)
    kept.append(1, b"ab")
    kept.open(2)
    assert not kept.cut(1)
    assert not kept.cut(3)
    assert (len(kept), taken(kept)) == (1, [])
    assert kept.append(2, b"cdef") == 0


def test_an_utterance_whose_sent_audio_is_gone_is_still_known_to_the_gateway() -> None:
    """Though nothing is kept of what was sent, it has to be finalized when it is cut off."""
    kept = journal(keep_bytes=4)
    kept.open(1)
    kept.append(1, b"ab")
    taken(kept)
    kept.append(1, b"cdef")
    assert kept.cut(1)
    assert taken(kept) == [FinalizeDue(1)]


def test_it_says_whether_finalize_is_next() -> None:
    """Audio, nothing, and the finalize of the utterance before or after are told apart."""
    kept = journal()
    assert not kept.finalize_is_next
    kept.open(1)
    kept.append(1, b"ab")
    assert not kept.finalize_is_next
    kept.take()
    assert not kept.finalize_is_next
    kept.end(1)
    kept.open(2)
    assert kept.finalize_is_next
    kept.take()
    assert not kept.finalize_is_next


@pytest.mark.parametrize(
    ("message_bytes", "halved"), [(16, 8), (14, 6), (12, 6), (6, 2), (4, 2), (2, 2)]
)
def test_half_a_message_is_whole_samples(message_bytes: int, halved: int) -> None:
    """Rounded down, and one at the least."""
    kept = journal(message_bytes=message_bytes)
    kept.open(1)
    kept.halve_messages()
    kept.append(1, bytes(halved + 2))
    assert kept.take() == AudioDue(1, bytes(halved))


def test_messages_can_be_halved() -> None:
    """What is kept already is cut anew, on whole samples, and never smaller than one."""
    kept = journal(message_bytes=6)
    kept.open(1)
    kept.append(1, b"abcdef")
    kept.halve_messages()
    assert taken(kept) == [AudioDue(1, b"ab"), AudioDue(1, b"cd"), AudioDue(1, b"ef")]
    kept.rewind()
    kept.halve_messages()
    kept.append(1, b"gh")
    assert taken(kept) == [AudioDue(1, bytes(b)) for b in (b"ab", b"cd", b"ef", b"gh")]
    assert kept.forget(1) == 8
