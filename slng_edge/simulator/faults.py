"""Faults on demand: what can go wrong at a gateway, by name.

A fault is written ``[stt:|tts:]NAME[=VALUE][@FIRST[-LAST]]``:

- ``stt:`` or ``tts:`` limits it to one kind of session,
- ``=VALUE`` sets it; without it the default of the table counts,
- ``@2`` or ``@1-3`` limits it to the connection attempts of that number; each kind of
  session counts its own attempts from 1 (refused ones too).

``no_final=1@1``, ``tts:refuse=429@1-2`` and ``pace=realtime`` are faults.
"""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from slng_edge.errors import ConfigError


@dataclass(frozen=True)
class FaultKind:
    """One row of the table: `form` is a regular expression that the value has to match."""

    name: str
    value: str
    form: str
    default: str
    description: str


_COUNT, _FLAG = r"[1-9]\d*|all", ""
_NUMBER = r"\d+"
_STATUS = "|".join(str(status.value) for status in HTTPStatus if status >= 400)

FAULTS: tuple[FaultKind, ...] = tuple(
    FaultKind(*row)
    for row in (
        # the connection
        ("refuse", "STATUS", _STATUS, "503", "refuse the upgrade with this HTTP status"),
        ("retry_after", "S", _NUMBER, "1", "send Retry-After with a refusal"),
        ("never_ready", "", _FLAG, "", "take `init` and never say `ready`"),
        ("ready_delay", "MS", _NUMBER, "500", "say `ready` this much later"),
        ("close_after", "N[:CODE]", r"\d+(:\d{4})?", "1:1011", "close after N client messages"),
        ("reset_after_bytes", "N", _NUMBER, "16000", "TCP reset after N bytes of audio, in or out"),
        ("per_utterance_close", "", _FLAG, "", "tts: close with 1000 after each utterance"),
        # how messages look
        ("malformed_json", "N", r"[1-9]\d*", "2", "a broken message before every Nth message"),
        ("wrong_case", "", _FLAG, "", "types in another case (`Final_Transcript`)"),
        ("nested_error", "", _FLAG, "", "errors as {type, data: {code, message}}"),
        ("numeric_error", "", _FLAG, "", "errors with a number as their code"),
        # speech-to-text
        ("no_final", "N", _COUNT, "all", "stt: swallow the first N finals"),
        ("final_delay", "MS", _NUMBER, "1000", "stt: finals come this much later"),
        ("several_finals", "N", r"[2-9]", "2", "stt: N finals an utterance, the last on finalize"),
        (
            "late_final",
            "TEXT",
            r".+",
            "and so",
            "stt: a final of the server's own before the answer",
        ),
        ("duplicate_final", "", _FLAG, "", "stt: `transcript` with is_final before each final"),
        ("from_finalize", "", _FLAG, "", "stt: mark the final that answers `finalize`"),
        ("deepgram_results", "", _FLAG, "", "stt: transcripts in Deepgram's `Results` form"),
        # text-to-speech
        ("terminal", "NAME", r"flushed|audio_end|both", "both", "tts: what ends an utterance"),
        ("no_terminal", "N", _COUNT, "all", "tts: swallow the end of the first N utterances"),
        ("no_cleared", "N", _COUNT, "all", "tts: swallow the first N `cleared`"),
        ("late_audio_after_clear", "MS", _NUMBER, "300", "tts: audio between `clear`, `cleared`"),
        ("first_audio_delay", "MS", _NUMBER, "500", "tts: first audio comes this much later"),
        ("pace", "FACTOR", r"realtime|\d+(\.\d+)?", "realtime", "tts: audio in real time × FACTOR"),
        ("odd_frames", "", _FLAG, "", "tts: audio messages that split samples"),
        ("base64_audio", "", _FLAG, "", "tts: audio as `audio_chunk` messages"),
        ("wav_header", "HZ", _NUMBER, "0", "tts: a WAV header first; HZ: the rate it says and has"),
        ("repeat_sequence", "N", r"[1-9]\d*", "3", "tts: every Nth chunk twice (implies base64)"),
        ("skip_sequence", "N", r"[1-9]\d*", "3", "tts: every Nth number left out (implies base64)"),
    )
)
"""The table that `--list-faults` prints."""

