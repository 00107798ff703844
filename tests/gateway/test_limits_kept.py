"""What a plan, a provider and a gateway allow is not exceeded."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from conversation_scripts import (
    PATIENCE_S,
    Heard,
    connections,
    gateway,
    numbered,
    spoken,
    wait_until,
)
from session_scripts import (
    UNCOUNTED,
    changes,
    complaints,
    finals,
    listening,
    plan,
    say,
    sound_of,
    speaking,
    states,
    utter,
)

from slng_edge.events import ConnectionChanged
from slng_edge.protocol.session_events import Final, ReplyAudio, ReplyCut, ReplyDone
from slng_edge.simulator import ConnectionRecord, LocalGateway

FREE = "gateway.tier=free"
WORDS = "the quick brown fox jumps over the lazy dog and runs into the dark wood"


def texts_of(served: LocalGateway) -> list[str]:
    """Every text that was sent, in order."""
    return [
        str(message["text"])
        for record in served.connections
        for message in record.of_type("client", "text")
    ]


def counted(record: ConnectionRecord) -> int:
    """The messages of the client that the plan counts."""
    return sum(who == "client" and isinstance(message, dict) for _, who, message in record.messages)


# The size of a text


def test_a_long_text_is_split_by_its_sentences() -> None:
    """No message is longer than the plan allows, and each ends where a sentence does."""
    heard = Heard()
    sentence = f"Here {WORDS}."
    text = " ".join([sentence] * 12)
    assert len(text) > 800
    with gateway(tier="free") as served, speaking(served.url, heard, FREE, UNCOUNTED) as tts:
        say(tts, 1, text)
        heard.wait_for(ReplyDone)
        sent = [text.strip() for text in texts_of(served)]
        assert max(map(len, sent)) <= 500
        assert all(text.endswith(".") for text in sent)
        assert " ".join(sent) == text
        assert len(sent) == 2
        assert served.violations == []
        assert np.array_equal(sound_of(heard, 1), spoken(*[sentence] * 12))


def test_a_sentence_that_is_too_long_is_split_between_words() -> None:
    """Never in the middle of one."""
    heard = Heard()
    text = " ".join([WORDS] * 10)
    with gateway(tier="free") as served, speaking(served.url, heard, FREE, UNCOUNTED) as tts:
        say(tts, 1, text)
        heard.wait_for(ReplyDone)
        sent = [text.strip() for text in texts_of(served)]
        assert max(map(len, sent)) <= 500
        assert " ".join(sent) == text
        assert all(set(part.split()) <= set(WORDS.split()) for part in sent)
        assert served.violations == []


@pytest.mark.timed
@pytest.mark.parametrize(("tier", "limit"), [("free", 500), ("pro", 2000), ("enterprise", 10000)])
def test_each_plan_has_its_own_length(tier: str, limit: int) -> None:
    """A text of just the allowed length is one message; one more character makes two."""
    heard = Heard()
    exact = ("word " * limit)[: limit - 1] + "x"
    overrides = (f"gateway.tier={tier}", UNCOUNTED)
    with gateway(tier=tier) as served, speaking(served.url, heard, *overrides) as tts:
        say(tts, 1, exact)
        heard.wait_for(ReplyDone, reply=1)
        assert [len(text) for text in texts_of(served)] == [limit]
        say(tts, 2, exact + " y")
        heard.wait_for(ReplyDone, reply=2)
        assert len(texts_of(served)) == 3
        assert max(map(len, texts_of(served))) <= limit
        assert served.violations == []


def test_audio_messages_stay_inside_of_the_smallest_plan() -> None:
    """A backlog that goes out at once, in either form."""
    heard = Heard()
    for form in ("binary", "base64"):
        overrides = (FREE, f"stt.audio_frames={form}")
        with gateway(tier="free") as served, listening(served.url, heard, *overrides) as stt:
            samples = numbered(6000)
            utter(stt, samples)
            heard.wait_for(Final)
            assert served.connections[0].audio == samples.tobytes()
            assert served.violations == []


# Messages a minute


def test_replies_in_quick_succession_wait_for_the_minute() -> None:
    """The bucket of one connection is never overdrawn: what is too much waits."""
    heard = Heard()
    with gateway(tier="free") as served, speaking(served.url, heard, FREE, UNCOUNTED) as tts:
        for number in range(15):
            say(tts, number, f"Reply {number}.")
        heard.wait_for(ReplyDone, reply=8)
        time.sleep(0.5)
        assert all(counted(record) <= 20 for record in served.connections)
        assert served.violations == []
        assert states(heard) == ["connecting", "ready"]
        assert not any(isinstance(event, ReplyCut) for event in heard.events)


def test_utterances_in_quick_succession_wait_for_the_minute() -> None:
    """Their audio goes out, which is not counted; the `finalize` that is too much waits."""
    heard = Heard()
    lines = [f"line {number}" for number in range(25)]
    with gateway(*lines, tier="free") as served, listening(served.url, heard, FREE) as stt:
        for number in range(19):
            utter(stt, numbered(20))
            heard.wait_for(Final, text=lines[number])
        utter(stt, numbered(20))
        time.sleep(0.5)
        assert len(finals(heard)) == 19
        assert counted(served.connections[0]) == 20
        assert served.violations == []


def test_a_new_connection_has_a_bucket_of_its_own() -> None:
    """What waited for the minute goes out on the next connection, within what that one may."""
    heard = Heard()
    with (
        gateway(tier="free", connection_s=3.5) as served,
        speaking(served.url, heard, FREE, UNCOUNTED, limits=plan("free", duration_s=1.5)) as tts,
    ):
        for number in range(15):
            say(tts, number, f"Reply {number}.")
        heard.wait_for(ReplyDone, reply=14)
        assert len(served.connections) >= 2
        assert all(counted(record) <= 20 for record in served.connections)
        assert served.violations == []


@pytest.mark.parametrize("kind", ["stt", "tts"])
def test_keepalives_on_the_free_plan_are_far_apart(kind: str) -> None:
    """However short the config has them: they would eat up the minute."""
    heard = Heard()
    session = listening if kind == "stt" else speaking
    with (
        gateway(tier="free") as served,
        session(served.url, heard, FREE, f"{kind}.keepalive_s=0.1") as either,
    ):
        either.wait_ready(PATIENCE_S)
        time.sleep(0.6)
        assert served.connections[0].of_type("client", "keepalive") == []


# Too large for the gateway


def test_a_text_that_is_too_large_is_halved_once(caplog: pytest.LogCaptureFixture) -> None:
    """4002: the connection is made anew at once, and all of the reply is spoken."""
    heard = Heard()
    text = " ".join([WORDS] * 8)
    limit = len(json.dumps({"type": "text", "text": text})) - 50
    faults = [f"tts:message_limit={limit}"]
    with gateway(faults=faults) as served, speaking(served.url, heard, UNCOUNTED) as tts:
        say(tts, 1, text)
        heard.wait_for(ReplyDone)
        refused, taken = served.connections
        assert refused.close_code == 4002
        sent = [message["text"].strip() for message in taken.of_type("client", "text")]
        assert " ".join(sent) == text
        assert max(map(len, sent)) <= len(text) // 2 + 1
        closed = next(change for change in changes(heard) if change.state == "closed")
        assert closed.retry_in_s is None
        assert complaints(caplog) == []


def test_audio_that_is_too_large_is_halved_once() -> None:
    """4002: the utterance goes out again in smaller messages, from its start; words once."""
    heard = Heard()
    with (
        gateway("in smaller pieces", faults=["stt:message_limit=4000"]) as served,
        listening(served.url, heard) as stt,
    ):
        samples = numbered(1000)
        utter(stt, samples)
        heard.wait_for(Final)
        refused, taken = served.connections
        assert refused.close_code == 4002
        assert taken.audio == samples.tobytes()
        assert "failed" not in states(heard)
    assert finals(heard) == ["in smaller pieces"]


@pytest.mark.parametrize("kind", ["stt", "tts"])
def test_what_is_too_large_even_so_is_said_and_not_halved_again(kind: str) -> None:
    """The second 4002 is an error, told as such; there is no loop."""
    heard = Heard()
    with gateway(faults=[f"{kind}:message_limit=300"]) as served:
        if kind == "stt":
            with listening(served.url, heard) as stt:
                utter(stt, numbered(1000))
                assert heard.wait_for(ConnectionChanged, state="failed").code == 4002
                time.sleep(0.3)
        else:
            with speaking(served.url, heard, UNCOUNTED) as tts:
                say(tts, 1, "x" * 1900)
                assert heard.wait_for(ConnectionChanged, state="failed").code == 4002
                time.sleep(0.3)
        assert len(served.connections) == 2


# Characters a minute


def test_the_characters_of_a_provider_are_counted() -> None:
    """The third text would be too much for Deepgram's minute: it waits, and nothing is refused."""
    heard = Heard()
    faults = ["tts:characters_a_minute=2400"]
    text = " ".join([WORDS] * 14)
    assert 900 < len(text) < 1100
    with gateway(faults=faults) as served, speaking(served.url, heard) as tts:
        for number in (1, 2, 3):
            say(tts, number, text)
        heard.wait_for(ReplyDone, reply=2)
        time.sleep(0.4)
        assert sum(map(len, texts_of(served))) <= 2400
        assert len(texts_of(served)) == 2
        assert served.violations == []
        assert states(heard) == ["connecting", "ready"]


