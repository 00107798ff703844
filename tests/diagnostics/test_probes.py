"""What the doctor sees: real processes, sockets, gateways, users and devices."""

from __future__ import annotations

import dataclasses
import os
import pwd
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from virtual_sound import VirtualSound

from slng_edge.config import (
    AudioConfig,
    Config,
    DebugConfig,
    GatewayConfig,
    ResponderConfig,
    WakeConfig,
)
from slng_edge.diagnostics.answering import check_responder, check_wake_words
from slng_edge.diagnostics.clock import check_clock
from slng_edge.diagnostics.configuration import check_key
from slng_edge.diagnostics.finding import Finding, ok
from slng_edge.diagnostics.inspection import Check, Subject, inspect
from slng_edge.diagnostics.names import check_names, look_up
from slng_edge.diagnostics.processor import check_processor, hottest
from slng_edge.diagnostics.running_service import RunningService
from slng_edge.diagnostics.service_unit import unit_of
from slng_edge.diagnostics.sessions import check_sessions
from slng_edge.diagnostics.sound import check_sound
from slng_edge.diagnostics.sound_holders import sound_holders
from slng_edge.diagnostics.sound_server import look_around
from slng_edge.diagnostics.storage import check_disk, check_memory
from slng_edge.diagnostics.user import check_user
from slng_edge.errors import SlngEdgeError
from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

KEY = "sk-test-doctor-4711"
NULL = AudioConfig(input="null", output="null")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ours, and nothing of this machine's user."""
    monkeypatch.setenv("SLNG_API_KEY", KEY)
    monkeypatch.setenv("HOME", str(tmp_path))


def verdicts(findings: list[Finding]) -> list[str]:
    return [f"{finding.name} {finding.verdict.value}" for finding in findings]


def sessions(*faults: str, tier: str = "pro", **service: object) -> list[Finding]:
    """What is found at a gateway with `faults`."""
    with LocalGateway(
        stt=ScriptRecognizer(["a"]), tts=ToneSynthesizer(), key=KEY, faults=faults
    ) as gateway:
        config = Config(
            gateway=GatewayConfig(
                url=gateway.url, tier=tier, ca_file=gateway.ca_file, connect_timeout_s=1.0
            )
        )
        return check_sessions(Subject(config, RunningService(service)))


@pytest.mark.parametrize("tier", ["pro", "free"])
def test_both_sessions_are_opened(tier: str) -> None:
    """And each step is timed; on a plan with one place, one after the other."""
    findings = sessions("tls=good", tier=tier)
    assert verdicts(findings) == ["tls OK", "stt OK", "tts OK"]
    assert "certificate by trustme" in findings[0].what
    assert all(step in findings[1].what for step in ("name and TCP", "TLS", "ready"))
    assert KEY not in str(findings)


@pytest.mark.parametrize(
    ("fault", "found", "words"),
    [
        ("tls=expired", ["tls FAIL", "stt FAIL", "tts FAIL"], "check the clock"),
        ("tls=unknown_authority", ["tls FAIL", "stt FAIL", "tts FAIL"], "gateway.ca_file"),
        ("tls=wrong_name", ["tls FAIL", "stt FAIL", "tts FAIL"], "another host's"),
        ("refuse=401", ["tls OK", "stt FAIL", "tts FAIL"], "key refused"),
        ("stt:refuse=404", ["tls OK", "stt FAIL", "tts OK"], "config wrong"),
        ("refuse=429", ["tls OK", "stt WARN", "tts WARN"], "gateway.tier"),
        ("tts:never_ready", ["tls OK", "stt OK", "tts FAIL"], "did not say `ready` within 1 s"),
        ("stt:ready_delay=100", ["tls OK", "stt OK", "tts OK"], "ready"),
    ],
)
def test_what_fails_at_the_gateway_is_told(fault: str, found: list[str], words: str) -> None:
    """With the step and what to do."""
    findings = sessions(fault)
    assert verdicts(findings) == found
    assert words in str(findings)


