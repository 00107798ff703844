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
        "make room, or run it in another folder",
        "deaf: no microphone frame came through",
        "did not stop within",
        "this is a bug:",
        "listening for wake words",
        "this wake word",
        "is for root,",
        "is closed to this user",
        "may not control this service: ",
        "is not slng-edge",
        "unknown command",
        "it is muted and hears nothing; unmute it first",
        "the text has nothing that could be said",
        "texts wait to be said already;",
        "clients, try again later",
        "a reload is under way",
        "the service is ending",
        "there is no user",
        "which the service's unit names",
        "install slng-edge where every user may read it",
        "exists and is left as it is",
        "the key was not changed: cannot write",
        "does not start: ",
        "but the service was not told: ",
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
        "is not a socket",
        "the service has no control socket",
        "--as-service needs root:",
        "no key was given, and nothing was changed",
        "what was given is no key:",
        "what was given is too long to be a key;",
        "standard input is closed: there is no key to read",
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
        "could not be looked up within",
        "as no name server answers:",
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
        ", which says",
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
        "the service is not running: ",
        "it was stopped before it was said",
        "a text was to be said at once",
        "somebody wanted to be listened to",
        "the wake word was said into it",
        "there is no such socket",
        "the service that made this socket has ended",
        "does not answer; see its log",
        "is busy and does not answer",
        "ended before it answered",
    ),
    ExitStatus.AUDIO: (
        'device "',
        "may be any of",
        "is gone:",
        "has stalled:",
        "does not take the sound",
        "is already recorded into;",
        "has it open.",
    ),
    ExitStatus.PROTOCOL: (
        "did not say `ready` within",
        "the gateway sent audio that cannot be played:",
        "the gateway closed the connection (",
        "sent a message of more than",
    ),
    ExitStatus.KEY_REFUSED: (
        "the gateway refused the key (",
        "The key may lack WebSocket access",
        "The provider's own key was refused, not SLNG's:",
    ),
    ExitStatus.CONFIG: (
        "is not a known key",
        "is not a known section",
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
        "which brings it,",
        "is brought by",
        "responder.command is empty;",
        "responder.command must name a program,",
        "give its whole path",
        "is not executable; run: chmod +x",
        "responder.url is empty;",
        "responder.model is empty;",
        "may not hold a user or a password;",
        "responder.url is the base of an API:",
        "; check the path and its rights",
        "say is missing or empty",
        "words must be a list",
        "words is empty",
        "there is no word in",
        "default must be a text",
        "an answer begins with [[answer]]",
        "is not known to",
        "a path that ends in",
        "cannot be read:",
        "is not JSON:",
        "is no manifest of microWakeWord;",
        "is no TensorFlow Lite model, or it is damaged",
        "is no model of microWakeWord",
        "is no model of openWakeWord;",
        "would be there twice; rename the file",
        "a stop word alone wakes nothing;",
        "cannot be loaded:",
        'Or set it to "built-in" or "off"',
        "lasts longer than",
        "Hz; a sound has",
    ),
}

