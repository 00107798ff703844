"""What stands in files, in the environment and on the command line."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from fuzz.network_bytes import WAV_WORDS, wav_bytes
from fuzz.shapes import joined, json_text, lines, marked, numbers, objects, one_of, raw, texts, utf8
from fuzz.target import SEPARATOR, Target, check_hides, check_problems, check_text, file_with
from hypothesis import strategies as st

from slng_edge import secrets
from slng_edge.audio.device_cards import sound_cards
from slng_edge.audio.wav_files import read_wav
from slng_edge.config import CLASSIC_MODELS, Config, each_value
from slng_edge.config_loading import load, unavailable
from slng_edge.config_text import effective_text
from slng_edge.diagnostics.environment_files import environment_in
from slng_edge.errors import ConfigError, InputFileError
from slng_edge.protocol.routes import build_endpoint
from slng_edge.proxies import proxy_for
from slng_edge.secrets import read_secret_file
from slng_edge.service.kept_settings import VOLUME_LIMIT, KeptSettings
from slng_edge.wake.micro_wakeword import _check_manifest

LONGEST_PROBLEM = 2000
_NO_LIBRARY = Path("/nonexistent/libtensorflowlite_c.so")


def wav_file(data: bytes) -> None:
    """A WAV file of somebody's: no more samples than there are bytes for, or an error."""
    with file_with(data) as path:
        try:
            rate_hz, channels, samples = read_wav(path)
        except InputFileError as error:
            check_text(str(error), 400)
            return
    assert rate_hz > 0
    assert samples.shape[0] > 0
    assert samples.shape == (samples.shape[0], channels)
    assert samples.nbytes <= len(data)


def config(data: bytes) -> None:
    """A file, variables of the environment and -s: a configuration that can be written and read
    again, or a line for each thing that is wrong."""
    text, *given = data.split(SEPARATOR)
    variables, overrides = {}, []
    for each in given:
        words = each.decode("utf-8", "surrogateescape")
        name, equals, value = words.partition("=")
        if name.startswith("SLNG_EDGE_") and equals and "\0" not in words:
            variables[name] = value
        else:
            overrides.append(words)
    with file_with(text) as path:
        try:
            loaded = load(path, overrides, variables)
        except ConfigError as error:
            check_problems(error, LONGEST_PROBLEM + max(map(len, given), default=0) + len(text))
            return
    for line in unavailable(loaded.config):
        assert "=" in line
    written = effective_text(loaded.config, loaded.origins)
    with file_with(written.encode("utf-8")) as path:
        again = load(path, (), {})
    # Not the values themselves: passwords in addresses are masked.
    assert effective_text(again.config, loaded.origins) == written


def secret_file(data: bytes) -> None:
    """A file with a key: the key, or an error without a character of it."""
    known = set(secrets._known)
    try:
        with file_with(data) as path:
            key = read_secret_file(path, "the key")
        check_text(key, len(data))
        assert key.isascii()
        assert key.isprintable()
        # A key of a few stars, or one that is a part of others, is beyond what masking is for.
        if len(key) >= secrets.SHORTEST_MASKED and "*" not in key:
            assert key not in secrets.mask(f"<{key}> <{key}>")
    except ConfigError as error:
        shown = data.decode("latin-1").strip()
        if len(shown) >= 8:
            check_hides(error, shown)
    finally:
        secrets._known.clear()
        secrets._known.update(known)


def kept_settings(data: bytes) -> None:
    """The file with mute and volume: what is in it, or as configured; never an error."""
    with file_with(data) as path:
        kept = KeptSettings(Path(path))
    assert isinstance(kept.muted, bool)
    volume = kept.volume(1.0)
    assert isinstance(volume, float)
    assert 0.0 <= volume <= VOLUME_LIMIT


def wake_manifest(data: bytes) -> None:
    """The manifest of a wake word model; the model itself is looked into by a process."""
    with file_with(data) as path, contextlib.suppress(ConfigError):
        _check_manifest(Path(path), _NO_LIBRARY)


