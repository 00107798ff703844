"""`config show`, `config check` and `config init`, as they are typed."""

import json
import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from slng_edge import secrets
from slng_edge.cli import main
from slng_edge.config import Config
from slng_edge.config_loading import load_config


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings, keys or files of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("SLNG_", "CREDENTIALS_DIRECTORY")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SLNG_EDGE_CONFIG", "/dev/null")
    monkeypatch.setenv("HOME", str(tmp_path))
    before = secrets._known.copy()
    yield
    secrets._known.clear()
    secrets._known.update(before)


def test_show_prints_toml_that_loads_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Values with their origins; the file can be saved and used."""
    assert main(["config", "show", "-s", "tts.speed=2", "-s", "stt.options.a=1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# The file: /dev/null\n# The key: none was found\n")
    file = tmp_path / "shown.toml"
    file.write_text(text)
    config = load_config(file, (), {})
    assert (config.tts.speed, config.stt.options) == (2, {"a": 1})


def test_show_json_has_values_and_origins(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts: file, key, config and origins."""
    assert main(["config", "show", "--json", "-s", "wake.words=['a']"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["file"] == "/dev/null"
    assert shown["config"]["wake"]["words"] == ["a"]
    assert shown["config"]["gateway"]["world_part"] == "us-east"
    assert shown["origins"]["wake.words"] == "-s"
    assert shown["origins"]["gateway.world_part"] == "built-in"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_show_never_prints_a_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: list[str]
) -> None:
    """It says where the key is; files that hold keys are shown as paths."""
    monkeypatch.setenv("SLNG_API_KEY", "sk-very-secret")
    settings = ["gateway.provider_key_file=/etc/key", "mqtt.url=mqtt://me:hunter2@b"]
    assert main(["config", "show", *form, *(f"-s{setting}" for setting in settings)]) == 0
    out = capsys.readouterr().out
    assert "sk-very-secret" not in out
    assert "hunter2" not in out
    assert "in $SLNG_API_KEY" in out
    assert "/etc/key" in out


def test_show_says_what_is_wrong_with_the_key(capsys: pytest.CaptureFixture[str]) -> None:
    """And shows the rest nevertheless."""
    assert main(["config", "show", "-s", "gateway.api_key_file=/not/there"]) == 0
    assert "# The key: gateway.api_key_file: cannot read /not/there" in capsys.readouterr().out


def test_check_says_ok_and_names_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that is in force, or that there is none."""
    file = tmp_path / "c.toml"
    file.write_text("[tts]\nspeed = 2\n")
    assert main(["config", "check", "--config", str(file)]) == 0
    assert capsys.readouterr().out == f"ok: {file}\nkey: none was found\n"
    monkeypatch.delenv("SLNG_EDGE_CONFIG")
    if not Path("/etc/slng-edge/config.toml").exists():
        assert main(["config", "check"]) == 0
        assert capsys.readouterr().out.startswith("ok: no configuration file, built-in values\n")


def test_check_lists_every_wrong_value(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A line each on stderr, and exit status 78."""
    file = tmp_path / "c.toml"
    file.write_text("[tts]\nspeed = 'fast'\n[vad]\nstart = 1\n")
    assert main(["--config", str(file), "config", "check"]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f'slng-edge: tts.speed = "fast" must be a number (file {file})\n'
        f"slng-edge: vad.start is not a known key; did you mean vad.start_ms? (file {file})\n"
    )


def test_check_lists_what_run_would_refuse(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What the protocol does not know, keys that cannot be used, addresses that may not be."""
    settings = [
        "gateway.protocol=classic",
        "gateway.url=ws://192.0.2.1:80",
        "gateway.api_key_file=/not/there",
        "gateway.provider_key_file=/nor/there",
    ]
    assert main(["config", "check", *(f"-s{setting}" for setting in settings)]) == 78
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == [
        "stt.model",
        "tts.model",
        "gateway.api_key_file",
        "gateway.provider_key_file",
        "gateway.url",
    ]


def test_init_writes_a_file_that_is_the_built_in_configuration(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With the folders on its way; it says which file it wrote."""
    assert main(["config", "init", "~/.config/slng-edge/config.toml"]) == 0
    file = tmp_path / ".config/slng-edge/config.toml"
    assert capsys.readouterr().out == f"{file}\n"
    assert load_config(file, (), {}) == Config()
    assert stat.S_IMODE(file.stat().st_mode) & 0o111 == 0


def test_init_without_a_path_writes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """Even where the present configuration is broken."""
    assert main(["--config", "/not/there", "config", "init"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["audio"]["frame_ms"] == 20


def test_init_leaves_an_existing_file_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It may hold an hour's work."""
    file = tmp_path / "c.toml"
    file.write_text("# mine\n")
    assert main(["config", "init", str(file)]) == 1
    assert capsys.readouterr().err == f"slng-edge: {file} exists and is left as it is\n"
    assert file.read_text() == "# mine\n"


def test_init_says_why_it_cannot_write(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, no traceback."""
    assert main(["config", "init", "/proc/none/c.toml"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("slng-edge: cannot write /proc/none/c.toml: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "argv", [["check", "file.toml"], ["show", "file.toml"], ["init", "--json"]]
)
def test_arguments_of_another_action_are_refused(argv: list[str]) -> None:
    """Rather than passed over."""
    assert main(["config", *argv]) == 2


def test_check_as_json_says_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """For who looks after many: one object, whatever is wrong."""
    file = tmp_path / "config.toml"
    file.write_text("[tts]\nspeed = 1.1\n")
    assert main(["--config", str(file), "config", "check", "--json"]) == 0
    good = json.loads(capsys.readouterr().out)
    assert (good["ok"], good["file"], good["problems"]) == (True, str(file), [])
    file.write_text("[tts]\nspeed = 'fast'\nvoise = 'x'\n")
    assert main(["--config", str(file), "config", "check", "--json"]) == 78
    bad = json.loads(capsys.readouterr().out)
    assert not bad["ok"]
    assert len(bad["problems"]) == 2
    assert main(["config", "check", "--json", "-sresponder.kind=http"]) == 78
    assert json.loads(capsys.readouterr().out)["problems"]
