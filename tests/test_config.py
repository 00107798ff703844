"""The built-in configuration, and which of its settings this version can do."""

import dataclasses
import subprocess
import sys
import tomllib

import pytest

from slng_edge.config import Config, each_value
from slng_edge.config_loading import load_config
from slng_edge.config_rules import unavailable

CONTRACT_DEFAULTS = tomllib.loads(
    """
    [gateway]
    world_part = "us-east"
    url = ""
    protocol = "bridge"
    api_key_file = ""
    world_part_override = ""
    tier = "pro"
    region = ""
    provider_key_file = ""
    agent_id = ""
    ca_file = ""
    allow_insecure = false
    connect_timeout_s = 10.0
    [stt]
    model = "slng/deepgram/nova:3-en"
    fallbacks = []
    language = ""
    sample_rate = 16000
    audio_frames = "binary"
    keepalive_s = 5.0
    final_timeout_s = 5.0
    offline_keep_s = 30
    fallback_cooldown_s = 60
    options = {}
    [tts]
    model = "slng/deepgram/aura:2-en"
    fallbacks = []
    voice = "aura-2-thalia-en"
    sample_rate = 24000
    speed = 1.0
    language = ""
    warm_standby = false
    keepalive_s = 30.0
    first_audio_timeout_s = 10.0
    options = {}
    [audio]
    input = "default"
    output = "default"
    frame_ms = 20
    input_channel = 0
    output_buffer_ms = 60
    prebuffer_ms = 80
    volume = 1.0
    echo_cancel = "auto"
    [vad]
    aggressiveness = 2
    start_ms = 60
    stop_ms = 600
    preroll_ms = 300
    max_utterance_s = 30
    [wake]
    mode = "open"
    words = ["okay_nabu"]
    threshold = 0.5
    follow_up_s = 8.0
    button_gpio = 0
    [turn]
    barge_in = "auto"
    barge_in_ms = 200
    resume_false_interrupt = true
    thinking_timeout_s = 15
    [responder]
    kind = "echo"
    command = []
    url = ""
    model = ""
    system_prompt = ""
    api_key_file = ""
    history_turns = 10
    idle_reset_s = 60
    answers_file = ""
    [sounds]
    wake = "built-in"
    follow_up = "built-in"
    thinking = "built-in"
    done = "built-in"
    error = "built-in"
    offline = "built-in"
    mute = "built-in"
    unmute = "built-in"
    [hooks]
    state = []
    [control]
    socket = "/run/slng-edge/control.sock"
    [status_page]
    listen = ""
    token_file = ""
    [mqtt]
    url = ""
    [debug]
    record_dir = ""
    record_keep = 50
    log_transcripts = false
    """
)


OUR_OWN = {
    "gateway.overrides_in": "header",
    "tts.native_frames": False,
    "wake.engine": "auto",
    "wake.refractory_s": 2.0,
    "turn.eager_answer": False,
    "responder.keep_running": False,
}
"""What the contract leaves open."""


def test_the_built_in_values_are_those_of_the_contract() -> None:
    """Every section, key and default is as documented, in that order, and few are our own."""
    ours: dict[str, dict[str, object]] = {}
    for section, key, value in each_value(Config()):
        if f"{section}.{key}" in OUR_OWN:
            assert value == OUR_OWN[f"{section}.{key}"]
            continue
        ours.setdefault(section, {})[key] = list(value) if isinstance(value, tuple) else value
    assert ours == CONTRACT_DEFAULTS
    assert [(name, list(keys)) for name, keys in ours.items()] == [
        (name, list(keys)) for name, keys in CONTRACT_DEFAULTS.items()
    ]


def test_every_built_in_value_passes_its_own_check() -> None:
    """A check that refuses its own default would make `config init` write a broken file."""
    for section in dataclasses.fields(Config):
        values = getattr(Config(), section.name)
        for key in dataclasses.fields(values):
            assert key.metadata["check"](getattr(values, key.name)) == "", key.name


