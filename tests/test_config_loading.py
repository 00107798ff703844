"""Where configuration is looked for, which value wins, and what is said of a wrong one."""

import os
from pathlib import Path
from typing import Any

import pytest

from slng_edge.config import Config
from slng_edge.config_loading import load, load_config
from slng_edge.config_sources import search_path
from slng_edge.errors import ConfigError

NO_FILE = "/dev/null"


def problems_of(
    *overrides: str, toml: str = "", environ: dict[str, str] | None = None, tmp_path: Path | None
) -> tuple[str, ...]:
    """What is said of a configuration that has to be refused."""
    file: str | Path = NO_FILE
    if tmp_path is not None:
        file = tmp_path / "config.toml"
        file.write_text(toml, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_config(file, overrides, environ or {})
    return refused.value.problems


def value_of(config: Config, name: str) -> Any:
    section, key = name.split(".")
    return getattr(getattr(config, section), key)


def test_without_a_file_all_is_built_in() -> None:
    """An empty file, environment and command line give the built-in configuration."""
    loaded = load(NO_FILE, (), {})
    assert loaded.config == Config()
    assert loaded.origins == {}


def test_the_files_are_searched_in_the_documented_order(tmp_path: Path) -> None:
    """--config, then the variable, then the home directory; /etc comes last."""
    for name in ("named", "variable", "home/.config/slng-edge/config"):
        file = tmp_path / f"{name}.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'[tts]\nvoice = "{Path(name).name}"\n')
    home = {"HOME": str(tmp_path / "home")}
    variable = {**home, "SLNG_EDGE_CONFIG": str(tmp_path / "variable.toml")}
    assert load_config(tmp_path / "named.toml", (), variable).tts.voice == "named"
    assert load_config(None, (), variable).tts.voice == "variable"
    assert load(None, (), home).file == tmp_path / "home/.config/slng-edge/config.toml"
    assert load_config(None, (), {**home, "SLNG_EDGE_CONFIG": ""}).tts.voice == "config"
    assert search_path({})[-1] == Path("/etc/slng-edge/config.toml")


def test_each_source_wins_over_the_one_before(tmp_path: Path) -> None:
    """Built-in < file < environment < -s, and the origin of each value is known."""
    file = tmp_path / "c.toml"
    file.write_text("[vad]\nstart_ms = 61\nstop_ms = 601\npreroll_ms = 301\n")
    environ = {"SLNG_EDGE_VAD__STOP_MS": "602", "SLNG_EDGE_VAD__PREROLL_MS": "302"}
    loaded = load(file, ["vad.preroll_ms=303", "vad.preroll_ms=304"], environ)
    vad = loaded.config.vad
    assert (vad.aggressiveness, vad.start_ms, vad.stop_ms, vad.preroll_ms) == (2, 61, 602, 304)
    assert loaded.origins == {
        "vad.start_ms": f"file {file}",
        "vad.stop_ms": "environment SLNG_EDGE_VAD__STOP_MS",
        "vad.preroll_ms": "-s",
    }


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("stt.model=slng/x:y", "slng/x:y"),
        ("audio.input=file:a.wav", "file:a.wav"),
        ('tts.voice="quoted"', "quoted"),
        ("tts.voice='literal'", "literal"),
        ("tts.voice=123", "123"),
        ("tts.voice=true", "true"),
        ("tts.voice=1979-05-27", "1979-05-27"),
        ("tts.voice=[1]", "[1]"),
        ("tts.voice=", ""),
        ("tts.voice=a=b", "a=b"),
        ("tts.voice=Fräulein #2", "Fräulein #2"),
        ("turn.barge_in=off", "off"),
        ("vad.stop_ms=1_000", 1000),
        (" vad.stop_ms =700", 700),
        ("tts.speed=2", 2.0),
        ("tts.warm_standby=true", True),
        ("stt.fallbacks=['a', 'b']", ("a", "b")),
        ("responder.command=[]", ()),
        ("stt.options={ enable_vad = true, words = ['a'] }", {"enable_vad": True, "words": ["a"]}),
        ("stt.options.enable_vad=true", {"enable_vad": True}),
        ("tts.options.pronunciation.name=brands", {"pronunciation": {"name": "brands"}}),
        ('responder.system_prompt="two\\nlines"', "two\nlines"),
        ("gateway.region=eu-north-1, us-east-1", "eu-north-1, us-east-1"),
        ("gateway.url=wss://[::1]:8765", "wss://[::1]:8765"),
        ("gateway.url=ws://localhost/", "ws://localhost/"),
    ],
)
def test_a_value_is_read_as_toml_and_as_a_string_where_it_is_not(override: str, value: Any) -> None:
    """-s and the environment take both, and a string stays a string whatever it looks like."""
    name = ".".join(override.split("=")[0].strip().split(".")[:2])
    read = value_of(load_config(NO_FILE, [override], {}), name)
    assert (read, type(read)) == (value, type(value))
    key, _, text = override.partition("=")
    variable = f"SLNG_EDGE_{key.strip().replace('.', '__').upper()}"
    assert value_of(load_config(NO_FILE, [], {variable: text}), name) == value