@pytest.mark.parametrize(("state", "verdict"), [("ready", "OK"), ("failed", "WARN")])
def test_the_only_place_is_left_to_the_running_service(state: str, verdict: str) -> None:
    """On the free plan a connection of ours would end one of its."""
    said = {kind: {"state": state, "model": "m"} for kind in ("stt", "tts")}
    findings = sessions(tier="free", state="idle", sessions=said)
    assert verdicts(findings) == [f"stt {verdict}", f"tts {verdict}"]


def test_without_a_key_nothing_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line about the key says why."""
    monkeypatch.delenv("SLNG_API_KEY")
    subject = Subject(Config(gateway=GatewayConfig(url="wss://gateway.example")))
    assert verdicts(check_sessions(subject)) == ["stt FAIL", "tts FAIL"]
    assert "as there is no key" in check_sessions(subject)[0].what


def test_a_key_file_for_everybody_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its mode is said, the key is not."""
    monkeypatch.delenv("SLNG_API_KEY")
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o644)
    gateway = GatewayConfig(api_key_file=str(file), provider_key_file=str(tmp_path / "none"))
    findings = check_key(Subject(Config(gateway=gateway)))
    assert verdicts(findings) == ["key FAIL", "key FAIL"]
    assert "mode 0644" in findings[0].what
    assert KEY not in str(findings)
    file.chmod(0o600)
    assert verdicts(check_key(Subject(Config(gateway=gateway)))) == ["key OK", "key FAIL"]


def test_a_name_is_looked_up() -> None:
    """For real."""
    assert "127.0.0.1" in look_up("localhost", 80).addresses
    assert look_up("nowhere.invalid", 80).error is not None


def test_a_gateway_without_an_address_has_no_name() -> None:
    """The configuration is to blame."""
    config = Config(gateway=GatewayConfig(url="ws://gateway.example:1"))
    for found in (check_names(Subject(config)), check_sessions(Subject(config))):
        assert all("leads to no gateway" in finding.what for finding in found)


def test_a_proxy_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable."""
    monkeypatch.setenv("https_proxy", "socks5://proxy.example")
    (finding,) = check_names(Subject(Config()))
    assert "$https_proxy" in finding.what


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder of devices, and the process that has one open."""
    device = tmp_path / "pcmC1D0c"
    device.touch()
    code = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", code, str(device)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    yield tmp_path, process.pid
    process.stdin.close()
    process.stdout.close()
    process.wait(10)


def test_who_has_a_device_open_is_found(holding: tuple[Path, int]) -> None:
    """Program, number and user; ourselves do not count."""
    folder, pid = holding
    with open(folder / "pcmC1D0c", encoding="utf-8"):
        (holder,) = sound_holders(folder)
    assert (holder.device, holder.pid) == ("pcmC1D0c", pid)
    assert holder.program.startswith("python")
    assert holder.user == pwd.getpwuid(os.geteuid()).pw_name


def test_a_sound_server_of_a_login_is_found(tmp_path: Path) -> None:
    """By its socket, with its owner, and whether that one lingers."""
    folder = tmp_path / "run" / "1000"
    (folder / "pulse").mkdir(parents=True)
    owner = pwd.getpwuid(os.geteuid()).pw_name
    (tmp_path / "linger").mkdir()
    (tmp_path / "linger" / owner).touch()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(folder / "pulse" / "native"))
    dead.close()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "pipewire-0"))
        listening.listen()
        config = Config(audio=AudioConfig(input="echo-cancel-source"))
        seen = look_around(config, {}, sessions=tmp_path / "run", linger=tmp_path / "linger")
    found = [(s.kind, s.owner, s.lingers, s.alive) for s in seen.servers if s.path[:5] != "/run/"]
    assert found == [("PipeWire", owner, True, True), ("PulseAudio", owner, True, False)]
    assert seen.echo_cancelled