def environment_file(data: bytes) -> None:
    """A file that systemd reads into the environment."""
    text = data.decode("utf-8", "replace")
    for name, value in environment_in(text).items():
        assert name.isascii()
        assert name.replace("_", "a").isalnum()
        check_text(value, len(text))


def sound_card_names(data: bytes) -> None:
    """What the kernel says of the sound cards: a USB device names itself."""
    with file_with(data) as path:
        for line in sound_cards(Path(path), Path("/nonexistent")):
            check_text(line, len(data))


def endpoint(data: bytes) -> None:
    """What of the configuration goes into the address and the headers of a session."""
    parts = [part.decode("utf-8", "surrogateescape") for part in data.split(SEPARATOR)]
    protocol, url, model, key, region, agent, language, in_query = (*parts, *[""] * 8)[:8]
    try:
        found = build_endpoint(
            kind="stt",
            model=model,
            key=key,
            protocol=protocol,
            url=url,
            region=region,
            agent_id=agent,
            session_id=agent,
            language=language,
            overrides_in="query" if in_query else "header",
        )
    except ConfigError as error:
        check_problems(error, LONGEST_PROBLEM + 8 * len(data))
        elsewhere = (protocol, url, model, region, agent, language)
        if (
            len(key) > 12
            and key.startswith("sk-")
            and not any(key.strip() in part for part in elsewhere)
        ):
            check_hides(error, key.strip())
        return
    assert found.url.isascii() or model or url
    assert found.url.startswith(("ws://", "wss://"))
    assert not set(found.url) & set(" \r\n\t#")
    if found.url.startswith("ws://"):
        assert "localhost" in found.url or "127." in found.url or "[" in found.url
    for name, value in found.headers:
        assert name.isascii()
        assert not set(value) & set("\r\n\0")
    elsewhere = (protocol, url, model, region, agent, language)
    if (
        len(key) > 12
        and key.startswith("sk-")
        and not any(key.strip() in part for part in elsewhere)
    ):
        assert key.strip() not in repr(found)


def proxy(data: bytes) -> None:
    """A proxy that the environment names."""
    variable, _, rest = data.partition(SEPARATOR)
    value, _, exempted = rest.partition(SEPARATOR)
    names = {"https_proxy": value, "no_proxy": exempted}
    if b"\0" in value + exempted:
        return
    kept = {name: os.environ.pop(name) for name in tuple(os.environ) if "proxy" in name.lower()}
    known = set(secrets._known)
    try:
        os.environb.update({name.encode(): text for name, text in names.items() if text})
        found = proxy_for("wss", "gateway.test" if variable else "10.1.2.3", 443)
        if found is not None:
            assert found.host
            assert 0 < found.port <= 65535
            found.authorization.encode("ascii")
            assert not set(found.authorization) & set("\r\n")
    except ConfigError as error:
        check_problems(error, LONGEST_PROBLEM)
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(kept)
        secrets._known.clear()
        secrets._known.update(known)


