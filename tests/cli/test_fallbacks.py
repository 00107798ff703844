"""`stt` and `tts` where the model fails: fallbacks, `-m`, and what is said of it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from command_line import SlngEdge, read_wav_file, speech_like, write_wav

from slng_edge.simulator import Faults, LocalGateway, ToneSynthesizer

STT = "slng/soniox/stt:3"
TTS = "slng/rime/arcana:3-en"
FALLBACKS = (
    *("-s", f'stt.fallbacks=["{STT}"]', "-s", f'tts.fallbacks=["{TTS}"]'),
    *("-s", "gateway.connect_timeout_s=1"),
)


def models(gateway: LocalGateway) -> list[str]:
    """The models that were ready, in order."""
    return [record.model for record in gateway.connections if record.of_type("server", "ready")]


@pytest.mark.parametrize(
    "fault",
    [
        *("refuse=503@1-2", "never_ready@1-2"),
        *("ready_then_error=provider_error@1-2", "close_after=init:1011@1-2"),
    ],
)
class TestTheModelFails:
    """It is tried twice, then the fallback answers."""

    def test_a_file_is_understood_by_the_fallback(
        self, slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path, fault: str
    ) -> None:
        """Whole, and standard output holds the words alone."""
        write_wav(tmp_path / "talk.wav", speech_like(2.0))
        gateway.faults = Faults(fault)
        ended = slng_edge(*FALLBACKS, "stt", "talk.wav")
        assert (ended.status, ended.out) == (0, "one two three four\n")
        assert models(gateway)[-1] == STT
        # The next connection may have been made already when the file had ended.
        [*_, audio] = filter(None, (record.audio for record in gateway.connections))
        assert audio == speech_like(2.0).tobytes()

    def test_a_text_is_spoken_by_the_fallback(
        self, slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path, fault: str
    ) -> None:
        """Every sample of it; that another voice speaks than was asked for is said."""
        gateway.faults = Faults(fault)
        ended = slng_edge(*FALLBACKS, "tts", "Hello there.", "--out", "x.wav")
        assert ended.status == 0
        wanted = ToneSynthesizer().synthesize("Hello there.", 24000)
        assert np.array_equal(read_wav_file(tmp_path / "x.wav")[1], wanted)
        assert models(gateway)[-1] == TTS
        if "ready_then" not in fault:  # that may come after all was waited for
            assert f"waiting for slng/deepgram/aura:2-en, else {TTS}: " in ended.err


def test_the_microphone_too_has_fallbacks(
    slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path
) -> None:
    """`stt` without a file."""
    write_wav(tmp_path / "talk.wav", np.concatenate([speech_like(1.0), np.zeros(16000, np.int16)]))
    gateway.faults = Faults("refuse=503@1-2")
    ended = slng_edge(*FALLBACKS, "stt", "-s", "audio.input=file:talk.wav")
    assert (ended.status, ended.out) == (0, "one two three four\n")
    assert models(gateway) == [STT]


def test_a_model_that_is_named_is_the_one(
    slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path
) -> None:
    """`-m` has no fallbacks, whatever is configured: to compare models means to get them."""
    write_wav(tmp_path / "talk.wav", speech_like(1.0))
    gateway.faults = Faults("refuse=503")
    for argv in (("stt", "talk.wav"), ("tts", "hi", "--out", "-")):
        began = time.monotonic()
        ended = slng_edge(*FALLBACKS, *argv, "-m", "acme/other:1")
        assert ended.status == 69
        assert "HTTP 503" in ended.err
        assert "waiting for" not in ended.err
        assert time.monotonic() - began < 3


def test_a_model_that_is_named_may_be_one_of_the_fallbacks(slng_edge: SlngEdge) -> None:
    """Rather than to be refused as named twice."""
    assert slng_edge(*FALLBACKS, "tts", "hi", "--out", "-", "-m", TTS).status == 0


def test_where_all_of_them_fail_the_last_reason_is_said(
    slng_edge: SlngEdge, gateway: LocalGateway
) -> None:
    """Within the time that the models have, and with the status of any such failure."""
    gateway.faults = Faults("refuse=503")
    began = time.monotonic()
    ended = slng_edge(*FALLBACKS, "tts", "hi", "--out", "-")
    assert (ended.status, ended.raw) == (69, b"")
    assert ended.err.splitlines()[-1].startswith("slng-edge: the gateway refused the connection")
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(("fault", "status"), [("refuse=401", 77), ("refuse=404", 78)])
def test_what_no_model_can_help_is_said_at_once(
    slng_edge: SlngEdge, gateway: LocalGateway, fault: str, status: int
) -> None:
    """A refused key, a wrong request."""
    gateway.faults = Faults(fault)
    began = time.monotonic()
    ended = slng_edge(*FALLBACKS, "tts", "hi", "--out", "-")
    assert ended.status == status
    assert len(ended.err.splitlines()) == 1
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("fault", ["refuse=503", "refuse=429", "ready_then_error=provider_error"])
@pytest.mark.parametrize("command", ["stt", "tts"])
def test_what_ends_the_command_promises_no_other_attempt(
    slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path, command: str, fault: str
) -> None:
    """It will not be tried again: the command is over."""
    write_wav(tmp_path / "talk.wav", speech_like(1.0))
    gateway.faults = Faults(fault)
    argv = ("stt", "talk.wav") if command == "stt" else ("tts", "hi", "--out", "-")
    settings = ("-s", "gateway.connect_timeout_s=1", "-s", "stt.offline_keep_s=1")
    # How often it is tried until then is the back-off's chance.
    ended = slng_edge(*argv, *settings, timeout_s=90.0)
    assert ended.status == 69
    assert "tried again" not in ended.err.splitlines()[-1]


@pytest.mark.parametrize("fault", ["refuse=503", "refuse=401", "refuse=404"])
@pytest.mark.parametrize("more", [(), ("--log-level", "warning")])
def test_a_refusal_is_said_once(
    slng_edge: SlngEdge, gateway: LocalGateway, tmp_path: Path, fault: str, more: tuple[str, ...]
) -> None:
    """By the error, and not by the log as well."""
    write_wav(tmp_path / "talk.wav", speech_like(1.0))
    gateway.faults = Faults(fault)
    for argv in (("stt", "talk.wav"), ("tts", "hi", "--out", "-")):
        assert slng_edge(*argv, *more).err.count("refused the connection") == 1


def test_a_gateway_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    """Another model would not be there either."""
    began = time.monotonic()
    ended = SlngEdge(tmp_path, "ws://127.0.0.1:1")(*FALLBACKS, "tts", "hi", "--out", "-")
    assert ended.status == 69
    assert "nothing listens there" in ended.err
    assert "waiting for" not in ended.err
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("value", "status", "said"),
    [
        ("http://127.0.0.1:1", 69, "the proxy 127.0.0.1:1 ($HTTPS_PROXY)"),
        ("socks5://127.0.0.1:1", 78, "only http:// proxies"),
        ("http://me:pass/word@127.0.0.1:1", 78, "$HTTPS_PROXY is not an address"),
    ],
)
def test_a_proxy_that_does_not_work_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, status: int, said: str
) -> None:
    """With the variable that it comes from, and without its password."""
    for name in ("https_proxy", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", value)
    ended = SlngEdge(tmp_path, "wss://gateway.invalid")("tts", "hi", "--out", "-")
    assert ended.status == status
    assert said in ended.err
    assert "pass/word" not in ended.err
