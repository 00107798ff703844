"""What the doctor makes of what it has seen: tables."""

from __future__ import annotations

import datetime
import errno
import socket
from typing import Any

import numpy as np
import pytest

from slng_edge.config import Config, GatewayConfig, SttConfig
from slng_edge.diagnostics.clock import judge_clock
from slng_edge.diagnostics.config_problems import problems_of
from slng_edge.diagnostics.configuration import (
    KeyPlace,
    gateway_address,
    judge_configuration,
    judge_key,
)
from slng_edge.diagnostics.dialling import Dialled
from slng_edge.diagnostics.finding import Finding, Verdict, fail, ok, warn, worst
from slng_edge.diagnostics.names import Lookup, judge_lookup
from slng_edge.diagnostics.processor import Processor, judge_processor, throttled_in
from slng_edge.diagnostics.running_service import (
    RunningService,
    UnitState,
    judge_service,
    properties_in,
)
from slng_edge.diagnostics.sessions import TlsSeen, judge_session, judge_tls
from slng_edge.diagnostics.sound import Heard, heard_in, judge_busy, judge_failure, judge_microphone
from slng_edge.diagnostics.sound_holders import Holder, words_of
from slng_edge.diagnostics.sound_server import Server, Surroundings, judge_surroundings
from slng_edge.diagnostics.storage import Folder, judge_folder, judge_memory, memory_in
from slng_edge.diagnostics.user import Access, Rights, judge_rights
from slng_edge.errors import (
    AuthenticationRejected,
    ConfigError,
    ConnectFailed,
    DeviceLost,
    DeviceNotFound,
    FormatUnsupported,
    MissingLibrary,
    RateLimited,
    RemoteProtocolError,
    RequestRejected,
    ServerReportedError,
    SlngEdgeError,
)

NOON = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC).timestamp()
DAY_S = 86400


def check(finding: Finding, verdict: str, *words: str) -> None:
    """Verdict and words; whatever is not well comes with something to do."""
    assert finding.verdict.value == verdict, finding
    assert all(word in f"{finding.what}\n{finding.what_to_do}" for word in words), finding
    assert finding.what
    assert verdict == "OK" or finding.what_to_do


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ([], Verdict.OK),
        ([ok("a", "b")], Verdict.OK),
        ([warn("a", "b", "c"), ok("a", "b")], Verdict.WARN),
        ([ok("a", "b"), fail("a", "b", "c"), warn("a", "b", "c")], Verdict.FAIL),
    ],
)
def test_the_worst_counts(findings: list[Finding], verdict: Verdict) -> None:
    """In whatever order."""
    assert worst(findings) is verdict


@pytest.mark.parametrize(
    ("now_s", "in_step", "verdict", "words"),
    [
        (0, True, "FAIL", "1970-01-01 00:00:00 UTC: it was never set"),
        (0, False, "FAIL", "timedatectl set-ntp true"),
        (NOON, True, "OK", "2026-06-01 12:00:00 UTC, in step with a time server"),
        (NOON, None, "OK", "is not known here"),
        (NOON, False, "WARN", "no time server is followed"),
        (NOON * 3, True, "FAIL", "never set"),
    ],
)
def test_the_clock(now_s: float, in_step: bool | None, verdict: str, words: str) -> None:
    """Certificates need the year, and a year needs a time server."""
    check(judge_clock(now_s, in_step), verdict, words)


@pytest.mark.parametrize(
    ("problems", "verdict", "words"),
    [
        ([], "OK", ["no file, built-in values"]),
        (["stt.modle is not", "tts.speed = 9"], "FAIL", ["stt.modle is not\ntts.speed = 9"]),
    ],
)
def test_the_configuration(problems: list[str], verdict: str, words: list[str]) -> None:
    """All that is wrong at once."""
    check(judge_configuration(problems, None), verdict, *words)


