"""What can be configured: one frozen dataclass a section, in the order of the file.

Each field carries the comment that `config init` writes beside it and the check that
`config_loading` applies; the defaults here are the built-in ones. The annotation of a field
is its type in TOML: lists are tuples here, and an `options` table is a mapping that nobody
may change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from slng_edge import config_checks as check
from slng_edge.config_checks import Check

# Source of these three: protocol.md, 1 and 2.
WORLD_PARTS = (
    *("eu-north", "eu-west", "us-east", "us-west"),
    *("au", "br", "gb", "id", "il", "in", "jp", "sg", "za"),
)
REGIONS = ("ap-southeast-2", "eu-north-1", "us-east-1")
WORLD_PART_OVERRIDES = ("ap", "eu", "na")

CLASSIC_MODELS: Mapping[str, tuple[str, ...]] = {
    "stt": ("kyutai", "whisper"),
    "tts": (
        *("orpheus", "orpheus-indic", "kokoro", "cosyvoice", "chatterbox", "xtts"),
        *("elevenlabs", "deepgram", "cartesia"),
    ),
}
"""What `gateway.protocol = "classic"` knows, by section: protocol.md, 1."""

EXTERNAL_CLASSIC_MODELS = ("elevenlabs", "deepgram", "cartesia")
"""Of those, the ones that SLNG does not host itself: protocol.md, 5."""

CLASSIC_TTS_RATE_HZ = 24000
"""The one rate of classic speech: protocol.md, 5."""

NATIVE_FRAMES_MODELS = ("orpheus", "elevenlabs")
"""The classic models with frames of the provider's own: protocol.md, 5."""

STT_SAMPLE_RATES_HZ = (8000, 16000, 32000, 48000)
"""The rates at which webrtcvad can judge a frame."""

SHORTEST_S = 0.01

T = TypeVar("T")


def setting(default: T, about: str = "", allowed: Check = check.anything) -> T:
    """A field with its built-in value, the comment for the file, and its rule."""
    metadata = {"about": about, "check": allowed}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)  # type: ignore[return-value]
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class GatewayConfig:
    """Which gateway, as whom, and how it is reached."""

    world_part: str = setting(
        "us-east", " ".join(WORLD_PARTS) + "; used where url is empty", check.one_of(*WORLD_PARTS)
    )
    url: str = setting(
        "",
        'instead of world_part: "ws://127.0.0.1:8765" (scheme, host, port; no path)',
        check.url("ws", "wss", bare=True),
    )
    protocol: str = setting(
        "bridge",
        '"bridge" | "unified" | "classic" (paths and dialect)',
        check.one_of("bridge", "unified", "classic"),
    )
    api_key_file: str = setting(
        "",
        "the key itself is never in this file: $SLNG_API_KEY, else the systemd credential "
        "slng-api-key, else the file named here, which nobody else may read",
        check.secret_file,
    )
    world_part_override: str = setting(
        "",
        f"X-World-Part-Override: {' '.join(WORLD_PART_OVERRIDES)}",
        check.one_of("", *WORLD_PART_OVERRIDES),
    )
    tier: str = setting(
        "pro", '"free" | "pro" | "enterprise"', check.one_of("free", "pro", "enterprise")
    )
    region: str = setting(
        "", f"X-Region-Override, comma separated: {' '.join(REGIONS)}", check.regions(*REGIONS)
    )
    overrides_in: str = setting(
        "header",
        '"header" | "query": where region and world_part_override go',
        check.one_of("header", "query"),
    )
    provider_key_file: str = setting(
        "", "bring your own key: the file that holds it", check.secret_file
    )
    agent_id: str = setting("", "tracking", check.tracking_id)
    ca_file: str = setting("", "extra certificate authority")
    allow_insecure: bool = setting(False, "ws:// to another host than loopback")
    connect_timeout_s: float = setting(10.0, "", check.between(SHORTEST_S, 300, "seconds"))