_keys = [f"{section}.{key}" for section, key, _ in each_value(Config())]
_key = st.sampled_from([key.encode() for key in _keys])
_value = st.one_of(
    one_of(
        *(b"true", b"1", b"-1", b"1e9", b"nan", b"inf", b'"a"', b"[]", b'["a", "b"]', b"{ a = 1 }"),
        *(b"0x" + b"f" * 4000, b"9" * 4400, b"1979-05-27", b"{ a.b.c = 1 }", b"[[[[[[]]]]]]"),
        *(b'"classic"', b'"wss://u:p@h?q=1"', b"{ api_key = 1 }", b'"\\ud800"', b"'file:a.wav'"),
    ),
    utf8,
    raw,
)
_override = st.tuples(_key, one_of(b"=", b".a=", b"=", b".a.b=", b""), _value).map(b"".join)
_deep = st.sampled_from([3, 100, 2000]).map(lambda deep: b"stt.options" + b".a" * deep + b"=1")
_toml = lines(
    _key.map(lambda key: b"[" + key.partition(b".")[0] + b"]"),
    st.tuples(_key.map(lambda key: key.partition(b".")[2]), one_of(b" = "), _value).map(b"".join),
    one_of(b"[stt.options]", b"a" + b".a" * 1200 + b" = 1", b"# c", b"x = [" * 300),
    end=b"\n",
)
_variable = st.tuples(
    one_of(b"SLNG_EDGE_STT__MODEL=", b"SLNG_EDGE_TTS__OPTIONS__A=", b"SLNG_EDGE_X__Y="), _value
).map(b"".join)
_configs = st.tuples(_toml, one_of(SEPARATOR), joined(_override, _override, _variable, _deep)).map(
    b"".join
)
_kept = json_text(objects({"muted": st.booleans(), "volume": numbers, "volume_of_config": numbers}))
_micro = objects({"probability_cutoff": numbers, "sliding_window_size": numbers})
_manifest = json_text(
    objects({"wake_word": texts, "model": texts, "micro": _micro, "version": numbers})
)
_endpoints = st.tuples(
    one_of(b"bridge", b"unified", b"classic", b"x"),
    st.one_of(one_of(b"", b"wss://a:1", b"ws://127.0.0.1:1", b"ws://[::1]", b"wss://a/b"), utf8),
    st.one_of(
        st.sampled_from([m.encode() for m in CLASSIC_MODELS["stt"]]), one_of(b"slng/a:b"), utf8
    ),
    *(st.one_of(one_of(b"", b"sk-0123456789abcdef"), utf8) for _ in range(4)),
    one_of(b"", b"1"),
).map(SEPARATOR.join)
_CONFIG_WORDS = (
    *(f"[{key.partition('.')[0]}]\n".encode() for key in _keys[::5]),
    *(b"\n" + key.partition(".")[2].encode() + b" = " for key in _keys[::3]),
    *(SEPARATOR + key.encode() + b"=" for key in _keys[::4]),
    *(b"\x1eSLNG_EDGE_STT__OPTIONS__A=", b"\x1estt.options.a=", b'"""', b"0x", b"inf", b"nan"),
)
TARGETS = (
    Target("wav_file", wav_file, wav_bytes, WAV_WORDS),
    Target("config", config, _configs, _CONFIG_WORDS, longest_bytes=8192),
    Target(
        "secret_file",
        secret_file,
        st.one_of(utf8, raw, one_of(b"key\n", b"a b", b"***a***", b"k" * 16390)),
        longest_bytes=secrets.SECRET_FILE_LIMIT_BYTES + 64,
    ),
    Target("kept_settings", kept_settings, _kept, (b'{"muted":', b'"volume":', b"NaN", b"1e999")),
    Target(
        "wake_manifest",
        wake_manifest,
        _manifest,
        (b'"wake_word":"', b'"model":"', b'"micro":{', b'"probability_cutoff":', b"Infinity"),
    ),
    Target(
        "environment_file",
        environment_file,
        lines(
            st.tuples(one_of(b"A=", b"export B=", b"# ", b";"), st.one_of(raw, utf8)).map(b"".join)
        ),
        (b"='", b'="', b"\\\n", b"''", b'""', b"\n#", b"A="),
    ),
    Target("sound_card_names", sound_card_names, lines(utf8, raw, marked(b" 0 [", raw))),
    Target(
        "endpoint", endpoint, _endpoints, (b"wss://", b"ws://", b"bridge\x1e", b"classic\x1e", b"@")
    ),
    Target(
        "proxy",
        proxy,
        st.tuples(
            one_of(b"", b"1"),
            one_of(SEPARATOR),
            one_of(b"http://", b"https://", b""),
            st.one_of(
                one_of(b"u:p@h:1", b"u:%ff@h", b"h:99999", b"[::1]:1", b"u:\xff@h", b":0"), raw
            ),
            one_of(SEPARATOR),
            st.one_of(one_of(b"*", b"10.0.0.0/8", b".test", b"gateway.test"), raw),
        ).map(b"".join),
        (b"http://", b"@", b"%", b":3128", b"10.0.0.0/8,", b"[::1]"),
    ),
)