def test_a_configuration_that_cannot_be_run_is_a_problem() -> None:
    """As `run` would say before it ends with 78."""
    stt = SttConfig(model="slng/deepgram/nova:3-en", options={"type": "x"})
    config = Config(gateway=GatewayConfig(url="ws://gateway.example:1"), stt=stt)
    assert any("unencrypted" in problem for problem in problems_of(config))
    assert problems_of(Config()) == []
    assert gateway_address(config) is None


@pytest.mark.parametrize(
    ("place", "verdict", "words"),
    [
        (KeyPlace(where="$SLNG_API_KEY"), "OK", "in $SLNG_API_KEY"),
        (KeyPlace(problem="FILE can be read by others"), "FAIL", "mode 0600"),
        (KeyPlace(needed=False), "OK", "a gateway on this machine needs none"),
        (KeyPlace(with_service=True), "WARN", "the running service has one"),
        (KeyPlace(system_key=True), "WARN", "doctor --as-service"),
        (KeyPlace(), "FAIL", "sudo slng-edge key set"),
    ],
)
def test_the_key(place: KeyPlace, verdict: str, words: str) -> None:
    """Where it is, and who has one instead."""
    check(judge_key(place), verdict, words)


@pytest.mark.parametrize(
    ("lookup", "verdict", "words"),
    [
        (Lookup("127.0.0.1", ("127.0.0.1",)), "OK", "is an address"),
        (Lookup("a.example", ("192.0.2.1",), 0.0123), "OK", "192.0.2.1, found in 12 ms"),
        (Lookup("a.example", tuple("abcde"), 0.01), "OK", "a, b, c and 2 more"),
        (Lookup("a.example", ("192.0.2.1",), 5.01), "WARN", "first name server"),
        (
            Lookup("a.example", error=socket.gaierror(socket.EAI_NONAME, "unknown")),
            "FAIL",
            "there is no name a.example (unknown)",
        ),
        (
            Lookup("a.example", error=socket.gaierror(socket.EAI_AGAIN, "again")),
            "FAIL",
            "no name server answers",
        ),
        (Lookup("a.example", error=TimeoutError("no answer")), "FAIL", "(no answer)"),
        (
            Lookup(
                "proxy.example",
                error=socket.gaierror(socket.EAI_NONAME, "unknown"),
                named_by="$https_proxy",
            ),
            "FAIL",
            "check $https_proxy",
        ),
    ],
)
def test_a_name(lookup: Lookup, verdict: str, words: str) -> None:
    """No such name is not the same as nobody to ask."""
    check(judge_lookup(lookup), verdict, words)


STEPS = {"connect": 0.02, "tls": 0.03, "upgrade": 0.01, "ready": 0.2}
CONNECTED = {"connect": 0.02, "tls": 0.03}


@pytest.mark.parametrize(
    ("dialled", "verdict", "words"),
    [
        (
            Dialled(dict(STEPS)),
            "OK",
            "ready in 260 ms (name and TCP 20 ms, TLS 30 ms, upgrade 10 ms, ready 200 ms), model",
        ),
        (Dialled({**STEPS, "ready": 3.0}), "WARN", "slow"),
        (Dialled(CONNECTED, AuthenticationRejected("refused the key")), "FAIL", "ends with 77"),
        (Dialled(CONNECTED, RequestRejected("HTTP 404")), "FAIL", "ends with 78"),
        (Dialled({}, ConfigError("no such region")), "FAIL", "config wrong: check stt.model"),
        (Dialled({}, ConnectFailed("no answer")), "FAIL", "gateway unreachable"),
        (Dialled({"connect": 1e-5, "tls": 1e-5}, ConnectFailed("odd")), "FAIL", "odd\ngateway"),
        (Dialled({"connect": 0.1}, ConnectFailed("certificate")), "FAIL", "as there is no TLS"),
        (Dialled(CONNECTED, RateLimited("too many")), "WARN", "others use the account"),
        (Dialled(CONNECTED, RemoteProtocolError("no ready")), "FAIL", "before it: name and TCP"),
        (
            Dialled(CONNECTED, ServerReportedError("internal", "oh", retryable=True)),
            "FAIL",
            "internal: oh",
        ),
    ],
)
def test_a_handshake(dialled: Dialled, verdict: str, words: str) -> None:
    """How long each step took, or why the next one was not taken."""
    check(judge_session("stt", dialled, "model", secure=True), verdict, words)