@dataclass(frozen=True)
class SttConfig:
    """Speech to text."""

    model: str = setting("slng/deepgram/nova:3-en", "", check.model)
    fallbacks: tuple[str, ...] = setting(
        (), "tried in order, back to the first after a cool-down", check.models
    )
    language: str = setting("", "empty: the model's own")
    sample_rate: int = setting(16000, "", check.one_of(*STT_SAMPLE_RATES_HZ))
    audio_frames: str = setting("binary", 'or "base64"', check.one_of("binary", "base64"))
    keepalive_s: float = setting(
        5.0, "on the free tier never less than 15", check.between(SHORTEST_S, 300, "seconds")
    )
    final_timeout_s: float = setting(5.0, "", check.between(SHORTEST_S, 300, "seconds"))
    offline_keep_s: float = setting(
        30.0, "speech kept while there is no connection", check.between(0, 600, "seconds")
    )
    fallback_cooldown_s: float = setting(60.0, "", check.between(0, 86400, "seconds"))
    options: Mapping[str, Any] = setting(
        {},
        "passed through into init.config (classic: top level); "
        "an encoding other than linear16 is refused",
        check.options,
    )


@dataclass(frozen=True)
class TtsConfig:
    """Text to speech."""

    model: str = setting("slng/deepgram/aura:2-en", "", check.model)
    fallbacks: tuple[str, ...] = setting((), "", check.models)
    voice: str = setting("aura-2-thalia-en")
    sample_rate: int = setting(24000, "", check.between(8000, 48000, "Hz"))
    speed: float = setting(1.0, "", check.between(0.25, 4))
    language: str = setting("", "empty: the model's own")
    warm_standby: bool = setting(False, "a second session, ready before it is needed")
    keepalive_s: float = setting(30.0, "", check.between(SHORTEST_S, 300, "seconds"))
    first_audio_timeout_s: float = setting(
        10.0,
        "some routes synthesize everything before they send",
        check.between(SHORTEST_S, 300, "seconds"),
    )
    native_frames: bool = setting(
        False, "classic orpheus and elevenlabs only: the provider's own frames"
    )
    options: Mapping[str, Any] = setting({}, "as with stt", check.options)


@dataclass(frozen=True)
class AudioConfig:
    """Microphone and speaker."""

    input: str = setting("default", 'a name from `devices`, "file:PATH.wav", "null"', check.device)
    output: str = setting("default", 'a name from `devices`, "file:PATH.wav", "null"', check.device)
    frame_ms: int = setting(20, "", check.one_of(10, 20, 30))
    input_channel: int = setting(0, "which channel of a multi-channel array", check.between(0, 63))
    output_buffer_ms: int = setting(
        60,
        "what may stand in the device: the floor of interrupt latency",
        check.between(10, 2000, "ms"),
    )
    prebuffer_ms: int = setting(
        80, "what is gathered before a reply starts", check.between(0, 5000, "ms")
    )
    volume: float = setting(1.0, "1.0: as it comes; at most 2.0", check.between(0, 2))
    echo_cancel: str = setting(
        "auto", '"auto" | "off" | "apm" | "speex"', check.one_of("auto", "off", "apm", "speex")
    )


@dataclass(frozen=True)
class VadConfig:
    """When somebody speaks."""

    aggressiveness: int = setting(2, "webrtcvad 0..3", check.one_of(0, 1, 2, 3))
    start_ms: int = setting(60, "", check.between(10, 2000, "ms"))
    stop_ms: int = setting(600, "", check.between(50, 10000, "ms"))
    preroll_ms: int = setting(300, "", check.between(0, 5000, "ms"))
    max_utterance_s: float = setting(30.0, "", check.between(0.1, 600, "seconds"))


@dataclass(frozen=True)
class WakeConfig:
    """What makes it listen."""

    mode: str = setting(
        "open", '"open" (VAD alone) | "word" | "push"', check.one_of("open", "word", "push")
    )
    words: tuple[str, ...] = setting(("okay_nabu",), "", check.words)
    threshold: float = setting(0.5, "probability over which a word was said", check.between(0, 1))
    engine: str = setting(
        "auto",
        '"auto" | "micro" | "open" | an entry point of slng_edge.wake_engines',
        check.not_empty,
    )
    refractory_s: float = setting(
        2.0, "no second wake within so long", check.between(0, 60, "seconds")
    )
    follow_up_s: float = setting(8.0, "0: none", check.between(0, 300, "seconds"))
    button_gpio: int = setting(0, "0: none", check.between(0, 511))