def test_the_characters_are_the_providers_not_the_connections() -> None:
    """A new connection does not begin the minute anew."""
    heard = Heard()
    text = " ".join([WORDS] * 14)
    with gateway() as served, speaking(served.url, heard) as tts:
        for number in (1, 2):
            say(tts, number, text)
            heard.wait_for(ReplyDone, reply=number)
        served.drop_all()
        assert wait_until(lambda: tts.retry_now() or states(heard)[-1] == "ready")
        say(tts, 3, text)
        time.sleep(0.4)
        assert len(texts_of(served)) == 2


@pytest.mark.timed
def test_characters_of_another_provider_are_not_counted() -> None:
    """What Deepgram allows does not hold others up."""
    heard = Heard()
    text = " ".join([WORDS] * 14)
    with gateway() as served, speaking(served.url, heard, UNCOUNTED) as tts:
        for number in range(1, 6):
            say(tts, number, text)
        heard.wait_for(ReplyDone, reply=5)
        assert sum(map(len, texts_of(served))) > 4500


def test_no_text_alone_is_more_than_the_provider_speaks_in_a_minute() -> None:
    """The largest plan takes longer texts than Deepgram does."""
    text = " ".join(["word"] * 600)
    with gateway(tier="enterprise") as served:
        heard = Heard()
        with speaking(served.url, heard, "gateway.tier=enterprise") as tts:
            say(tts, 1, text)
            heard.wait_for(ReplyAudio, reply=1)
        [record] = connections(served, "tts")
        [sent] = [message["text"] for message in record.of_type("client", "text")]
        assert 2300 < len(sent) <= 2400