def test_nobody_is_promised_another_attempt() -> None:
    """The doctor comes once."""
    dialled = Dialled({}, ConnectFailed("HTTP 503. It will be tried again."))
    assert "tried again" not in judge_session("stt", dialled, "model", secure=False).what


def certificate(days: float) -> dict[str, Any]:
    """What OpenSSL says of a certificate that is good for so many days."""
    until = datetime.datetime.fromtimestamp(NOON + days * DAY_S, datetime.UTC)
    return {
        "notAfter": until.strftime("%b %d %H:%M:%S %Y GMT"),
        "issuer": ((("countryName", "AQ"),), (("organizationName", "Penguins"),)),
    }


@pytest.mark.parametrize(
    ("seen", "verdict", "words"),
    [
        (TlsSeen(False, True, "", True, Dialled()), "OK", "on this machine"),
        (TlsSeen(False, False, "", True, Dialled()), "WARN", "unencrypted"),
        (TlsSeen(True, False, "", False, Dialled()), "FAIL", "was not reached"),
        (
            TlsSeen(True, False, "", True, Dialled(error=ConnectFailed("expired; the clock"))),
            "FAIL",
            "the line about the clock",
        ),
        (
            TlsSeen(True, False, "", True, Dialled(error=ConnectFailed("unknown authority"))),
            "FAIL",
            "gateway.ca_file",
        ),
        (
            TlsSeen(True, False, "", True, Dialled(error=ConnectFailed("did not answer"))),
            "FAIL",
            "firewall, proxy",
        ),
        (
            TlsSeen(True, False, "", True, Dialled(tls="TLSv1.3", certificate=certificate(90.5))),
            "OK",
            "TLSv1.3, certificate by Penguins, good for 90 days; authorities: the system's",
        ),
        (
            TlsSeen(True, False, "own.pem", True, Dialled(certificate=certificate(90))),
            "OK",
            "own.pem or the system's",
        ),
        (
            TlsSeen(True, False, "", True, Dialled(certificate=certificate(3.5))),
            "WARN",
            "good for 3 days",
        ),
    ],
)
def test_tls(seen: TlsSeen, verdict: str, words: str) -> None:
    """Who vouches for the gateway, and for how long."""
    check(judge_tls(seen, NOON), verdict, words)


@pytest.mark.parametrize(
    ("service", "unit", "verdict", "words"),
    [
        (RunningService(), UnitState(), "OK", "none is installed here"),
        (RunningService(), UnitState("not-found", "inactive"), "OK", "none is installed here"),
        (RunningService(), UnitState("loaded", "inactive"), "WARN", "systemctl start"),
        (RunningService(), UnitState("loaded", "failed", "exit-code"), "FAIL", "exit-code"),
        (RunningService(), UnitState("loaded", "activating", "watchdog"), "WARN", "watchdog"),
        (RunningService(), UnitState("loaded", "active"), "WARN", "has no control socket"),
        (
            RunningService(problem="permission denied", reachable=False),
            UnitState(),
            "WARN",
            "permission denied",
        ),
        (
            RunningService({"state": "idle", "process": {"pid": 7}}),
            UnitState("loaded", "active"),
            "OK",
            "process 7: idle",
        ),
        (RunningService({"state": "offline"}), UnitState(), "WARN", "the lines about the gateway"),
        (RunningService({"state": "error"}), UnitState(), "FAIL", "journalctl"),
    ],
)
def test_the_service(service: RunningService, unit: UnitState, verdict: str, words: str) -> None:
    """What it says counts before what systemd says."""
    check(judge_service(service, unit), verdict, words)


