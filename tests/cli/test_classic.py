"""Every command on the classic protocol."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import SlngEdge, read_wav_file, speech_like, write_wav

from slng_edge.simulator import Faults, LocalGateway, ToneSynthesizer

CLASSIC = (
    *("-s", "gateway.protocol=classic"),
    *("-s", "stt.model=whisper", "-s", "tts.model=kokoro"),
)


@pytest.fixture
def talk(tmp_path: Path) -> str:
    """Two seconds of sound in a WAV file."""
    return write_wav(tmp_path / "talk.wav", speech_like(2.0)).name


@pytest.mark.parametrize("fault", [(), ("several_finals=2",), ("duplicate_final",)])
def test_stt_gives_every_word_of_a_file_once(
    slng_edge: SlngEdge, gateway: LocalGateway, talk: str, fault: tuple[str, ...]
) -> None:
    """Though the last final says again what the ones before it said."""
    gateway.faults = Faults(*fault)
    ended = slng_edge(*CLASSIC, "stt", "--realtime", talk)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.split() == ["one", "two", "three", "four"]
    assert len(ended.out.splitlines()) == 1 + ("several_finals=2" in fault)


def test_stt_has_json_and_subtitles(slng_edge: SlngEdge, talk: str) -> None:
    """With the length of the file, which the final tells."""
    lines = slng_edge(*CLASSIC, "stt", "--format", "json", talk).out.splitlines()
    final = json.loads(lines[-1])
    assert (final["text"], final["duration_s"]) == ("one two three four", 2.0)
    subtitles = slng_edge(*CLASSIC, "stt", "--format", "srt", talk).out
    assert subtitles == "1\n00:00:00,000 --> 00:00:02,000\nfive six\n\n"


def test_stt_survives_a_reset(slng_edge: SlngEdge, gateway: LocalGateway, talk: str) -> None:
    """The file is sent again, from its start."""
    gateway.faults = Faults("reset_after_bytes=20000@1")
    ended = slng_edge(*CLASSIC, "stt", talk)
    assert (ended.status, ended.out) == (0, "one two three four\n")
    assert gateway.connections[-1].audio == speech_like(2.0).tobytes()


def test_the_microphone_is_understood(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """`stt` without a file."""
    write_wav(tmp_path / "in.wav", np.concatenate([speech_like(1.0), np.zeros(16000, np.int16)]))
    ended = slng_edge(*CLASSIC, "stt", "-s", "audio.input=file:in.wav")
    assert (ended.status, ended.out) == (0, "one two three four\n")


@pytest.mark.parametrize(
    "model",
    [
        ("kokoro",),
        ("elevenlabs", "-s", "tts.native_frames=true"),
        ("orpheus", "-s", "tts.native_frames=true"),
        ("orpheus-indic", "-s", "tts.language=hi"),
        ("cartesia", "-s", 'tts.options.language="fr"'),
    ],
    ids=lambda argv: argv[0],
)
def test_tts_speaks(slng_edge: SlngEdge, tmp_path: Path, model: tuple[str, ...]) -> None:
    """Every sample, of a text and of lines."""
    argv = (*CLASSIC, "tts", "--out", "x.wav", "-m", *model)
    ended = slng_edge(*argv, "-", stdin=b"Hello there.\nAnd more.\n")
    assert (ended.status, ended.err) == (0, "")
    tones = ToneSynthesizer()
    wanted = [tones.synthesize(text, 24000) for text in ("Hello there.", "And more.")]
    assert np.array_equal(read_wav_file(tmp_path / "x.wav")[1], np.concatenate(wanted))


def test_a_voice_of_the_command_line_is_asked_for(
    slng_edge: SlngEdge, gateway: LocalGateway
) -> None:
    """As on every protocol; without one, the model's own default."""
    assert slng_edge(*CLASSIC, "tts", "Hi.", "--out", "-", "-v", "anna").status == 0
    assert slng_edge(*CLASSIC, "tts", "Hi.", "--out", "-").status == 0
    voices = [each.of_type("client", "init")[0]["voice_id"] for each in gateway.connections]
    assert voices == ["anna", "af"]


def test_run_answers(slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path) -> None:
    """The loop: a question is heard, and its answer sounds."""
    pause = np.zeros(16000, np.int16)
    write_wav(tmp_path / "in.wav", np.concatenate([pause, speech_like(1.0), pause]))
    files = ("-s", "audio.input=file:in.wav", "-s", "audio.output=file:out.wav")
    ended = slng_edge(*CLASSIC, "run", *files, "--events", "-")
    assert ended.status == 0
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert [each["text"] for each in events if each["type"] == "final"] == ["one two three four"]
    assert [each["type"] for each in events].count("playback_end") == 1
    assert {record.model for record in gateway.connections} == {"whisper", "kokoro"}
    assert read_wav_file(tmp_path / "out.wav")[1].any()


@pytest.mark.parametrize("command", [("run",), ("tts", "hi"), ("config", "check")])
def test_a_model_of_another_protocol_is_refused(
    slng_edge: SlngEdge, command: tuple[str, ...]
) -> None:
    """With the one that was probably meant."""
    ended = slng_edge("-s", "gateway.protocol=classic", *command)
    assert ended.status == 78
    assert (
        'tts.model = "slng/deepgram/aura:2-en" does not go with gateway.protocol = "classic"'
    ) in ended.err
    assert 'did you mean "deepgram"?' in ended.err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("tts.model=orpheus-indic", "tts.language"),
        ("tts.options.type=x", "tts.options.type"),
        ("tts.options.context_id=7", "tts.options.context_id"),
        ("tts.native_frames=true", "tts.native_frames"),
    ],
)
def test_config_check_says_what_a_session_would(
    slng_edge: SlngEdge, setting: str, said: str
) -> None:
    """Not only when a session is made."""
    ended = slng_edge(*CLASSIC, "-s", setting, "config", "check")
    assert ended.status == 78
    assert len(ended.err.splitlines()) == 1
    assert said in ended.err


def test_config_check_is_content_with_what_can_be(slng_edge: SlngEdge) -> None:
    """With every key that the classic protocol has to itself."""
    settings = ("tts.model=elevenlabs", "tts.native_frames=true", "gateway.overrides_in=query")
    argv = [word for setting in settings for word in ("-s", setting)]
    assert slng_edge(*CLASSIC, *argv, "config", "check").status == 0


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_the_demo_runs_whatever_is_configured(slng_edge: SlngEdge, tmp_path: Path) -> None:
    """It speaks to a gateway of its own, in the way that one is known to understand."""
    config = tmp_path / "c.toml"
    config.write_text(
        '[gateway]\nprotocol = "classic"\ntier = "free"\noverrides_in = "query"\n'
        'region = "eu-north-1"\n'
        '[stt]\nmodel = "whisper"\nfallbacks = ["kyutai"]\n'
        '[tts]\nmodel = "orpheus"\nfallbacks = ["elevenlabs"]\nnative_frames = true\n'
        '[audio]\noutput = "null"\n'
    )
    ended = slng_edge("--config", str(config), "demo", timeout_s=60)
    assert (ended.status, ended.err) == (0, "")
    assert "and was played on the speaker just now" in ended.out