WHILE_IT_RUNS = {
    "The answer fails": (
        "cannot be reached: ",
        "nothing listens there;",
        "its name is not known",
        "no connection within",
        "no name server answers within",
        "check the clock of this device",
        "its certificate is not trusted",
        "TLS failed",
        "did not answer within",
        "closed the connection before it answered",
        "check the key in responder.api_key_file",
        "; check responder.url",
        "too many questions,",
        "it sends us to",
        "its own log says more",
        "did not answer as an HTTP server does",
        "sent a web page;",
        "did not answer as a chat-completions API does",
        "sent what is no JSON:",
        "returned nothing",
        "fell silent for",
        "did not finish within",
        "broke off in the middle of its",
        "sent a line of more than",
        "characters and was stopped",
        "wrote what is no text (binary?) and was stopped: ",
        "sent no text under",
        "should send",
        "could not be started:",
        "ended with status",
        "was ended by signal",
        "did not end within",
        "before its reply was complete",
        "did not write the empty line that ends a reply within",
        "closed its output and was stopped",
        "times without a reply; it is started again in",
        "; it is asked once more",
        "responder.url is http://: the key goes to",
    ),
    "In the log of a service that goes on": (
        "cannot make the control socket",
        "end or remove that one",
        "there is another file, which is no socket",
        "the control socket refuses",
        "the control socket cannot accept:",
        "mute and volume begin as configured:",
        "mute and volume are not kept over restarts:",
        "it is muted, as it was when it ended:",
        "on without the button:",
        "this is no Raspberry Pi; set it to 0",
        "another program or a driver has the pin;",
        "may not be opened by this user;",
        "there is no /dev/gpiochip* here;",
        "this board has no such pin;",
        "the pin is in use in this program already;",
        "the pin has no pull-up resistor;",
        "is held all the time;",
        "the terminal is gone: no keys any more",
        "canned answers from now on:",
        "the responder answers again",
        "has ended between two questions: started anew",
        "wrote text after the empty line",
        "wrote text that nobody asked for",
        "closed its output and did not end",
        "was killed and does not end",
        "words are not answered: ",
        "they were the reply's own, which the device heard itself say",
        "stood still,",
        "it interrupted itself again: for ten minutes speech does not interrupt a reply;",
        "the responder gave nothing that could be said",
        "a button or key did nothing:",
        "echo cancellation: none, the gate's threshold follows the echo",
        "echo cancellation: done by the sound server",
        "the WebRTC echo canceller failed:",
        "the reply ends early:",
        "somebody spoke while it was being written",
        "lasted longer than it may",
    ),
    "Hook, status page, MQTT, recordings": (
        "could not be started:",
        "ended with status",
        "was ended by signal",
        "took longer than",
        "for the status page:",
        "trying again every",
        "can be reached from other machines; set status_page.token_file",
        "on without",
        "the status page cannot accept:",
        "this page is for this machine: ask for it by 127.0.0.1 or localhost",
        "this page is not for other sites",
        "a token is needed:",
        "browsers watch already, try again later",
        "mqtt.url holds a password,",
        "cannot be a topic",
        "it refused us:",
        "its certificate is not trusted:",
        "it did not answer within",
        "the connection was lost:",
        "a command from the MQTT broker was refused:",
        "a retained command is not carried out;",
        "utterances are not recorded in",
        "others may look into the folder; run: chmod 700",
        "the folder is another user's",
    ),
    "What doctor says": (
        "it was never set, and no certificate is valid then",
        "no time server is followed",
        "may not open the sound cards",
        "wake.button_gpio is set, and there are no pins",
        "may not read the button's pin",
        "may not control the running service",
        "this user has none; the service has one in",
        "there is no name",
        "no name server answers for",
        "the first name server of /etc/resolv.conf may be dead",
        "not tried: the configuration leads to no gateway",
        "not tried, as there is no",
        "key refused",
        "others use the account",
        "it runs, and does not say how it is",
        "ends with the last login of",
        "while it has the sound card,",
        "and nobody answers there",
        "left its socket",
        "gives nothing but zeros",
        "clips:",
        "is very faint:",
        "loses sound:",
        "the running service",
        "has none yet",
        "has it open.",
        "the sound system has not answered for",
        "the check itself failed:",
        "no answer within",
    ),
}
"""What does not end the process, by the heading under which it stands."""


SCRIPTS = (
    "there is no extra '",
    "is no checkout of slng-edge:",
    "the clock says",
    "the Debian package slng-edge is installed:",
    "cannot be removed",
    "its host key is not known:",
    "its host key is another one than before:",
    "it wants a password, or another key:",
    "a password is required",
    "there is no sudo:",
    "the connection was lost:",
    "its disk is full: make room there",
    "this needs root: sudo scripts/",
    "systemd does not run here, and the service needs it;",
    "this is for Debian and Raspberry Pi OS, and not for",
    "is too old:",
    "this is a 32-bit system, for which there are no wheels:",
    "cannot be written (a read-only root?):",
    "MB are free in /opt, and it takes",
    "there is no key yet, and no terminal to ask at:",
    "slng-edge is not installed; run scripts/install",
    "another install, upgrade or uninstall is under way",
    "offline, and these Debian packages are missing:",
    "apt-get update failed, see above",
    "apt-get failed, see above:",
    "pip failed, see above:",
    "removing what an interrupted run left:",
    "is wrong, see above",
    "there is no group gpio on this system;",
    "the key was refused:",
    "the key cannot be read:",
    "did not become ready within",
    "no key was installed, see above",
    "was not taken:",
    "going back to the version before",
    "the version before does not become ready either:",
    "installed and ready, and not everything works yet:",
    "there are no wheels for 32-bit ARM:",
    "there are wheels for x86_64 and aarch64, and not for",
    "not every library is to be had for Python",
)
"""What those that install and remove the service say."""


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


@pytest.mark.parametrize(
    ("heading", "message"),
    [(heading, message) for heading, messages in WHILE_IT_RUNS.items() for message in messages],
)
def test_a_message_of_a_service_that_goes_on_stands_under_its_heading(
    heading: str, message: str
) -> None:
    """Word for word, too."""
    assert message in joined(SOURCES), "the product does not say this any more"
    (section,) = re.findall(rf"^## {heading}\n(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)
    assert message in section


@pytest.mark.parametrize("message", SCRIPTS)
def test_a_message_of_the_scripts_stands_under_theirs(message: str) -> None:
    """Word for word, too."""
    names = ("install", "install-remote", "uninstall", "upgrade", "wheelhouse")
    scripts = [ROOT / "scripts" / name for name in names]
    scripts.append(ROOT / "systemd" / "slng-edge-firstboot")
    said = "\n".join(path.read_text(encoding="utf-8") for path in scripts)
    assert message in said, "they do not say this any more"
    (section,) = re.findall(r"^## What the scripts say\n(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)
    assert message in section


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