def test_what_the_service_says_is_taken_with_care() -> None:
    """Another version may say less, or something else."""
    odd = RunningService({"sessions": [], "devices": {"input": "open"}})
    assert (odd.session("stt"), odd.device("input")) == (("", "", ""), ("", ""))
    assert properties_in("A=1\nodd\nB=x=y\n") == {"A": "1", "B": "x=y"}


CARDS = Access(True, True, "audio")
CLOSED = Access(True, False, "audio")


@pytest.mark.parametrize(
    ("rights", "verdict", "words"),
    [
        (Rights("pi", ("pi", "audio"), sound=CARDS), "OK", "pi, groups pi audio"),
        (Rights("pi", ("pi",)), "OK", "pi, groups pi"),
        (Rights("pi", ("pi",), sound=CLOSED), "FAIL", "sudo usermod -aG audio pi"),
        (Rights("root", ("root",), root=True), "OK", "root"),
        (
            Rights("root", ("root",), root=True, service_user="slng-edge"),
            "OK",
            "the service runs as slng-edge: sudo slng-edge doctor --as-service",
        ),
        (Rights("pi", (), gpio=Access()), "FAIL", "there are no pins"),
        (Rights("pi", (), gpio=Access(True, False, "gpio")), "FAIL", "usermod -aG gpio pi"),
        (Rights("pi", (), gpio=Access(True, True)), "OK", "pi"),
        (
            Rights("pi", (), socket=Access(True, False, "slng-edge")),
            "WARN",
            "usermod -aG slng-edge pi",
        ),
    ],
)
def test_the_user(rights: Rights, verdict: str, words: str) -> None:
    """What is forbidden, and which group would allow it."""
    (finding,) = judge_rights(rights)
    check(finding, verdict, words)


def test_all_that_is_forbidden_is_said() -> None:
    """Not one thing after the other."""
    rights = Rights("pi", (), sound=CLOSED, gpio=Access(), socket=Access(True, False))
    assert [finding.verdict.value for finding in judge_rights(rights)] == ["FAIL", "FAIL", "WARN"]


MINE = Server("PipeWire", "/run/user/1000/pipewire-0", "pi")


@pytest.mark.parametrize(
    ("seen", "verdict", "words"),
    [
        (Surroundings("pi"), "OK", "plain ALSA"),
        (Surroundings("pi", echo_cancelled=True), "OK", "comes without echo"),
        (Surroundings("pi", servers=(MINE,), used=False), "OK", "no sound device"),
        (Surroundings("pi", servers=(MINE,)), "WARN", "sudo loginctl enable-linger pi"),
        (
            Surroundings("pi", servers=(Server("PipeWire", "/x", "pi", True),)),
            "OK",
            "goes on without a login",
        ),
        (
            Surroundings("pi", servers=(Server("PulseAudio", "/run/pulse/native", "", True),)),
            "OK",
            "PulseAudio of the system",
        ),
        (
            Surroundings("slng-edge", servers=(Server("PipeWire", "/x", "pi", alive=None),)),
            "WARN",
            "belongs to pi: while it has the sound card, slng-edge may find it busy",
        ),
        (
            Surroundings("slng-edge", servers=(Server("PipeWire", "/x", "pi", alive=False),)),
            "OK",
            "plain ALSA",
        ),
        (
            Surroundings("pi", servers=(Server("PipeWire", "/x", "pi", alive=False),)),
            "FAIL",
            "does not answer",
        ),
        (Surroundings("pi", named="/nowhere/native"), "FAIL", "$PULSE_SERVER names /nowhere"),
        (Surroundings("pi", named="tcp:host:4713"), "OK", "tcp:host:4713"),
    ],
)
def test_a_sound_server(seen: Surroundings, verdict: str, words: str) -> None:
    """Whose it is, and whether it outlives a login."""
    (finding,) = judge_surroundings(seen)
    check(finding, verdict, words)


