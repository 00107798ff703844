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

from slng_edge.errors import ConfigError
from slng_edge.simulator.fault_kinds import FAULTS, POINTS, FaultKind, fault_table
from slng_edge.simulator.random_faults import draw

__all__ = ["FAULTS", "POINTS", "ActiveFaults", "FaultKind", "Faults", "fault_table"]

_BY_NAME = {kind.name: kind for kind in FAULTS}
_SPEC = re.compile(
    r"(?:(?P<session>stt|tts):)?(?P<name>\w+)(?:=(?P<value>.*?))?"
    r"(?:@(?P<first>[1-9]\d*)(?:-(?P<last>[1-9]\d*))?)?"
)
_ENDLESS = 2**62


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
        if kind.name == "tls" and (match["session"] or match["first"]):
            raise ConfigError("fault 'tls' is the whole gateway's: without stt:, tts: and @")
        self.name, self.value = kind.name, value
        self._session = match["session"]
        self._first = int(match["first"] or 1)
        self._last = int(match["last"] or match["first"] or _ENDLESS)
        self._lock = threading.Lock()
        count = value.partition(":")[2] if kind.value.endswith("[:N]") else value
        self._left = int(count) if count.isdigit() else _ENDLESS

    def applies(self, session: str, number: int) -> bool:
        """Whether it concerns the connection attempt `number` of this kind."""
        return self._session in (None, session) and self._first <= number <= self._last

    def spend(self) -> bool:
        """Use it once; False when it is used up. Any thread."""
        with self._lock:
            self._left -= 1
            return self._left >= 0


class ActiveFaults:
    """The faults of one connection.

    Attributes:
        drawn: The one that `random` drew for it, as it would be written; "" for none.
    """

    def __init__(self, rules: Iterable[_Rule] = (), drawn: str = "") -> None:
        self._rules = {rule.name: rule for rule in rules}
        self.drawn = drawn

    def __contains__(self, name: str) -> bool:
        return name in self._rules

    def text(self, name: str) -> str:
        """Its value as written, "" where it is not on."""
        rule = self._rules.get(name)
        return rule.value if rule else ""

    def number(self, name: str) -> int:
        """Its value as a number, 0 where it is not on."""
        return int(self.text(name) or 0)

    def code(self, name: str) -> str:
        """The CODE of a value of the form `CODE[:N]`, "" where it is not on."""
        return self.text(name).partition(":")[0]

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

    @property
    def tls(self) -> str:
        """How the gateway's certificate is, "" where `tls` was not asked for."""
        return ActiveFaults(self._rules).text("tls")

    def for_connection(self, session: str, number: int) -> ActiveFaults:
        """The faults of connection attempt `number` (from 1) of `session` ("stt" or "tts").

        What `random` draws is the same each time this is asked; a fault of the same name that
        was asked for wins over it.
        """
        rules = [rule for rule in self._rules if rule.applies(session, number)]
        active = ActiveFaults(rules)
        drawn = draw(active.text("random"), session, number) if "random" in active else ""
        return ActiveFaults([_Rule(drawn), *rules], drawn) if drawn else active
