"""Whatever a user gets wrong: one clear message, the right exit status, no traceback, no key."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import KEY, RATE_HZ, SlngEdge, speech_like, write_wav

from slng_edge.simulator import Faults, LocalGateway


@pytest.fixture(autouse=True)
def talk(tmp_path: Path) -> None:
    """Half a second of sound, in a file that is right."""
    write_wav(tmp_path / "talk.wav", speech_like(0.5))


def last_line(err: str) -> str:
    """What the user reads last, usage hints aside."""
    return [line for line in err.splitlines() if not line.startswith("slng-edge: see ")][-1]


CONFIG = [
    ("stt.model=a b", 'stt.model = "a b" must be a model such as "slng/deepgram/nova:3-en"'),
    ("stt.model=", "must be a model such as"),
    ("stt.modle=x", "stt.modle is not a known key; did you mean stt.model?"),
    ("sst.model=x", "[sst] is not a known section; did you mean stt?"),
    ("model.x.y=1", "is not a known section"),
    ("stt.sample_rate=44100", "must be one of 8000, 16000, 32000, 48000"),
    ("stt.sample_rate=high", "must be a whole number"),
    ("stt.keepalive_s=0", "must be from 0.01 to 300 seconds"),
    ("stt.audio_frames=base46", 'did you mean "base64"?'),
    ("stt.options={encoding='mp3'}", 'may not ask for another encoding than "linear16"'),
    ("tts.speed=9", "tts.speed = 9 must be from 0.25 to 4"),
    ("tts.speed=nan", "must be from 0.25 to 4"),
    ("tts.voice=a\nb", "must not hold control characters"),
    ("gateway.world_part=moon", "must be one of"),
    ("gateway.protocol=bridged", 'did you mean "bridge"?'),
    ("gateway.url=http://127.0.0.1:1", "must be empty or ws://HOST:PORT or wss://HOST:PORT"),
    ("gateway.url=ws://127.0.0.1:99999", "must be empty or ws://HOST:PORT"),
    ("gateway.url=ws://127.0.0.1:1/path", "without user, path or query"),
    ("gateway.url=ws://me:secret@127.0.0.1:1", "without user, path or query"),
    ("gateway.url=ws://gateway.example:1", "would send the key and all speech unencrypted"),
    ("gateway.url=ws://192.0.2.1:1", "Use wss://, or set gateway.allow_insecure = true"),
    ("gateway.api_key=abc", "a secret never stands in the configuration"),
    ("gateway.provider_key_file=missing", "gateway.provider_key_file: cannot read missing"),
    ("gateway.agent_id=a,b", "without a comma"),
    ("gateway.region=mars", "gateway.region"),
    ("audio.frame_ms=25", "must be one of 10, 20, 30"),
    ("audio.input=file:", 'needs a path after "file:"'),
    ("vad.aggressiveness=4", "must be one of 0, 1, 2, 3"),
    ("turn.barge_in=maybe", 'must be one of "on", "off", "auto"'),
    ("responder.kind=command", "responder.command must name a program"),
    ("status_page.listen=0.0.0.0:80", "status_page.token_file must be set"),
]


@pytest.mark.parametrize(("setting", "said"), CONFIG, ids=[row[0] for row in CONFIG])
def test_a_setting_that_is_wrong_is_78(slng_edge: SlngEdge, setting: str, said: str) -> None:
    """Before anything else happens."""
    ended = slng_edge("run", "-s", "audio.input=null", "-s", "audio.output=null", "-s", setting)
    assert ended.status == 78
    assert said in ended.err
    assert all(line.startswith("slng-edge: ") for line in ended.err.splitlines())
    assert "secret@" not in ended.err


def test_all_that_is_wrong_is_said_at_once(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """One line each, with the place it came from."""
    (tmp_path / "c.toml").write_text("[tts]\nspeed = 9\nvioce = 'x'\n[stt]\nmodel = 3\n")
    ended = slng_edge("stt", "talk.wav", "--config", "c.toml", "-s", "vad.stop_ms=1")
    assert ended.status == 78
    lines = ended.err.splitlines()
    assert len(lines) == 4
    assert lines[0] == "slng-edge: tts.speed = 9 must be from 0.25 to 4 (file c.toml)"
    assert lines[3].endswith("(-s)")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[tts]\nspeed = \n", "c.toml: line 2, column 9: not TOML"),
        (b"[tts]\nvoice = '\xff'\n", "c.toml, line 2: this is not UTF-8 text"),
        (b"tts = 1\n", "tts is a section"),
        (b"[tts]\nspeed = 1\nspeed = 2\n", "not TOML"),
        (None, "cannot read the configuration file c.toml: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_78(
    slng_edge: SlngEdge, tmp_path: Path, text: bytes | None, said: str
) -> None:
    """With the line."""
    if text is not None:
        (tmp_path / "c.toml").write_bytes(text)
    ended = slng_edge("stt", "talk.wav", "--config", "c.toml")
    assert ended.status == 78
    assert said in ended.err


def broken_wavs(folder: Path) -> None:
    """Files that are no input, under names that say why."""
    write_wav(folder / "8-bit.wav", bytes(8000), bits=8)
    good = (folder / "talk.wav").read_bytes()
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is not sound")
    (folder / "head.wav").write_bytes(good[:30])
    (folder / "nothing.wav").write_bytes(good[:44])
    (folder / "mp3.wav").write_bytes(b"ID3" + bytes(200))
    (folder / "folder.wav").mkdir()
    for name, tag, bits in (("float.wav", 3, 32), ("mulaw.wav", 7, 8)):
        head = struct.pack("<IHHIIHH", 16, tag, 1, RATE_HZ, RATE_HZ * bits // 8, bits // 8, bits)
        data = b"data" + struct.pack("<I", 4000) + bytes(4000)
        (folder / name).write_bytes(
            b"RIFF" + struct.pack("<I", 4 + len(head) + len(data) + 4) + b"WAVEfmt " + head + data
        )


WAVS = [
    ("missing.wav", "cannot read missing.wav: No such file or directory"),
    ("folder.wav", "cannot read folder.wav: it is a directory"),
    ("/dev/zero", "cannot read /dev/zero: it is not a regular file"),
    ("empty.wav", "empty.wav is empty"),
    ("nothing.wav", "nothing.wav holds no audio"),
    ("head.wav", "head.wav ends within its WAV header"),
    ("text.wav", "text.wav is not a WAV file"),
    ("mp3.wav", "but MP3. Convert it: ffmpeg -i 'mp3.wav'"),
    ("8-bit.wav", "8-bit.wav is 8-bit PCM; 16-bit PCM is needed. Convert it: ffmpeg -i"),
    ("float.wav", "float.wav is floating point; 16-bit PCM is needed"),
    ("mulaw.wav", "mulaw.wav is mu-law; 16-bit PCM is needed"),
]


@pytest.mark.parametrize(("name", "said"), WAVS, ids=[row[0] for row in WAVS])
@pytest.mark.parametrize(
    "command", [("stt", "{}"), ("stt", "--realtime", "{}"), ("run", "-s", "audio.input=file:{}")]
)
def test_an_input_file_that_cannot_be_is_66(
    slng_edge: SlngEdge, tmp_path: Path, command: tuple[str, ...], name: str, said: str
) -> None:
    """Whatever reads it."""
    broken_wavs(tmp_path)
    argv = [word.format(name) for word in command]
    ended = slng_edge(*argv, "-s", "audio.output=null")
    assert ended.status == 66
    assert said in last_line(ended.err)
    assert ended.raw == b""


def test_a_file_cut_short_gives_what_it_has(
    slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path
) -> None:
    """With a warning of how much is missing."""
    (tmp_path / "cut.wav").write_bytes((tmp_path / "talk.wav").read_bytes()[:8044])
    ended = slng_edge("stt", "cut.wav")
    assert (ended.status, ended.out) == (0, "one two three four\n")
    assert "cut.wav is cut short: its last 0.2 s are missing" in ended.err
    assert gateway.connections[0].audio == speech_like(0.5).tobytes()[:8000]


def test_a_channel_that_is_not_there_is_78(slng_edge: SlngEdge) -> None:
    """The file is right, and the setting is not."""
    ended = slng_edge("stt", "talk.wav", "-s", "audio.input_channel=1")
    assert ended.status == 78
    assert "audio.input_channel = 1: the file has 1 channel(s)" in ended.err


ARGUMENTS = [
    (("stt", "--format", "xml", "talk.wav"), 2, "invalid choice: 'xml'"),
    (("stt", "talk.wav", "more.wav"), 2, "unrecognized arguments: more.wav"),
    (("stt", ""), 2, "FILE is empty"),
    (("stt", "--realtime"), 2, "--realtime paces a file"),
    (("stt", "-", "--realtime"), 2, "--realtime paces a file"),
    (("stt", "talk.wav", "-m", "../x"), 78, "stt.model: '../x' has an empty or dotted part"),
    (("stt", "talk.wav", "-m", "a?b"), 78, "must be a model such as"),
    (("stt", "talk.wav", "-m", "a%2fb"), 78, "has a character that no model path has"),
    (("stt", "talk.wav", "--language", "a\nb"), 78, "must not hold control characters"),
    (("stt", "talk.wav", "-s", 'stt.fallbacks=["a b"]'), 78, "must be a model such as"),
    (("stt", "talk.wav", "-s", 'stt.fallbacks=["a", "a"]'), 78, 'may not name "a" again'),
    (("stt", "talk.wav", "-s", "gateway.protocol=classic"), 78, "go with gateway.protocol"),
    (("tts", "hi", "-s", "gateway.protocol=classic"), 78, "go with gateway.protocol"),
    (("tts", "hi", "-s", "tts.native_frames=true"), 78, "tts.native_frames = true needs"),
    (("stt", "talk.wav", "-s", "gateway.overrides_in=body"), 78, 'one of "header", "query"'),
    (("tts",), 2, "required: TEXT"),
    (("tts", ""), 2, "there is nothing to speak: TEXT is empty"),
    (("tts", " \n"), 2, "there is nothing to speak: TEXT is empty"),
    (("tts", "a", "b"), 2, "unrecognized arguments: b"),
    (("tts", "hi", "--speed", "fast"), 2, "invalid float value: 'fast'"),
    (("tts", "hi", "--speed", "9"), 78, "tts.speed = 9.0 must be from 0.25 to 4"),
    (("tts", "hi", "--speed", "nan"), 78, "tts.speed = nan must be from 0.25 to 4"),
    (("tts", "hi", "-m", "a b"), 78, "must be a model such as"),
    (("tts", "hi", "-v", "a\x1bb"), 78, "must not hold control characters"),
    (("tts", "hi", "--out", ""), 2, "--out needs the path of a file, or -"),
    (("tts", "hi", "--out", "no/such/folder.wav"), 1, "cannot write no/such/folder.wav: No such"),
    (("tts", "hi", "--out", "/"), 1, "cannot write /: Is a directory"),
    (("tts", "hi", "--out", "/dev/full"), 1, "cannot write /dev/full: No space left on device"),
    (("tts", "hi", "-s", "audio.output=file:no/x.wav"), 74, "cannot write no/x.wav: No such"),
    (("run", "--events", "no/such/file"), 2, "--events no/such/file: No such file"),
    (("run", "extra"), 2, "unrecognized arguments: extra"),
    (("demo", "--microphone"), 2, "unrecognized arguments: --microphone"),
]


@pytest.mark.parametrize(
    ("argv", "status", "said"), ARGUMENTS, ids=[" ".join(row[0]) for row in ARGUMENTS]
)
def test_arguments_that_cannot_be_are_said(
    slng_edge: SlngEdge, argv: tuple[str, ...], status: int, said: str
) -> None:
    """And nothing is left on standard output."""
    ended = slng_edge(*argv)
    assert ended.status == status
    assert said in ended.err
    assert ended.raw == b""


STDIN = [
    (("stt", "-"), b"", 66, "standard input has no audio"),
    (("stt", "-"), b"x", 66, "standard input has no audio"),
    (("stt", "-"), b"RIFF\x24\x00\x00\x00WAVEfmt ", 66, "standard input is a WAV file"),
    (("tts", "-", "--out", "-"), b"", 2, "nothing to speak: standard input is empty"),
    (("tts", "-", "--out", "-"), b" \n\n", 2, "nothing to speak: standard input is empty"),
    (("tts", "-", "--out", "-"), b"\xff\xfe\x00a", 66, "standard input is not UTF-8 text"),
    (("tts", "-", "--out", "-"), b"gr\xc3", 66, "standard input is not UTF-8 text"),
    (("tts", "-", "--out", "-"), b"\x00ELF", 66, "standard input is not text"),
]


@pytest.mark.parametrize(("argv", "data", "status", "said"), STDIN)
def test_standard_input_that_cannot_be_is_said(
    slng_edge: SlngEdge, argv: tuple[str, ...], data: bytes, status: int, said: str
) -> None:
    """Rather than to send it to a service that costs money."""
    ended = slng_edge(*argv, stdin=data)
    assert ended.status == status
    assert said in ended.err
    assert ended.raw == b""


SHELL = [
    ("$slng_edge stt talk.wav >&-", 1, "cannot write to standard output: it is closed"),
    ("$slng_edge tts hi --out - >&-", 1, "cannot write to standard output: it is closed"),
    ("$slng_edge run --events - >&-", 2, "--events -: standard output is closed"),
    ("$slng_edge stt talk.wav >/dev/full", 1, "cannot write to standard output: No space left"),
    ("$slng_edge tts hi --out - >/dev/full", 1, "cannot write to standard output: No space left"),
    ("$slng_edge stt - <&-", 66, "cannot read standard input: it is closed"),
    ("$slng_edge tts - --out - <&-", 66, "cannot read standard input: it is closed"),
    ("$slng_edge tts \"$(printf '\\377')\" --out -", 2, "TEXT is not UTF-8 text"),
    ("($slng_edge stt talk.wav; echo $? >&2) | true", 0, "1\n"),
    ("$slng_edge tts 'Hello.' --out - | head -c 9 >/dev/null", 0, ""),
]


@pytest.mark.parametrize(("script", "status", "said"), SHELL)
def test_streams_that_are_closed_or_full_are_said(
    slng_edge: SlngEdge, script: str, status: int, said: str
) -> None:
    """Where nobody reads any more, quietly."""
    ended = slng_edge.shell(script)
    assert ended.status == status
    assert said in ended.err
    assert len(ended.err.splitlines()) <= 2


REFUSALS = [
    (400, 78, "Check model, voice, language and options in the configuration."),
    (401, 77, "Replace the key (sudo slng-edge key set), or check $SLNG_API_KEY"),
    (403, 77, "The key may lack WebSocket access"),
    (404, 78, "Check model, gateway.protocol and gateway.url."),
    (429, 69, "check gateway.tier"),
    (503, 69, "HTTP 503"),
]


@pytest.mark.parametrize(("http", "status", "said"), REFUSALS)
@pytest.mark.parametrize("argv", [("stt", "talk.wav"), ("tts", "hi", "--out", "-")])
def test_a_refusal_says_why_and_what_to_do(
    slng_edge: SlngEdge,
    gateway: LocalGateway,
    argv: tuple[str, ...],
    http: int,
    status: int,
    said: str,
) -> None:
    """With the gateway's own words."""
    gateway.refuse_new = http
    ended = slng_edge(*argv)
    assert ended.status == status
    assert f"HTTP {http}: refused on demand: {http}" in last_line(ended.err)
    assert said in last_line(ended.err)