def test_a_configuration_cannot_be_changed() -> None:
    """Threads share it without a lock."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().stt.model = "other"  # type: ignore[misc]


def test_the_built_in_configuration_is_available_throughout() -> None:
    """Nobody is told that a default cannot be done."""
    assert unavailable(Config()) == []


@pytest.mark.parametrize(
    "setting",
    [
        "gateway.protocol=unified",
        "gateway.tier=enterprise",
        "gateway.tier=free",
        'stt.fallbacks=["slng/other"]',
        'tts.fallbacks=["slng/other"]',
        "tts.warm_standby=true",
        "audio.echo_cancel=off",
        "sounds.wake=off",
        "turn.barge_in=off",
        "audio.echo_cancel=apm",
        "wake.mode=word",
        "wake.button_gpio=17",
        "responder.kind=openai",
        "responder.answers_file=/a.toml",
        "sounds.done=/done.wav",
    ],
)
def test_what_can_be_done_is_not_named(setting: str) -> None:
    """Other values than the default are available, too."""
    assert unavailable(load_config("/dev/null", [setting], {})) == []


CLASSIC = ("gateway.protocol=classic", "stt.model=whisper", "tts.model=orpheus")


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["stt.model=kyutai", "tts.model=elevenlabs", "tts.native_frames=true"],
        ["stt.fallbacks=['kyutai']", "tts.fallbacks=['deepgram', 'cartesia']"],
        ["tts.native_frames=true", "tts.fallbacks=['elevenlabs']"],
        ["gateway.tier=free", "stt.keepalive_s=1"],
    ],
)
def test_the_classic_protocol_takes_its_own_models(settings: list[str]) -> None:
    """By the names that it knows, as models and as fallbacks."""
    assert unavailable(load_config("/dev/null", [*CLASSIC, *settings], {})) == []


TTS_NAMES = (
    "orpheus or orpheus-indic or kokoro or cosyvoice or chatterbox or xtts or elevenlabs or "
    "deepgram or cartesia"
)


@pytest.mark.parametrize(
    ("setting", "key", "end"),
    [
        ("stt.model=wisper", 'stt.model = "wisper"', 'kyutai or whisper; did you mean "whisper"?'),
        ("stt.model=slng/x:1", 'stt.model = "slng/x:1"', "use kyutai or whisper"),
        ("stt.fallbacks=['nova']", 'stt.fallbacks = "nova"', "use kyutai or whisper"),
        (
            "tts.model=slng/deepgram/aura:2-en",
            'tts.model = "slng/deepgram/aura:2-en"',
            f'use {TTS_NAMES}; did you mean "deepgram"?',
        ),
        (
            "tts.fallbacks=['kokoro', 'Orpheus_Indic']",
            'tts.fallbacks = "Orpheus_Indic"',
            f'use {TTS_NAMES}; did you mean "orpheus-indic"?',
        ),
        ("tts.sample_rate=16000", "tts.sample_rate = 16000", "use 24000"),
        ("tts.speed=1.5", "tts.speed = 1.5", "use 1.0"),
        ("stt.audio_frames=base64", 'stt.audio_frames = "base64"', 'use "binary"'),
    ],
)
def test_what_the_classic_protocol_does_not_know_is_named(setting: str, key: str, end: str) -> None:
    """With what it knows instead; it loads, as a command may not need this session."""
    (line,) = unavailable(load_config("/dev/null", [*CLASSIC, setting], {}))
    assert line.startswith(f'{key} does not go with gateway.protocol = "classic"; ')
    assert line.endswith(end)


def test_both_built_in_models_are_named_on_the_classic_protocol() -> None:
    """At once; each line begins with its session, as `stt` and `tts` leave out the other's."""
    lines = unavailable(load_config("/dev/null", ["gateway.protocol=classic"], {}))
    assert [line.split()[0] for line in lines] == ["stt.model", "tts.model"]


def test_nothing_heavy_is_imported_with_the_configuration() -> None:
    """The configuration and the command line stay free of numpy and of the hardware libraries."""
    script = (
        "import sys, slng_edge.cli.logs, slng_edge.config_loading;"
        "heavy = {'numpy', 'pyaudio', 'websocket', 'webrtcvad', 'soxr', 'websockets'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