def test_a_single_option_is_laid_over_the_table_of_the_file(tmp_path: Path) -> None:
    """-s stt.options.x changes x and leaves the others."""
    file = tmp_path / "c.toml"
    file.write_text("[stt.options]\na = 1\n[stt.options.deep]\nb = 2\n")
    config = load_config(file, ["stt.options.deep.c=3", "stt.options.a=4"], {})
    assert config.stt.options == {"a": 4, "deep": {"b": 2, "c": 3}}


def test_variables_of_other_purpose_are_no_settings() -> None:
    """What hooks are run with, and what names the file, has no double underscore."""
    environ = {"SLNG_EDGE_STATE": "idle", "SLNG_EDGE_EVENT": "{}", "SLNG_API_KEY": "k", "X__Y": "1"}
    assert load_config(NO_FILE, (), environ) == Config()


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("stt.modle=x", "stt.modle is not a known key; did you mean stt.model?"),
        ("stt.sample-rate=1", "stt.sample-rate is not a known key; did you mean stt.sample_rate?"),
        ("stt.voice=x", "stt.voice is not a known key; did you mean tts.voice?"),
        ("vad.qqqq=1", "vad.qqqq is not a known key"),
        ("sst.model=x", "[sst] is not a known section; did you mean stt?"),
        ("qqqq.model=x", "[qqqq] is not a known section"),
        ("stt=1", "stt is a section: write stt.key=value"),
        ("frame_ms=10", "frame_ms stands outside of every section; did you mean audio.frame_ms?"),
        ("stt.language", "stt.language has no value: write stt.language=VALUE"),
        ("tts.speed.x=1", "tts.speed.x is not a known key: tts.speed is not a table"),
        ("stt.options.=1", "stt.options. has an empty name in it"),
        ("vad.stop_ms=soon", 'vad.stop_ms = "soon" must be a whole number'),
        ("vad.stop_ms=600.0", "vad.stop_ms = 600.0 must be a whole number"),
        ("vad.stop_ms=true", "vad.stop_ms = true must be a whole number"),
        ("vad.stop_ms=1\nstart_ms=2", 'vad.stop_ms = "1\\nstart_ms=2" must be a whole number'),
        ("tts.speed=true", "tts.speed = true must be a number"),
        ("tts.speed=nan", "tts.speed = nan must be from 0.25 to 4"),
        ("tts.speed=inf", "tts.speed = inf must be from 0.25 to 4"),
        ("tts.warm_standby=1", "tts.warm_standby = 1 must be true or false"),
        ("stt.fallbacks=a", 'stt.fallbacks = "a" must be a list of strings such as ["a", "b"]'),
        ("responder.command=[1]", "responder.command = [1] must be a list of strings such as"),
        ("stt.options=1", "stt.options = 1 must be a table such as { key = 1 }"),
        ("stt.sample_rate=44100", "stt.sample_rate = 44100 must be one of 8000, 16000, 32000,"),
        ("tts.sample_rate=7999", "tts.sample_rate = 7999 must be from 8000 to 48000 Hz"),
        ("audio.frame_ms=25", "audio.frame_ms = 25 must be one of 10, 20, 30"),
        ("vad.aggressiveness=4", "vad.aggressiveness = 4 must be one of 0, 1, 2, 3"),
        ("audio.volume=2.1", "audio.volume = 2.1 must be from 0 to 2"),
        ("stt.keepalive_s=0", "stt.keepalive_s = 0 must be from 0.01 to 300 seconds"),
        ("wake.threshold=-0.1", "wake.threshold = -0.1 must be from 0 to 1"),
        ("gateway.tier=Pro", '"free", "pro", "enterprise"; did you mean "pro"?'),
        ("gateway.world_part=us-eats", 'did you mean "us-east"?'),
        ("gateway.region=mars", "gateway.region"),
        ("gateway.url=http://a", 'gateway.url = "http://a" must be empty or ws://HOST:PORT or'),
        ("gateway.url=ws://a/b", "without user, path or query"),
        ("gateway.url=ws://a:99999", "gateway.url"),
        ("gateway.url=ws://", "gateway.url"),
        ("mqtt.url=broker", 'mqtt.url = "broker" must be empty or mqtt://HOST:PORT or mqtts://'),
        ("gateway.agent_id=a,b", "gateway.agent_id"),
        ("stt.model=", 'stt.model = "" must be a model such as'),
        ("stt.model=/v1/x", "stt.model"),
        ("stt.fallbacks=['a b']", 'stt.fallbacks = ["a b"] must be a model such as'),
        ("audio.input=", "audio.input"),
        ("audio.output=file:", 'audio.output = "file:" needs a path after "file:"'),
        ("sounds.wake=chime", 'must be "built-in", "off" or a path that ends in .wav'),
        ("wake.words=['']", "must not hold an empty string"),
        ("responder.kind=", 'responder.kind = "" must not be empty'),
        ("status_page.listen=8990", "must be empty or HOST:PORT"),
        (f"control.socket=/{'x' * 107}", "must be at most 107 bytes long"),
        ('tts.voice="a\\u0007"', 'tts.voice = "a\\u0007" must not hold control characters'),
        ('wake.words=["a\\n"]', "must not hold control characters"),
        ("stt.options.encoding=mp3", 'may not ask for another encoding than "linear16"'),
        ("tts.options.x=[1, nan]", "may not hold inf or nan"),
        ("tts.options.x=1979-05-27", "may not hold dates or times"),
        ("stt.options.sample_rate=8000", "set stt.sample_rate"),
        ("responder.kind=command", 'must name a program, because responder.kind = "command"'),
        ("status_page.listen=0.0.0.0:80", "status_page.token_file must be set"),
        (
            'stt.fallbacks=["slng/deepgram/nova:3-en"]',
            'stt.fallbacks may not name "slng/deepgram/nova:3-en" again: it is in stt.model',
        ),
        (
            'tts.fallbacks=["a", "b", "a"]',
            'tts.fallbacks may not name "a" again: it is in the list',
        ),
        (
            "tts.native_frames=true",
            'tts.native_frames = true needs gateway.protocol = "classic", and orpheus or '
            "elevenlabs as tts.model and in tts.fallbacks",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(override: str, problem: str) -> None:
    """One line names the setting, the value, what may be there, and where it came from."""
    problems = problems_of(override, tmp_path=None)
    assert len(problems) == 1
    assert problem in problems[0]
    assert problems[0].endswith(" (-s)")


def test_a_wake_word_is_needed_where_a_word_wakes() -> None:
    """Settings that contradict each other are found together."""
    problems = problems_of("wake.mode=word", "wake.words=[]", tmp_path=None)
    assert problems == ('wake.words must name a wake word, because wake.mode = "word" (-s)',)


def test_a_second_connection_does_not_go_with_a_plan_of_one() -> None:
    """A warm standby could never be opened on the free tier."""
    problems = problems_of("gateway.tier=free", "tts.warm_standby=true", tmp_path=None)
    assert problems == (
        'tts.warm_standby = true needs a second connection, and gateway.tier = "free" allows '
        "one (-s)",
    )


@pytest.mark.parametrize(
    "settings",
    [
        ["gateway.protocol=classic", "tts.model=kokoro"],
        ["gateway.protocol=classic", "tts.model=orpheus", "tts.fallbacks=['xtts']"],
        ["tts.model=orpheus"],
    ],
)
def test_native_frames_need_models_that_have_them(settings: list[str]) -> None:
    """On the classic protocol, the fallbacks as well."""
    (problem,) = problems_of("tts.native_frames=true", *settings, tmp_path=None)
    assert problem.startswith("tts.native_frames = true needs")


def test_a_providers_key_does_not_go_with_a_fallback_of_slng() -> None:
    """The gateway would refuse it, at the moment when a fallback is needed."""
    problems = problems_of(
        "gateway.provider_key_file=/a/key",
        "stt.fallbacks=['acme/x', 'slng/a', 'slng/b']",
        tmp_path=None,
    )
    assert [problem.split(" of ")[0] for problem in problems] == [
        'gateway.provider_key_file: "slng/a"',
        'gateway.provider_key_file: "slng/b"',
    ]
    assert "is hosted by SLNG and takes no provider's key" in problems[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_the_status_page_needs_no_token_on_loopback(host: str) -> None:
    """Only an address that other machines reach needs one."""
    assert load_config(NO_FILE, [f"status_page.listen={host}:8990"], {})


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """From file, environment and command line, each with where it came from."""
    problems = problems_of(
        "vad.stop_ms=0",
        toml='model = "x"\n[stt]\nmodle = 1\nsample_rate = 1\n[[tts]]\n',
        environ={"SLNG_EDGE_TTS__SPEED": "fast", "SLNG_EDGE_FOO__BAR": "1"},
        tmp_path=tmp_path,
    )
    file = f"(file {tmp_path}/config.toml)"
    assert [(text.split()[0], text.rpartition(" (")[2]) for text in problems] == [
        ("model", f"file {tmp_path}/config.toml)"),
        ("stt.modle", f"file {tmp_path}/config.toml)"),
        ("stt.sample_rate", f"file {tmp_path}/config.toml)"),
        ("tts", f"file {tmp_path}/config.toml)"),
        ("[foo]", "environment SLNG_EDGE_FOO__BAR)"),
        ("tts.speed", "environment SLNG_EDGE_TTS__SPEED)"),
        ("vad.stop_ms", "-s)"),
    ]
    assert file in problems[0]


def test_problems_of_the_environment_are_told_when_the_file_is_broken(tmp_path: Path) -> None:
    """A syntax error does not hide what else is wrong."""
    problems = problems_of("vad.stop_ms=0", toml="[stt", tmp_path=tmp_path)
    assert len(problems) == 2


@pytest.mark.parametrize(
    "name",
    [
        "gateway.api_key",
        "gateway.key",
        "gateway.apikey",
        "gateway.provider_key",
        "api_key",
        "responder.api_key",
        "mqtt.password",
        "status_page.token",
        "stt.options.api_key",
        "slng.api_key",
    ],
)
def test_a_key_in_the_configuration_is_refused_and_not_repeated(name: str) -> None:
    """The message says where a secret belongs, and never what it is."""
    (problem,) = problems_of(f"{name}=sk-verysecret", tmp_path=None)
    assert problem.startswith(f"{name}: a secret never stands in the configuration")
    assert "verysecret" not in problem
    if name in ("gateway.api_key", "api_key"):
        assert "$SLNG_API_KEY" in problem
        assert "gateway.api_key_file" in problem


def test_a_key_inside_of_an_options_table_is_refused(tmp_path: Path) -> None:
    """It would travel in the init message, and into whatever logs that."""
    toml = '[tts.options]\nprovider = { api_key = "sk-verysecret" }\n'
    (problem,) = problems_of(toml=toml, tmp_path=tmp_path)
    assert "a secret never stands in the configuration" in problem
    assert "verysecret" not in problem


def test_a_key_in_the_place_of_its_file_is_refused_and_not_repeated() -> None:
    """The likely slip: the key itself where a path belongs."""
    (problem,) = problems_of("gateway.api_key_file=sk_0123456789abcdef", tmp_path=None)
    assert "not the key itself" in problem
    assert "0123456789" not in problem


def test_a_password_in_a_wrong_address_is_not_repeated() -> None:
    """What is refused is shown, but not what is secret in it."""
    (problem,) = problems_of("gateway.url=wss://me:hunter2@host?k=hunter3", tmp_path=None)
    assert "wss://me:***@host?" in problem
    assert "hunter" not in problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[stt]\nmodel = \n", "line 2, column 9: not TOML: Invalid value"),
        (b"[stt]\nmodel = 'x", "line 2, the end: not TOML:"),
        (b"[stt]\n[stt]\n", "line 2, column 5: not TOML: Cannot declare ('stt',) twice"),
        (b"[stt]\nmodel = '\xff'\n", "line 2: this is not UTF-8 text"),
        (b"x = " + b"[" * 5000, "config.toml"),
        (b"x = " + b"1" * 5000, "config.toml"),
    ],
)
def test_a_file_that_is_no_toml_is_told_with_its_line(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    """File and line, but not the text of the line: it may hold a key."""
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_config(file, (), {})
    assert str(file) in str(refused.value)
    assert problem in str(refused.value)


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    """Editors of other systems write one."""
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xef\xbb\xbf[tts]\r\nvoice = 'x'\r\n")
    assert load_config(file, (), {}).tts.voice == "x"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing.toml", "No such file or directory"),
        (".", "Is a directory"),
        ("", "Is a directory"),
        ("a\0b", "null"),
    ],
)
def test_a_named_file_that_cannot_be_read_is_told(tmp_path: Path, path: str, reason: str) -> None:
    """Nothing is searched instead of a file that was asked for, by option or by variable."""
    named = str(tmp_path / path) if path else path
    with pytest.raises(ConfigError, match=reason):
        load_config(named, (), {})
    if path:
        with pytest.raises(ConfigError, match=reason):
            load_config(None, (), {"SLNG_EDGE_CONFIG": named})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    """A file that may not be read is not passed over."""
    file = tmp_path / "config.toml"
    file.touch(mode=0o000)
    with pytest.raises(ConfigError, match="Permission denied"):
        load_config(file, (), {})


def test_a_refused_value_brings_no_second_problem() -> None:
    """What depends on it cannot be judged."""
    problems = problems_of("responder.kind=command", "responder.command=cat", tmp_path=None)
    assert len(problems) == 1
    assert problems[0].startswith('responder.command = "cat" must be a list of strings')