def test_a_sound_server_behind_a_closed_door_is_found(tmp_path: Path) -> None:
    """A service may not look into the folder of a login; that the server runs it can see."""
    uid = os.geteuid()
    (tmp_path / "run" / str(uid)).mkdir(parents=True)
    (tmp_path / "proc" / "812").mkdir(parents=True)
    (tmp_path / "proc" / "812" / "comm").write_text("pipewire\n")
    (tmp_path / "proc" / "self").mkdir()
    seen = look_around(
        Config(audio=NULL),
        {},
        sessions=tmp_path / "run",
        linger=tmp_path / "linger",
        processes=tmp_path / "proc",
    )
    (server,) = (each for each in seen.servers if str(tmp_path) in each.path)
    assert (server.kind, server.alive, server.lingers) == ("PipeWire", None, False)
    assert not seen.used


@pytest.mark.sound
def test_a_silent_microphone_fails_and_the_speaker_plays(virtual_sound: VirtualSound) -> None:
    """Zeros are no sound, however open the device is."""
    findings = check_sound(Subject())
    assert verdicts(findings) == ["microphone FAIL", "speaker OK"]
    assert "nothing but zeros" in findings[0].what


@pytest.mark.sound
def test_devices_that_do_not_exist_fail(virtual_sound: VirtualSound) -> None:
    """With the names of those that do."""
    config = Config(audio=AudioConfig(input="nosuch", output="nosuch"))
    findings = check_sound(Subject(config))
    assert verdicts(findings) == ["microphone FAIL", "speaker FAIL"]
    assert "paste a name" in findings[0].what_to_do


def test_files_and_nothing_are_devices_too(tmp_path: Path) -> None:
    """A file that would be recorded into is not touched."""
    kept = tmp_path / "out.wav"
    kept.write_text("keep me")
    files = AudioConfig(input=f"file:{tmp_path}/none.wav", output=f"file:{kept}")
    assert verdicts(check_sound(Subject(Config(audio=files)))) == ["microphone FAIL", "speaker OK"]
    assert kept.read_text() == "keep me"
    nowhere = AudioConfig(input="null", output=f"file:{tmp_path}/none/out.wav")
    assert verdicts(check_sound(Subject(Config(audio=nowhere)))) == [
        "microphone OK",
        "speaker FAIL",
    ]
    assert verdicts(check_sound(Subject(Config(audio=NULL)))) == ["microphone OK", "speaker OK"]


def test_the_devices_of_the_running_service_are_left_to_it() -> None:
    """Nothing is opened: it would be busy."""
    said = {"input": {"state": "open", "name": "USB"}, "output": {"state": "lost", "name": "USB"}}
    findings = check_sound(Subject(service=RunningService({"state": "idle", "devices": said})))
    assert verdicts(findings) == ["microphone OK", "speaker FAIL"]