@pytest.mark.parametrize("argv", [("stt", "talk.wav"), ("tts", "hi", "--out", "-")])
@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("ws://127.0.0.1:9", 69, "127.0.0.1:9 refused the connection: nothing listens there"),
        ("wss://no-such-host.invalid", 69, "no-such-host.invalid:443 cannot be resolved"),
        ("wss://{}", 69, "no connection to 127.0.0.1:"),
    ],
)
def test_a_gateway_that_is_not_there_is_69(
    slng_edge: SlngEdge, argv: tuple[str, ...], url: str, status: int, said: str
) -> None:
    """The port, the host, or the scheme is wrong."""
    slng_edge.url = url.format(slng_edge.url.removeprefix("ws://"))
    ended = slng_edge(*argv)
    assert ended.status == status
    assert said in last_line(ended.err)


@pytest.mark.parametrize("argv", [("stt", "talk.wav"), ("tts", "hi", "--out", "-")])
def test_a_gateway_that_says_nothing_is_not_waited_for_for_ever(
    slng_edge: SlngEdge, gateway: LocalGateway, argv: tuple[str, ...]
) -> None:
    """It takes the connection and never gets ready: it broke the protocol."""
    gateway.faults = Faults("never_ready")
    ended = slng_edge(*argv, "-s", "gateway.connect_timeout_s=0.4")
    assert ended.status == 76
    assert "the gateway did not say `ready` within 0.4 s" in ended.err