@dataclass(frozen=True)
class TurnConfig:
    """Who may speak when."""

    barge_in: str = setting(
        "auto",
        '"on": speech always interrupts; "off": button, command and wake word only; "auto": on, '
        "with an onset threshold that follows the device's own echo; half duplex when it still "
        "interrupted itself twice",
        check.one_of("on", "off", "auto"),
    )
    barge_in_ms: int = setting(200, "speech needed to interrupt", check.between(20, 5000, "ms"))
    resume_false_interrupt: bool = setting(True)
    eager_answer: bool = setting(
        False, "begin to answer at the gateway's utterance_end, before the final"
    )
    thinking_timeout_s: float = setting(15.0, "", check.between(SHORTEST_S, 3600, "seconds"))


@dataclass(frozen=True)
class ResponderConfig:
    """Who answers."""

    kind: str = setting(
        "echo",
        '"echo" | "command" | "openai" | "http" | an entry point of slng_edge.responders',
        check.not_empty,
    )
    command: tuple[str, ...] = setting(
        (), "argv; the text on stdin, the reply on stdout, line by line"
    )
    keep_running: bool = setting(
        False, "command: one process for all turns; a reply ends with an empty line"
    )
    url: str = setting(
        "",
        "openai: base URL of a chat-completions API; http: POST {text, session} -> {reply}",
        check.url("http", "https"),
    )
    model: str = setting("")
    system_prompt: str = setting("")
    api_key_file: str = setting("", "", check.secret_file)
    history_turns: int = setting(10, "", check.between(0, 1000))
    idle_reset_s: float = setting(
        60.0,
        "the next visitor does not inherit the last one's conversation",
        check.between(0, 86400, "seconds"),
    )
    answers_file: str = setting("", "canned answers while the responder cannot be reached")


@dataclass(frozen=True)
class SoundsConfig:
    """Chimes."""

    wake: str = setting("built-in", '"built-in" | "off" | PATH.wav; likewise below', check.sound)
    follow_up: str = setting("built-in", "", check.sound)
    thinking: str = setting("built-in", "", check.sound)
    done: str = setting("built-in", "", check.sound)
    error: str = setting("built-in", "", check.sound)
    offline: str = setting("built-in", "", check.sound)
    mute: str = setting("built-in", "", check.sound)
    unmute: str = setting("built-in", "", check.sound)


@dataclass(frozen=True)
class HooksConfig:
    """Programs to run."""

    state: tuple[str, ...] = setting(
        (),
        "argv, run with SLNG_EDGE_STATE and SLNG_EDGE_EVENT (JSON) on every change of state",
    )


@dataclass(frozen=True)
class ControlConfig:
    """The control socket."""

    socket: str = setting(
        "/run/slng-edge/control.sock",
        'mode 0660; "" for none; where it cannot be made: a warning, and on without',
        check.socket_path,
    )


@dataclass(frozen=True)
class StatusPageConfig:
    """The status page."""

    listen: str = setting("", '"127.0.0.1:8990": the kiosk page and /metrics', check.listen_address)
    token_file: str = setting("", "needed for any other address", check.secret_file)


@dataclass(frozen=True)
class MqttConfig:
    """Events to a broker."""

    url: str = setting("", '"mqtts://broker:8883/prefix"', check.url("mqtt", "mqtts"))


@dataclass(frozen=True)
class DebugConfig:
    """What to keep for finding faults."""

    record_dir: str = setting("", "last utterances as WAV, bounded")
    record_keep: int = setting(50, "", check.between(1, 100000))
    log_transcripts: bool = setting(False)


@dataclass(frozen=True)
class Config:
    """Everything that can be configured; `Config()` is the built-in configuration."""

    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    stt: SttConfig = field(default_factory=SttConfig)
    tts: TtsConfig = field(default_factory=TtsConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    vad: VadConfig = field(default_factory=VadConfig)
    wake: WakeConfig = field(default_factory=WakeConfig)
    turn: TurnConfig = field(default_factory=TurnConfig)
    responder: ResponderConfig = field(default_factory=ResponderConfig)
    sounds: SoundsConfig = field(default_factory=SoundsConfig)
    hooks: HooksConfig = field(default_factory=HooksConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    status_page: StatusPageConfig = field(default_factory=StatusPageConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    debug: DebugConfig = field(default_factory=DebugConfig)


def each_value(config: Config) -> Iterator[tuple[str, str, Any]]:
    """Section, key and value of everything in `config`, in the order of the file."""
    for section in fields(config):
        part = getattr(config, section.name)
        for key in fields(part):
            yield section.name, key.name, getattr(part, key.name)
