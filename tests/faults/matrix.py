"""The fault matrix: each fault of the local gateway, in each state of the voice loop.

A row is a fault, or a mix of some that has a meaning of its own. Each of its cells says what is
done to the gateway and what has to come of it, or why the fault can do nothing in that state.
The rows are data: `stage` plays a cell, `verdict` judges it, `render` makes the table of the
documentation.
"""

from __future__ import annotations

from faults.cells import (
    Cell,
    Row,
    at_points,
    broken,
    given_up_within,
    habit,
    next_fails,
    own_finals,
    row,
    waited,
    was_told,
)
from faults.outcomes import (
    ANEW,
    AS_EVER,
    BROKEN,
    BROKEN_TWICE,
    CUT,
    NO_END,
    QUESTION_LOST,
    REFUSED,
    REPLY_LOST,
    SPEECH_AGAIN,
    TEXT_AGAIN,
    TEXT_TWICE,
    only,
)
from faults.stage import State, Strike

S = State

NOTHING_FLOWS = "no audio is under way"
NOTHING_SENT = "the gateway sends nothing"
NO_FINAL_DUE = "no final is due"
NO_REPLY = "strikes where an answer is asked for, or ends"
NO_CLEAR = "nothing is cleared"
SMALL = "strikes at the first words that are sent: see listening"
OWN_RUN = "draws from the others; `scripts/random-faults` plays it"
GIVE_UP_SOON = ("stt.offline_keep_s=1",)
FINAL_DUE = (S.IDLE, S.LISTENING, S.FINAL, S.INTERRUPTING)
POINTS = {
    S.IDLE: "{0}=1@1",
    S.LISTENING: "stt:{0}=500ms@1",
    S.FINAL: "stt:{0}=finalize@1",
    S.AUDIO: "tts:{0}=flush@1",
    S.SPEAKING: "tts:{0}=1000ms@1",
    S.INTERRUPTING: "stt:{0}=1500ms@1 tts:{0}=clear@1",
}
CLOSING = {state: value.replace("@", ":1011@") for state, value in POINTS.items()}
SOON = Strike(open=("stt:no_final=1",))

