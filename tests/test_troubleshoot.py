"""docs/troubleshoot.md covers what the product can end with, and what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from slng_edge.cli.exit_status import ExitStatus
from slng_edge.protocol import failures

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "troubleshoot.md").read_text(encoding="utf-8")
SOURCES = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "slng_edge").rglob("*.py"))
)

MESSAGES = {
    ExitStatus.FAILED: (
        "which is not installed. Run:",
        "cannot write to standard output:",
        "cannot listen on",
        "the question got no answer;",
        "deaf: no microphone frame came through",
        "did not stop within",
        "this is a bug:",
    ),
    ExitStatus.USAGE: (
        "there is no command",
        "write section.key=value",
        "there is nothing to speak:",
        "is not UTF-8 text",
        "standard input is a terminal:",
        "standard output is a terminal:",
        "--realtime paces a file;",
        "--events",
    ),
    ExitStatus.NO_INPUT: (
        "a directory",
        "not a regular file",
        "is not a WAV file,",
        "16-bit PCM is needed.",
        "is empty",
        "holds no audio",
        "ends within its WAV header",
        "standard input has no audio",
        "cannot read standard input:",
        "standard input is a WAV file, and - reads raw s16le:",
        "standard input is not text:",
        "cannot read the script",
        "is cut short: its last",
    ),
    ExitStatus.UNAVAILABLE: (
        "cannot be resolved (",
        "refused the connection: nothing listens there",
        "did not answer within",
        "no connection to",
        "was refused:",
        "instead of a WebSocket",
        "the gateway refused the connection with HTTP",
        "the gateway is limiting us (",
        "the connection ended without a close (",
        "ms of speech are lost:",
        "no connection for",
        "no final transcript within",
        "did not come within",
        "the input has ended and the gateway was never reached",
        "check the clock of this device",
        "it is another host's",
        "its authority is not known here",
        "has no TLS 1.2 or newer,",
        "does not speak TLS on that port:",
        "answers with more than any gateway does",
        "did not answer as an HTTP proxy does",
        "did not connect to",
        "nothing came from the gateway for",
        "it acknowledges nothing of what it is sent",
        "does not answer a ping",
        "sending failed:",
        "waiting for",
        "without a final transcript, twice",
        "the gateway ended the session",
    ),
    ExitStatus.AUDIO: (
        'device "',
        "may be any of",
        "is gone:",
        "has stalled:",
        "does not take the sound",
        "is already recorded into;",
    ),
    ExitStatus.PROTOCOL: (
        "did not say `ready` within",
        "the gateway sent audio that cannot be played:",
        "the gateway closed the connection (",
        "the gateway sent a message of more than",
    ),
    ExitStatus.KEY_REFUSED: (
        "the gateway refused the key (",
        "The key may lack WebSocket access",
        "The provider's own key was refused, not SLNG's:",
    ),
    ExitStatus.CONFIG: (
        "is not a known key",
        "is not a known section",
        "is not available in this version;",
        "a secret never stands in the configuration or on the command line",
        "no API key: set $SLNG_API_KEY,",
        "can be read or written by others (mode",
        "does not hold a key:",
        "would send the key and all speech unencrypted.",
        "cannot be used:",
        "has a character that no model path has",
        "has an empty or dotted part",
        "channel(s)",
        "is hosted by SLNG and takes no",
        "is not known;",
        "not TOML:",
        "cannot read the configuration file",
        'does not go with gateway.protocol = "classic"; use',
        "is not a model of the classic protocol",
        "tts.native_frames = true needs",
        "tts.native_frames: there are none for",
        "is none that orpheus-indic speaks",
        "must be text that is not empty",
        "cannot be sent as JSON",
        "is the name of the message itself",
        ".fallbacks may not name",
        "tts.warm_standby = true needs a second connection,",
        "is not an address:",
        "names no host:",
        "names a proxy of the kind",
        "only http:// proxies are spoken to:",
        "wants authorization",
        "allowed there,",
        "BYOK is only supported for external STT/TTS routes",
    ),
}


def sections() -> dict[int, str]:
    """The text of each exit status, by its number."""
    parts = re.split(r"^## (?=\d)", TEXT, flags=re.MULTILINE)[1:]
    return {int(part.split(":", 1)[0]): part.split("\n## ")[0] for part in parts}


def joined(source: str) -> str:
    """Source in which a literal that goes over several lines is one."""
    return re.sub(r'"\s*\n\s*f?"', "", source).replace('\\"', '"')


@pytest.mark.parametrize("status", [s for s in ExitStatus if s is not ExitStatus.DONE])
def test_every_exit_status_has_its_section(status: ExitStatus) -> None:
    """In the order of their numbers, and with messages in it."""
    assert list(sections()) == sorted(sections())
    assert sections()[status].count("\n| ") >= 4


@pytest.mark.parametrize(
    ("status", "message"),
    [(status, message) for status, messages in MESSAGES.items() for message in messages],
)
def test_a_message_that_the_product_prints_stands_under_its_status(
    status: ExitStatus, message: str
) -> None:
    """Word for word, so that a search finds it."""
    assert message in joined(SOURCES), "the product does not say this any more"
    assert message in sections()[status]


def test_every_key_of_an_error_of_the_gateway_is_there_or_has_kin() -> None:
    """The codes that end a session for good are named one by one."""
    final = [
        code
        for code, (verdict, _) in failures._CODES.items()
        if verdict in (failures._Verdict.FINAL, failures._Verdict.KEY_REFUSED)
    ]
    assert final
    for code in final:
        assert code in TEXT
    for close in failures._CLOSES.keys() - {1003, 1007}:
        assert f"({close})" in TEXT