def test_a_key_that_others_can_read_is_refused(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """With the line that mends it."""
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o644)
    ended = slng_edge.shell(
        "unset SLNG_API_KEY; $slng_edge -s gateway.api_key_file=./key stt talk.wav"
    )
    assert ended.status == 78
    assert "chmod 600 key" in ended.err


def test_no_key_for_the_real_gateway_is_78(slng_edge: SlngEdge) -> None:
    """Where to put one is said; nothing is sent."""
    slng_edge.url = ""
    ended = slng_edge.shell("unset SLNG_API_KEY; $slng_edge stt talk.wav")
    assert ended.status == 78
    assert "no API key: set $SLNG_API_KEY, or name a private file" in ended.err


@pytest.fixture
def parrot() -> Iterator[str]:
    """The URL of a server that refuses, and repeats the whole request in its reason."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        request = client.recv(65536).decode()
                        body = json.dumps({"message": f"{KEY} is no key: {request}"})
                        head = f"HTTP/1.1 401 No\r\nContent-Length: {len(body)}\r\n\r\n"
                        client.sendall((head + body).encode())

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"ws://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("level", ["warning", "debug"])
@pytest.mark.parametrize(
    "argv", [("stt", "talk.wav"), ("tts", "hi", "--out", "-"), ("run", "--events", "-")]
)
def test_a_key_that_the_gateway_repeats_is_not_shown(
    slng_edge: SlngEdge, parrot: str, argv: tuple[str, ...], level: str
) -> None:
    """Not in the message, the log or the events; with a traceback neither."""
    slng_edge.url = parrot
    files = ("-s", "audio.input=file:talk.wav", "-s", "audio.output=null")
    process = slng_edge.start("--log-level", level, *argv, *files)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 77
    assert "*** is no key" in last_line(err.decode())
    assert KEY.encode() not in out + err


def test_events_in_a_file_hold_no_key(slng_edge: SlngEdge, parrot: str, tmp_path: Path) -> None:
    """Nor are they in another encoding than UTF-8."""
    slng_edge.url = parrot
    files = ("-s", "audio.input=file:talk.wav", "-s", "audio.output=null")
    assert slng_edge("run", "--events", "events", *files).status == 77
    text = (tmp_path / "events").read_text(encoding="utf-8")
    assert "*** is no key" in text
    assert KEY not in text


LIBRARIES = [
    ("numpy", ("stt", "talk.wav"), "Run: pip install numpy"),
    ("numpy", ("run",), "Run: pip install numpy"),
    ("websocket", ("stt", "talk.wav"), "Run: pip install 'websocket-client>=1.8,<2'"),
    ("websocket", ("tts", "hi"), "Run: pip install 'websocket-client>=1.8,<2'"),
    ("websocket", ("demo",), "Run: pip install 'websocket-client>=1.8,<2'"),
    ("webrtcvad", ("stt",), "Run: pip install webrtcvad-wheels"),
    ("webrtcvad", ("run", "-s", "audio.input=null"), "Run: pip install webrtcvad-wheels"),
    ("pyaudio", ("stt",), "Run: sudo apt-get install python3-pyaudio"),
    ("pyaudio", ("tts", "hi"), "Run: sudo apt-get install python3-pyaudio"),
    ("pyaudio", ("run",), "Run: sudo apt-get install python3-pyaudio"),
    ("websockets", ("demo",), "Run: pip install 'slng-edge[gateway]'"),
]


@pytest.mark.parametrize(("library", "argv", "said"), LIBRARIES)
def test_a_library_that_is_missing_is_named_with_the_line_that_installs_it(
    slng_edge: SlngEdge, library: str, argv: tuple[str, ...], said: str
) -> None:
    """One that can be pasted."""
    ended = slng_edge.without(library, *argv)
    assert ended.status == 1
    assert "which is not installed" in last_line(ended.err)
    assert said in last_line(ended.err)


@pytest.mark.parametrize("command", ["run", "stt", "tts", "demo", "config"])
def test_the_help_of_every_command_needs_no_library(slng_edge: SlngEdge, command: str) -> None:
    """It has an example, and answers on a machine where nothing is installed yet."""
    ended = slng_edge.without("numpy", command, "--help")
    assert ended.status == 0
    assert f"example:\n  slng-edge {command}" in ended.out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("stt", "-s", "audio.input=No Such Device"), 'no input device "No Such Device"'),
        (("tts", "hi", "-s", "audio.output=No Such Device"), 'no output device "No Such Device"'),
    ],
)
def test_a_device_that_is_not_there_is_74(
    slng_edge: SlngEdge, argv: tuple[str, ...], said: str
) -> None:
    """By its name, with those that are there."""
    ended = slng_edge(*argv)
    assert ended.status == 74
    assert said in last_line(ended.err)