ROWS: tuple[Row, ...] = (
    # The way in
    broken("refuse=503", next_fails("refuse=503@2")),
    broken(
        "refuse=429 retry_after=1",
        next_fails("refuse=429@2", "retry_after=1@2"),
        also=waited("stt", 1.0),
    ),
    broken(
        "refuse=503 refuse_body",
        next_fails("refuse=503@2", "refuse_body=closed for lunch@2"),
        also=was_told("closed for lunch"),
    ),
    broken(
        "refuse=401",
        next_fails("refuse=401"),
        REFUSED,
        config=GIVE_UP_SOON,
    ),
    habit("tls=good"),
    *(
        broken(
            f"tls={how}",
            next_fails(f"tls={how}", passes=True),
            faults=("tls=good",),
            also=was_told("the certificate of"),
        )
        for how in ("wrong_name", "expired", "not_yet_valid", "unknown_authority")
    ),
    # The connection
    broken("never_ready", next_fails("never_ready@2")),
    broken("ready_delay=500", next_fails("ready_delay=500@2")),
    broken(
        "ready_then_error",
        next_fails("ready_then_error=provider_error@2"),
        BROKEN_TWICE,
        otherwise={S.AUDIO: TEXT_TWICE},
    ),
    row("close_after=POINT:1011", BROKEN, faults=at_points("close_after", CLOSING)),
    *(broken(f"close_after=N:{code}", Strike(close=code)) for code in (1000, 1001, 1012, 1013)),
    broken("close_after=N:4001", Strike(close=4001), also=waited("stt", 5.0)),
    *(
        broken(
            f"close_after=N:{code}",
            Strike(close=code),
            REFUSED,
            config=GIVE_UP_SOON,
            also=given_up_within(1.0),
        )
        for code in (1008, 4000)
    ),
    broken("close_after=N:4002", Strike(close=4002)),
    row(
        "close_after_audio=MS",
        only(
            NOTHING_FLOWS,
            {S.LISTENING: SPEECH_AGAIN, S.SPEAKING: CUT, S.INTERRUPTING: SPEECH_AGAIN},
        ),
        faults={
            S.LISTENING: ("stt:close_after_audio=500@1",),
            S.SPEAKING: ("tts:close_after_audio=1000@1",),
            S.INTERRUPTING: ("stt:close_after_audio=1500@1",),
        },
    ),
    row("reset_after=POINT", BROKEN, faults=at_points("reset_after", POINTS)),
    row(
        "reset_after_bytes=N",
        only(
            NOTHING_FLOWS,
            {
                S.LISTENING: SPEECH_AGAIN,
                S.AUDIO: TEXT_AGAIN,
                S.SPEAKING: CUT,
                S.INTERRUPTING: SPEECH_AGAIN,
            },
        ),
        faults={
            S.LISTENING: ("stt:reset_after_bytes=30000@1",),
            S.AUDIO: ("tts:reset_after_bytes=0@1",),
            S.SPEAKING: ("tts:reset_after_bytes=48000@1",),
            S.INTERRUPTING: ("stt:reset_after_bytes=50000@1",),
        },
    ),
    row("stall=POINT", BROKEN, faults=at_points("stall", POINTS)),
    row("half_open=POINT", BROKEN, faults=at_points("half_open", POINTS)),
    habit("slow_reading=64000", config=("stt.final_timeout_s=8",)),
    row(
        "message_limit=4096",
        only(SMALL, {S.LISTENING: ANEW}),
        faults=("stt:message_limit=4096",),
    ),
    # How messages look
    habit("malformed_json=2"),
    habit("huge_message=256"),
    row(
        "truncated_frame=N",
        only(
            NOTHING_SENT,
            {
                S.LISTENING: SPEECH_AGAIN,
                S.FINAL: SPEECH_AGAIN,
                S.AUDIO: TEXT_AGAIN,
                S.SPEAKING: CUT,
                S.INTERRUPTING: SPEECH_AGAIN,
            },
        ),
        faults={
            S.LISTENING: ("stt:truncated_frame=2@1",),
            S.FINAL: ("stt:truncated_frame=3@1",),
            S.AUDIO: ("tts:truncated_frame=2@1",),
            S.SPEAKING: ("tts:truncated_frame=20@1",),
            S.INTERRUPTING: ("stt:truncated_frame=4@1",),
        },
    ),
    habit("wrong_case"),
    broken("nested_error", Strike(open=("nested_error",), error="provider_error")),
    broken("numeric_error", Strike(open=("numeric_error",), error="provider_error")),
    # Speech-to-text
    row(
        "no_final=1",
        only(NO_FINAL_DUE, dict.fromkeys(FINAL_DUE, SPEECH_AGAIN)),
        faults={S.FINAL: ("no_final=1",)},
        strike=dict.fromkeys((S.IDLE, S.LISTENING, S.INTERRUPTING), SOON),
    ),
    row(
        "no_final=2",
        only(NO_FINAL_DUE, dict.fromkeys(FINAL_DUE, QUESTION_LOST)),
        faults={S.FINAL: ("no_final=2",)},
        strike=dict.fromkeys(
            (S.IDLE, S.LISTENING, S.INTERRUPTING),
            Strike(open=("stt:no_final=1",), upcoming=("stt:no_final=1",)),
        ),
    ),
    habit("final_delay=1000"),
    habit("several_finals=2"),
    own_finals("late_final", lambda _turn, _text: "and so", 2),
    own_finals(
        "late_final from_finalize",
        lambda turn, text: f"and so {text}" if turn else "and so",
        1,
    ),
    habit("duplicate_final"),
    habit("from_finalize"),
    habit("deepgram_results"),
    row(
        "error_on_finalize=provider_error:1",
        only(NO_FINAL_DUE, dict.fromkeys(FINAL_DUE, SPEECH_AGAIN)),
        faults={S.FINAL: ("error_on_finalize=provider_error:1",)},
        strike=dict.fromkeys(
            (S.IDLE, S.LISTENING, S.INTERRUPTING),
            Strike(open=("stt:error_on_finalize=provider_error:1",)),
        ),
    ),
    # Text-to-speech
    habit("terminal=flushed"),
    habit("terminal=audio_end"),
    habit("terminal=both"),
    row(
        "no_terminal=1",
        only(NO_REPLY, dict.fromkeys((S.AUDIO, S.SPEAKING, S.INTERRUPTING), NO_END)),
        faults=dict.fromkeys((S.AUDIO, S.SPEAKING), ("no_terminal=1",)),
        strike={S.INTERRUPTING: Strike(open=("tts:no_terminal=1",))},
    ),
    habit("per_utterance_close", dict.fromkeys(S, ANEW)),
    row("no_cleared=1", only(NO_CLEAR, {S.INTERRUPTING: ANEW}), faults=("no_cleared=1",)),
    row(
        "late_audio_after_clear=300",
        only(NO_CLEAR, {S.INTERRUPTING: AS_EVER}),
        faults=("late_audio_after_clear=300",),
    ),
    habit("first_audio_delay=500"),
    habit("pace=realtime"),
    habit("odd_frames"),
    habit("base64_audio"),
    habit("wav_header"),
    habit("repeat_sequence=3"),
    habit("skip_sequence=3"),
    row(
        "error_on_text=provider_error:1",
        only(NO_REPLY, dict.fromkeys((S.AUDIO, S.INTERRUPTING), TEXT_AGAIN)),
        faults={S.AUDIO: ("error_on_text=provider_error:1",)},
        strike={S.INTERRUPTING: Strike(open=("tts:error_on_text=provider_error:1",))},
    ),
    row(
        "error_on_text=invalid_request:1",
        only(NO_REPLY, dict.fromkeys((S.AUDIO, S.INTERRUPTING), REPLY_LOST)),
        faults={S.AUDIO: ("error_on_text=invalid_request:1",)},
        strike={S.INTERRUPTING: Strike(open=("tts:error_on_text=invalid_request:1",))},
    ),
    habit("characters_a_minute=2400"),
    row(
        "characters_a_minute=5",
        only(NO_REPLY, {S.AUDIO: TEXT_AGAIN}),
        faults=("tts:characters_a_minute=5@1",),
        also=waited("tts", 5.0),
    ),
    # Any of them
    row("random=SEED", dict.fromkeys(S, OWN_RUN)),
)

