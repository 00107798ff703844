"""Configuration as TOML text loads back to what it was written from."""

import datetime
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slng_edge.config import Config, each_value
from slng_edge.config_loading import load, load_config
from slng_edge.config_text import effective_text, starter_text, toml_value, without_password

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_whatever_toml_can_hold_reads_back(value: Any) -> None:
    """Quotes, control characters, odd keys: what is written is what is read."""
    assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value


@pytest.mark.parametrize("value", [datetime.date(2025, 1, 2), datetime.time(3, 4)])
def test_dates_and_times_can_be_shown(value: Any) -> None:
    """A message may have to repeat one."""
    assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value


def test_what_toml_cannot_hold_is_an_error() -> None:
    """TOML has no null."""
    with pytest.raises(TypeError, match="NoneType"):
        toml_value(None)


def test_the_starter_file_loads_back_to_the_built_in_values(tmp_path: Path) -> None:
    """It has every key, so that nothing is to be looked up elsewhere, and changes none."""
    file = tmp_path / "config.toml"
    file.write_text(starter_text(), encoding="utf-8")
    loaded = load(file, (), {})
    assert loaded.config == Config()
    assert len(loaded.origins) == len(list(each_value(Config())))


def test_the_starter_file_is_commented_and_fits_a_page() -> None:
    """Comments come from the fields themselves; no line is wider than 100 columns."""
    lines = starter_text().splitlines()
    assert 'audio_frames = "binary"           # or "base64"' in lines
    assert max(map(len, lines)) <= 100


def test_the_effective_text_says_where_each_value_came_from_and_loads_again(
    tmp_path: Path,
) -> None:
    """What `config show` prints can be used as a file."""
    file = tmp_path / "odd\x01name.toml"
    file.write_text('[responder]\nkind = "command"\ncommand = ["a", "\\"b"]\n')
    loaded = load(file, ["stt.options.a.b=1", "tts.speed=2"], {"SLNG_EDGE_TTS__VOICE": "a\\b"})
    text = effective_text(loaded.config, loaded.origins)
    assert "speed = 2.0                       # -s\n" in text
    assert "# environment SLNG_EDGE_TTS__VOICE\n" in text
    again = tmp_path / "again.toml"
    again.write_text(text, encoding="utf-8")
    assert load_config(again, (), {}) == loaded.config


def test_the_effective_text_masks_the_password_of_an_address() -> None:
    """The address stays one that loads."""
    config = load_config("/dev/null", ["mqtt.url=mqtts://me:hunter2@broker/home"], {})
    text = effective_text(config, {})
    assert 'url = "mqtts://me:***@broker/home"' in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("mqtt://me:pw@host", "mqtt://me:***@host"),
        ("mqtt://host:1883/a@b", "mqtt://host:1883/a@b"),
        ("https://host/ask?token=abc&lang=en", "https://host/ask?token=***&lang=***"),
        (("curl", "http://a:b@c/?key=d"), ("curl", "http://a:***@c/?key=***")),
        ("what?=no", "what?=no"),
        ("plain", "plain"),
        (3, 3),
    ],
)
def test_only_a_secret_is_masked(value: Any, shown: Any) -> None:
    """A password and what a query holds; host, port, path and other values stay readable."""
    assert without_password(value) == shown
