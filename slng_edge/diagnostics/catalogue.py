"""All checks, in the order in which they are read: what others depend on comes first."""

from __future__ import annotations

from slng_edge.diagnostics.answering import check_responder, check_wake_words
from slng_edge.diagnostics.clock import check_clock
from slng_edge.diagnostics.configuration import check_key
from slng_edge.diagnostics.finding import Finding
from slng_edge.diagnostics.inspection import SLOW_S, Check, Subject
from slng_edge.diagnostics.names import check_names
from slng_edge.diagnostics.processor import check_processor
from slng_edge.diagnostics.running_service import judge_service, unit_state
from slng_edge.diagnostics.sessions import check_sessions
from slng_edge.diagnostics.sound import check_sound
from slng_edge.diagnostics.sound_server import check_sound_server
from slng_edge.diagnostics.storage import check_disk, check_memory
from slng_edge.diagnostics.user import check_user


def _check_service(subject: Subject) -> list[Finding]:
    return [judge_service(subject.service, unit_state())]


CHECKS = (
    Check("service", _check_service),
    Check("user", check_user),
    Check("key", check_key, of_config=True),
    Check("clock", check_clock),
    Check("cpu", check_processor),
    Check("memory", check_memory),
    Check("disk", check_disk),
    Check("dns", check_names, of_config=True),
    Check("gateway", check_sessions, SLOW_S, of_config=True),
    Check("responder", check_responder, of_config=True),
    Check("wake words", check_wake_words, SLOW_S, of_config=True),
    Check("sound server", check_sound_server),
    Check("sound", check_sound, SLOW_S, of_config=True),
)