CELLS: tuple[Cell, ...] = tuple(cell for row_ in ROWS for cell in row_.cells)
PLAYED: tuple[Cell, ...] = tuple(cell for cell in CELLS if cell.outcome is not None)


def render() -> str:
    """The table of the documentation, and what is under it, in Markdown."""
    notes: dict[str, int] = {}

    def shown(cell: Cell) -> str:
        note = cell.why_not or cell.fails
        text = "–" if cell.outcome is None else cell.outcome.shows
        if cell.otherwise is not None:
            text += f" or {cell.otherwise.shows}"
        return f"{text} [{notes.setdefault(note, len(notes) + 1)}]" if note else text

    lines = ["| fault | " + " | ".join(state.value for state in S) + " |", "|---" * 7 + "|"]
    lines += [f"| `{row_.label}` | " + " | ".join(map(shown, row_.cells)) + " |" for row_ in ROWS]
    outcomes = [AS_EVER, *(outcome for cell in CELLS for outcome in cell.outcomes)]
    meanings = {outcome.shows: outcome.means for outcome in outcomes}
    lines += ["", *(f"- **{shows}**: {means}" for shows, means in meanings.items())]
    lines += [f"- [{number}] {note}." for note, number in notes.items()]
    return "\n".join(lines) + "\n"