@pytest.mark.parametrize(
    ("heard", "verdict", "words"),
    [
        (Heard(-96.0, zeros=True), "FAIL", "nothing but zeros"),
        (Heard(-3.0, clipped_share=0.02), "WARN", "clips: 2.0%"),
        (Heard(-40.0, overflows=3), "WARN", "3 overflows"),
        (Heard(-88.0), "WARN", "very faint"),
        (Heard(-52.4), "OK", "level -52 dBFS"),
    ],
)
def test_a_microphone(heard: Heard, verdict: str, words: str) -> None:
    """One that is open may still be deaf."""
    check(judge_microphone("USB", 16000, heard), verdict, words, '"USB" opens for 16000 Hz')


@pytest.mark.parametrize(
    ("samples", "zeros", "clipped_share"),
    [
        ([], True, 0.0),
        ([0, 0], True, 0.0),
        ([0, 1], False, 0.0),
        ([32767, -32768, -32767, 32766], False, 0.75),
    ],
)
def test_what_was_heard(samples: list[int], zeros: bool, clipped_share: float) -> None:
    """Both limits of 16 bits count."""
    heard = heard_in(np.array(samples, dtype=np.int16), 0)
    assert (heard.zeros, heard.clipped_share) == (zeros, clipped_share)


@pytest.mark.parametrize(
    ("error", "held_by", "words"),
    [
        (DeviceLost('"USB" cannot be opened.'), "arecord (process 7 of pi)", "end that program"),
        (DeviceLost('"USB" cannot be opened.'), "", "sudo slng-edge doctor"),
        (DeviceLost("the sound system has not answered"), "", "server or driver hangs"),
        (DeviceNotFound("there is none"), "", "paste a name"),
        (FormatUnsupported("opens at none"), "", "plughw"),
        (MissingLibrary("PyAudio", "a device", "apt-get install x"), "", "apt-get install x"),
        (ConfigError("audio.input_channel = 9"), "", "correct audio.input"),
    ],
)
def test_a_device_that_does_not_open(error: SlngEdgeError, held_by: str, words: str) -> None:
    """Who holds it is named."""
    check(judge_failure("input", error, held_by), "FAIL", words, held_by)


@pytest.mark.parametrize(
    ("device", "verdict", "words"),
    [
        ({"state": "open", "name": "USB"}, "OK", 'the running service has "USB" open'),
        ({"state": "reopened", "name": "USB"}, "OK", "systemctl stop slng-edge"),
        ({"state": "lost", "name": "USB"}, "FAIL", 'has lost "USB"'),
        ({}, "FAIL", "has none yet"),
    ],
)
def test_a_device_of_the_running_service(device: dict[str, str], verdict: str, words: str) -> None:
    """It is busy because it works."""
    service = RunningService({"state": "idle", "devices": {"input": device}})
    check(judge_busy("input", service), verdict, words)


def test_the_microphone_of_a_muted_service_is_closed() -> None:
    """As it should be, whether it was ever open or not."""
    service = RunningService({"state": "muted", "muted": True})
    check(judge_busy("input", service), "OK", "muted")
    check(judge_busy("output", service), "FAIL", "has none yet")


def test_a_device_that_the_running_service_has_and_hears_nothing_of() -> None:
    """It may be muted at the device itself."""
    devices = {"input": {"state": "open", "name": "USB"}}
    problems = {"audio.input": "nothing but zeros"}
    service = RunningService({"state": "idle", "devices": devices, "problems": problems})
    check(judge_busy("input", service), "WARN", '"USB"', "nothing but zeros")


