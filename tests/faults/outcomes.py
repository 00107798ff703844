"""What may come of a fault: the words of the table, and what is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from faults.stage import State
from faults.verdict import Heard, Outcome

S = State

AS_EVER = Outcome(
    "all heard",
    "Every question is transcribed and every answer sounds whole, on one connection of each kind.",
    reconnects=False,
)
ANEW = Outcome(
    "all, anew",
    "The same, on new connections: what was said while there was none is kept and sent.",
)
SPEECH_AGAIN = Outcome(
    "speech again",
    "The same; the question is sent once more from its first sample, and the rest of it follows.",
    speech_sent=(2,),
)
TEXT_AGAIN = Outcome(
    "text again",
    "The same; the answer, of which nothing has sounded, is asked for once more.",
    text_sent=(2,),
)
CUT = Outcome(
    "cut short",
    "The answer sounds as far as it came and is told as `lost`; no part of it is said twice.",
    reply=Heard.CUT,
    lost=("reply",),
)
NO_END = Outcome(
    "no end",
    "The answer sounds whole; that its end was not told is told as `lost`.",
    lost=("reply",),
)
QUESTION_LOST = Outcome(
    "question lost",
    "The question is told as `lost`, after it was sent twice; the next one is answered.",
    words=False,
    reply=Heard.NONE,
    speech_sent=(2,),
    text_sent=(),
    lost=("speech",),
)
REPLY_LOST = Outcome(
    "answer lost",
    "The answer cannot be spoken and is told as `lost`; the next one is.",
    reply=Heard.NONE,
    lost=("reply",),
    reconnects=False,
)
TEXT_TWICE = replace(REPLY_LOST, text_sent=(1, 2), reconnects=True)
OWN_FINAL = Outcome(
    "other words",
    "What the gateway says first after `finalize` is taken for the words; what follows is told "
    "as `lost`.",
    reconnects=False,
)
_REFUSED = "The gateway refuses us for good: the state is `error`, and what is not done is `lost`."
REFUSED_IDLE = Outcome(
    "refused",
    _REFUSED,
    words=False,
    reply=Heard.NONE,
    speech_sent=(0,),
    text_sent=(),
    lost=("speech",),
    reconnects=False,
    ends_in="error",
)
REFUSED_HEARING = Outcome(
    "refused",
    _REFUSED,
    words=False,
    reply=Heard.NONE,
    text_sent=(),
    lost=("speech",),
    reconnects=False,
    ends_in="error",
)
REFUSED_THINKING = Outcome(
    "refused", _REFUSED, reply=Heard.NONE, lost=("reply",), reconnects=False, ends_in="error"
)
REFUSED_SPEAKING = Outcome(
    "refused", _REFUSED, reply=Heard.CUT, lost=("reply",), reconnects=False, ends_in="error"
)

Outcomes = Mapping[State, Outcome | str]
"""For each state what has to come of it, or why the fault cannot do anything there."""

EVERYWHERE_AS_EVER: Outcomes = dict.fromkeys(S, AS_EVER)
BROKEN: Outcomes = {
    S.IDLE: ANEW,
    S.LISTENING: SPEECH_AGAIN,
    S.FINAL: SPEECH_AGAIN,
    S.AUDIO: TEXT_AGAIN,
    S.SPEAKING: CUT,
    S.INTERRUPTING: SPEECH_AGAIN,
}
BROKEN_TWICE: Outcomes = {
    **BROKEN,
    **{
        state: replace(outcome, speech_sent=(*outcome.speech_sent, outcome.speech_sent[0] + 1))
        for state, outcome in (
            (S.IDLE, ANEW),
            (S.LISTENING, SPEECH_AGAIN),
            (S.FINAL, SPEECH_AGAIN),
            (S.INTERRUPTING, SPEECH_AGAIN),
        )
    },
}
"""The connection in between may get a part of the question or nothing."""
REFUSED: Outcomes = {
    S.IDLE: REFUSED_IDLE,
    S.LISTENING: REFUSED_HEARING,
    S.FINAL: REFUSED_HEARING,
    S.AUDIO: REFUSED_THINKING,
    S.SPEAKING: REFUSED_SPEAKING,
    S.INTERRUPTING: REFUSED_HEARING,
}


def only(why_not: str, outcomes: Mapping[State, Outcome]) -> Outcomes:
    """Outcomes where there are any, else why there are none."""
    return {state: outcomes.get(state, why_not) for state in S}