_BY_NAME = {kind.name: kind for kind in FAULTS}
_SPEC = re.compile(
    r"(?:(?P<session>stt|tts):)?(?P<name>\w+)(?:=(?P<value>.*?))?"
    r"(?:@(?P<first>[1-9]\d*)(?:-(?P<last>[1-9]\d*))?)?"
)


class _Rule:
    """One fault as asked for, with what is left of it where it counts."""

    def __init__(self, spec: str) -> None:
        match = _SPEC.fullmatch(spec.strip())
        if match is None:
            raise ConfigError(f"fault {spec!r}: write [stt:|tts:]NAME[=VALUE][@FIRST[-LAST]]")
        kind = _BY_NAME.get(match["name"])
        if kind is None:
            near = difflib.get_close_matches(match["name"], _BY_NAME, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; --list-faults names them all"
            raise ConfigError(f"there is no fault {match['name']!r}{hint}")
        value = kind.default if match["value"] is None else match["value"]
        if not re.fullmatch(kind.form, value):
            takes = f"takes {kind.value}" if kind.value else "takes no value"
            raise ConfigError(f"fault {kind.name!r} {takes}, not {value!r}")
        self.name, self.value = kind.name, value
        self._session = match["session"]
        self._first = int(match["first"] or 1)
        self._last = int(match["last"] or match["first"] or 2**62)
        self._lock = threading.Lock()
        self._left = int(value) if value.isdigit() else 2**62

    def applies(self, session: str, number: int) -> bool:
        """Whether it concerns the connection attempt `number` of this kind."""
        return self._session in (None, session) and self._first <= number <= self._last

    def spend(self) -> bool:
        """Use it once; False when it is used up. Any thread."""
        with self._lock:
            self._left -= 1
            return self._left >= 0


class ActiveFaults:
    """The faults of one connection."""

    def __init__(self, rules: Iterable[_Rule] = ()) -> None:
        self._rules = {rule.name: rule for rule in rules}

    def __contains__(self, name: str) -> bool:
        return name in self._rules

    def text(self, name: str) -> str:
        """Its value as written, "" where it is not on."""
        rule = self._rules.get(name)
        return rule.value if rule else ""

    def number(self, name: str) -> int:
        """Its value as a number, 0 where it is not on."""
        return int(self.text(name) or 0)

    def spend(self, name: str) -> bool:
        """Whether it strikes now; faults with a count strike that often, over all connections."""
        rule = self._rules.get(name)
        return rule is not None and rule.spend()


class Faults:
    """A set of faults, as lines of the form that this module's docstring gives.

    Args:
        specs: The faults; a later one of the same name wins where both apply.

    Raises:
        ConfigError: A name that is not in the table (with the nearest one), or a value that
            its row does not allow.
    """

    def __init__(self, *specs: str) -> None:
        self._rules = [_Rule(spec) for spec in specs]

    def for_connection(self, session: str, number: int) -> ActiveFaults:
        """The faults of connection attempt `number` (from 1) of `session` ("stt" or "tts")."""
        return ActiveFaults(rule for rule in self._rules if rule.applies(session, number))


def fault_table() -> str:
    """The table of all faults as text, one line each."""
    heads = [f"{kind.name}={kind.value}" if kind.value else kind.name for kind in FAULTS]
    width = max(map(len, heads)) + 2
    return "\n".join(
        f"{head:<{width}}{kind.description}" + (f" (default {kind.default})" if kind.value else "")
        for head, kind in zip(heads, FAULTS, strict=True)
    )