@pytest.mark.parametrize(
    ("holder", "hardware", "output"),
    [
        (Holder("pcmC1D0c", 7, "arecord", "pi"), "hw:1,0", False),
        (Holder("pcmC10D3p", 7, "aplay", "pi"), "hw:10,3", True),
        (Holder("controlC0", 7, "alsamixer", "pi"), "", None),
    ],
)
def test_a_file_of_a_device_says_which(holder: Holder, hardware: str, output: bool | None) -> None:
    """Card, device and direction are in its name."""
    assert (holder.hardware, holder.output) == (hardware, output)


def test_who_holds_it_is_named_once() -> None:
    """However many of its devices it has, and only for the direction in question."""
    holders = [Holder(device, 7, "arecord", "pi") for device in ("pcmC1D0c", "pcmC2D0c")]
    holders.append(Holder("pcmC1D0p", 8, "aplay", "pi"))
    assert words_of(holders, output=False) == "arecord (process 7 of pi)"
    assert words_of([], output=True) == ""


@pytest.mark.parametrize(
    ("folder", "verdict", "words"),
    [
        (Folder("x", "/var", 5000, False, True), "OK", "5000 MiB free"),
        (Folder("x", "/var", 5000, True, False), "WARN", "read-only"),
        (Folder("x", "/var", 5000, False, False), "WARN", "may not write"),
        (Folder("x", "/var", 100, False, True), "WARN", "too little for an upgrade"),
        (Folder("x", "/var", 0, False, True), "WARN", "the disk is full"),
    ],
)
def test_a_disk(folder: Folder, verdict: str, words: str) -> None:
    """The voice loop runs without one; what is kept is not."""
    check(judge_folder(folder), verdict, words)


@pytest.mark.parametrize(
    ("text", "running", "verdict", "words"),
    [
        ("MemTotal: 2048000 kB\nMemAvailable: 1024000 kB\n", False, "OK", "1000 of 2000 MiB"),
        ("MemTotal: 2048000 kB\nMemAvailable: 10240 kB\n", False, "WARN", "ps aux"),
        ("MemTotal: 2048000 kB\nMemAvailable: 10240 kB\n", True, "OK", "10 of 2000 MiB"),
        ("MemTotal: 2048000 kB\n", False, "OK", "does not say"),
    ],
)
def test_memory(text: str, running: bool, verdict: str, words: str) -> None:
    """One that runs has what it needs."""
    check(judge_memory(*memory_in(text), running=running), verdict, words)


@pytest.mark.parametrize(
    ("seen", "verdict", "words"),
    [
        (Processor(), ["OK"], "neither"),
        (Processor("ondemand", "cpufreq-dt", 51.2, 0), ["OK"], "51 °C, never throttled"),
        (Processor("powersave", "intel_pstate"), ["OK"], "powersave"),
        (Processor("powersave", "cpufreq-dt"), ["WARN"], "lowest speed"),
        (Processor(hottest_c=83.0), ["WARN"], "83 °C"),
        (Processor(throttled=0x50005), ["WARN"], "now: the voltage is too low, it is throttled"),
        (Processor(throttled=0x10000), ["WARN"], "at times: the voltage is too low"),
        (Processor("powersave", "x", 90.0, 1), ["WARN", "WARN", "WARN"], "power supply"),
    ],
)
def test_a_processor(seen: Processor, verdict: list[str], words: str) -> None:
    """Power, heat and governor, each in its own line."""
    findings = judge_processor(seen)
    assert [finding.verdict.value for finding in findings] == verdict
    check(findings[0], verdict[0], words)


@pytest.mark.parametrize(
    ("text", "bits"),
    [("throttled=0x50005\n", 0x50005), ("throttled=odd", None), ("error", None), ("", None)],
)
def test_the_firmware_s_bits(text: str, bits: int | None) -> None:
    """Whatever it prints where it does not know."""
    assert throttled_in(text) == bits


def test_a_lookup_s_error_may_have_no_words() -> None:
    """An OSError with a number alone."""
    check(judge_lookup(Lookup("a", error=OSError(errno.ENETDOWN, "down"))), "FAIL", "(down)")