def test_a_responder_is_reached_and_not_asked() -> None:
    """TCP alone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        responder = ResponderConfig(kind="openai", url=url, model="m")
        (finding,) = check_responder(Subject(Config(responder=responder)))
        assert finding.verdict.value == "OK", finding
        with listener.accept()[0] as taken:
            assert taken.recv(1) == b""
    (finding,) = check_responder(Subject(Config(responder=responder)))
    assert "nothing listens there" in finding.what


@pytest.mark.parametrize(
    ("responder", "verdict"),
    [
        (ResponderConfig(), "OK"),
        (ResponderConfig(kind="command", command=(sys.executable,)), "OK"),
        (ResponderConfig(kind="command", command=("/nowhere/program",)), "FAIL"),
        (ResponderConfig(kind="http"), "FAIL"),
        (ResponderConfig(kind="nosuch"), "FAIL"),
    ],
)
def test_a_responder_that_cannot_work_fails(responder: ResponderConfig, verdict: str) -> None:
    """Before anybody asks it anything."""
    (finding,) = check_responder(Subject(Config(responder=responder)))
    assert finding.verdict.value == verdict, finding


def test_wake_words_are_loaded() -> None:
    """Where they are needed, and one that is not known is told."""
    assert verdicts(check_wake_words(Subject())) == ["wake words OK"]
    unknown = Config(wake=WakeConfig(mode="word", words=("okay_nobu",)))
    (finding,) = check_wake_words(Subject(unknown))
    assert 'did you mean "okay_nabu"?' in finding.what
    pytest.importorskip("pymicro_wakeword")
    (finding,) = check_wake_words(Subject(Config(wake=WakeConfig(mode="word"))))
    assert "okay_nabu: loaded in" in finding.what


def test_this_machine_has_a_clock_a_processor_memory_a_disk_and_a_user(tmp_path: Path) -> None:
    """Whatever they are like, something is said of each."""
    config = Config(debug=DebugConfig(record_dir=str(tmp_path)))
    for check in (check_clock, check_processor, check_memory, check_disk, check_user):
        findings = check(Subject(config))
        assert findings
        assert all(finding.what for finding in findings)
    assert len(check_disk(Subject(config))) == 2


def test_the_warmest_sensor_counts(tmp_path: Path) -> None:
    """One that gives no number does not."""
    for number, text in enumerate(("51234", "63000", "", "odd")):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(text)
    assert hottest(tmp_path) == 63.0
    assert hottest(tmp_path / "none") is None


def test_checks_run_side_by_side_and_are_told_in_their_order() -> None:
    """One that hangs costs its own time and no more; one that stumbles is told."""
    released = threading.Event()
    entered = threading.Barrier(2)

    def slow(_: Subject) -> list[Finding]:
        entered.wait(5)
        return [ok("slow", "done")]

    def quick(_: Subject) -> list[Finding]:
        entered.wait(5)
        return [ok("quick", "done")]

    def hangs(_: Subject) -> list[Finding]:
        released.wait(20)
        return []

    def stumbles(_: Subject) -> list[Finding]:
        raise ValueError("odd")

    def refuses(_: Subject) -> list[Finding]:
        raise SlngEdgeError("no")

    checks = [Check("slow", slow), Check("hangs", hangs, 0.2), Check("quick", quick)]
    checks += [Check("stumbles", stumbles), Check("refuses", refuses)]
    began_s = time.monotonic()
    found = list(inspect(checks, Subject()))
    released.set()
    assert verdicts(found) == ["slow OK", "hangs WARN", "quick OK", "stumbles WARN", "refuses FAIL"]
    assert time.monotonic() - began_s < 5
    assert "ValueError: odd" in found[3].what


NOBODY = pwd.getpwnam("nobody")


def test_a_unit_is_read_as_systemd_prints_it() -> None:
    """User, groups, environment, credentials, state, and the file of its command line."""
    unit = unit_of(
        {
            "LoadState": "loaded",
            "User": "nobody",
            "Group": "",
            "SupplementaryGroups": "audio",
            "Environment": 'HTTPS_PROXY=http://proxy:3128 "TWO=two words"',
            "StateDirectory": "slng-edge",
            "ExecStart": "{ path=/opt/slng-edge/bin/slng-edge ; argv[]=/opt/slng-edge/bin/slng-edge"
            " --config /etc/slng-edge/config.toml run ; ignore_errors=no ; pid=0 }",
        },
        {"slng-api-key": "/etc/slng-edge/api-key"},
    )
    assert (unit.user, unit.uid, unit.gid) == ("nobody", NOBODY.pw_uid, NOBODY.pw_gid)
    assert len(unit.groups) == 2
    assert unit.environment == {"HTTPS_PROXY": "http://proxy:3128", "TWO": "two words"}
    assert unit.credentials == {"slng-api-key": "/etc/slng-edge/api-key"}
    assert unit.state_directory == "/var/lib/slng-edge"
    assert unit.config_file == "/etc/slng-edge/config.toml"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"LoadState": "loaded", "User": "no-such-user"}, "there is no user no-such-user"),
        (
            {"LoadState": "loaded", "User": "nobody", "Group": "no-such-group"},
            "there is no group no-such-group",
        ),
    ],
)
def test_a_user_or_group_that_does_not_exist_is_told(said: dict[str, str], words: str) -> None:
    """With the line that makes it."""
    with pytest.raises(SlngEdgeError, match=words):
        unit_of(said, {})


def test_a_unit_without_a_user_is_root_s() -> None:
    """As systemd has it."""
    unit = unit_of({"LoadState": "loaded", "ExecStart": "argv[]=/bin/slng-edge run ;"}, {})
    assert (unit.user, unit.config_file, unit.state_directory) == ("root", "", "")
    assert dataclasses.asdict(unit)["credentials"] == {}
