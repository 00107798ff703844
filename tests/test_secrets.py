"""Keys are found where they belong, refused where others can read them, and never written."""

import base64
import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from slng_edge import secrets
from slng_edge.config import GatewayConfig
from slng_edge.errors import ConfigError
from slng_edge.secrets import (
    SecretFilter,
    find_api_key,
    hide_known,
    mask,
    read_api_key,
    read_secret_file,
    register_key,
    register_secret,
    secret_variable,
    withheld_from_children,
)

KEY = "sk-Te5t+/4711&key~Never=shown"


@pytest.fixture(autouse=True)
def _fresh_registry() -> Iterator[None]:
    """What one test registers is not masked in the next."""
    before = secrets._known.copy()
    yield
    secrets._known.clear()
    secrets._known.update(before)


def secret_file(directory: Path, content: bytes = b"  from-the-file\n", mode: int = 0o600) -> Path:
    """A file that holds a key."""
    file = directory / "key"
    file.write_bytes(content)
    file.chmod(mode)
    return file


def test_the_variable_wins_over_the_credential_and_that_over_the_file(tmp_path: Path) -> None:
    """The order of the contract, and where each was found."""
    gateway = GatewayConfig(api_key_file=str(secret_file(tmp_path)))
    (tmp_path / "slng-api-key").write_bytes(b"from-systemd\n")
    environ = {"SLNG_API_KEY": " from-environment\n", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_api_key(gateway, environ) == ("from-environment", "$SLNG_API_KEY")
    environ["SLNG_API_KEY"] = " "
    assert find_api_key(gateway, environ) == (
        "from-systemd",
        "the systemd credential slng-api-key",
    )
    environ["CREDENTIALS_DIRECTORY"] = str(tmp_path / "other")
    key, where = find_api_key(gateway, environ)
    assert key == read_api_key(gateway, environ) == "from-the-file"
    assert where == f"gateway.api_key_file {tmp_path}/key"


def test_no_key_is_an_empty_string() -> None:
    """A local gateway needs none; whether one is needed is for the gateway to say."""
    assert find_api_key(GatewayConfig(), {}) == ("", "")


def test_a_file_that_is_not_needed_is_not_looked_at() -> None:
    """With the variable set, a missing file is no error."""
    gateway = GatewayConfig(api_key_file="/does/not/exist")
    assert read_api_key(gateway, {"SLNG_API_KEY": "given-key"}) == "given-key"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The message says how to close it."""
    file = secret_file(tmp_path, mode=mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {file}"):
        read_secret_file(file, "gateway.api_key_file")


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_ones_own_is_read(tmp_path: Path, mode: int) -> None:
    """Surrounding white space is not part of the key."""
    assert read_secret_file(secret_file(tmp_path, mode=mode), "x") == "from-the-file"


def test_a_credential_is_guarded_by_systemd_whatever_its_mode_shows(tmp_path: Path) -> None:
    """With ACLs the group bits show the mask."""
    file = tmp_path / "slng-api-key"
    file.write_bytes(b"from-systemd")
    file.chmod(0o440)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_api_key(GatewayConfig(), environ) == "from-systemd"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"two words-of-it", "does not hold a key"),
        (b"two\nlines-of-it", "does not hold a key"),
        (b"control\x00words-of-it", "does not hold a key"),
        ("wörds-of-it".encode(), "does not hold a key"),
        (b"\x7fELF\x02words-of-it", "does not hold a key"),
        (b"words-of-it" * 2000, "is too long"),
    ],
)
def test_what_cannot_be_a_key_is_refused_without_repeating_it(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    """It would stand in an HTTP header; and it may be a secret all the same."""
    file = secret_file(tmp_path, content)
    with pytest.raises(ConfigError, match=problem) as refused:
        read_secret_file(file, "gateway.provider_key_file")
    assert str(refused.value).startswith("gateway.provider_key_file")
    assert "of-it" not in str(refused.value)


def test_a_key_in_the_environment_is_judged_as_well() -> None:
    """A line break in it would end the header."""
    with pytest.raises(ConfigError, match="SLNG_API_KEY") as refused:
        read_api_key(GatewayConfig(), {"SLNG_API_KEY": "first\nsecond"})
    assert "second" not in str(refused.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A missing one, a directory, and a named pipe, which must not be waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path, problem in (
        (tmp_path / "missing", "No such file"),
        (tmp_path, "not a regular file"),
        (pipe, "not a regular file"),
        ("a\0b", "null"),
    ):
        with pytest.raises(ConfigError, match=problem):
            read_secret_file(path, "x")


def test_the_home_directory_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a shell."""
    monkeypatch.setenv("HOME", str(tmp_path))
    secret_file(tmp_path)
    assert read_secret_file("~/key", "x") == "from-the-file"


@pytest.mark.parametrize(
    ("text", "secrets_given", "masked"),
    [
        ("url?k=abcdef&x", ["abcdef"], "url?k=***&x"),
        ("abcdefgh and abcd", ["abcd", "abcdefgh"], "*** and ***"),
        ("Authorization: Bearer unknown-key-1", [], "Authorization: Bearer ***"),
        ("{'authorization': 'bearer unknown-key-1'}", [], "{'authorization': 'bearer ***'}"),
        ("no secret", ["", "o"], "no secret"),
    ],
)
def test_secrets_are_masked_in_text(text: str, secrets_given: list[str], masked: str) -> None:
    """The longest first, whatever follows "Bearer", and nothing too short to be a key."""
    assert mask(text, secrets_given) == masked


def test_what_was_read_is_masked_from_then_on(tmp_path: Path) -> None:
    """Nobody has to remember to register a key."""
    read_secret_file(secret_file(tmp_path), "x")
    assert mask("it is from-the-file!") == "it is ***!"


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger whose one handler masks, and what it wrote."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(SecretFilter())
    logger = logging.getLogger("tests.secrets")
    logger.propagate = False
    logger.addHandler(handler)
    register_secret("s3cret-key")
    yield logger, written
    logger.removeHandler(handler)


def test_a_secret_is_masked_in_message_arguments_exception_and_stack(
    log: tuple[logging.Logger, io.StringIO],
) -> None:
    """Wherever a library may have put it."""
    logger, written = log
    logger.error("s3cret-key")
    logger.error("%s: %s", "a", ValueError("s3cret-key"))
    logger.error("%(k)s", {"k": "s3cret-key"})
    try:
        raise ValueError("s3cret-key")
    except ValueError:
        logger.exception("failed", stack_info=True)
    assert "s3cret-key" not in written.getvalue()
    assert "a: ***" in written.getvalue()
    assert "ValueError: ***" in written.getvalue()


def test_a_log_call_that_does_not_fit_is_masked_and_does_not_raise(
    log: tuple[logging.Logger, io.StringIO],
) -> None:
    """logging itself would print the arguments as they are."""
    logger, written = log
    logger.error("%d s3cret-key", "s3cret-key")
    assert "s3cret-key" not in written.getvalue()
    assert "arguments that do not fit" in written.getvalue()


DISGUISES = {
    "capitals": KEY.upper(),
    "hexadecimal": KEY.encode().hex(),
    "Base64": base64.b64encode(KEY.encode()).decode(),
    "Base64 of a header": base64.b64encode(b"Authorization: Bearer " + KEY.encode()).decode(),
    "Base64 of user and key": base64.b64encode(b"u:" + KEY.encode() + b"!").decode(),
    "Base64 for addresses": base64.urlsafe_b64encode(b"ab" + KEY.encode()).decode(),
    "an address": quote(KEY, safe=""),
    "an address, all of it": "".join(f"%{ord(each):02X}" for each in KEY),
    "an address, twice": quote(quote(KEY, safe=""), safe=""),
    "JSON": KEY.replace("/", "\\/").replace("k", "\\u006B"),
    "JSON, all of it": "".join(f"\\u{ord(each):04x}" for each in KEY),
    "HTML": KEY.replace("&", "&amp;"),
    "HTML, all of it": "".join(f"&#{ord(each)};" for each in KEY),
    "Python": "".join(f"\\x{ord(each):02x}" for each in KEY),
    "Python in JSON": "".join(f"\\\\x{ord(each):02x}" for each in KEY),
}
"""Ways in which software repeats what it was sent."""


LEFT = {
    "Base64": "***4=",
    "Base64 of a header": "QXV0aG9yaXphdGlvbjogQmVhcmVyIH***",
    "Base64 of user and key": "dTp***iE=",
    "Base64 for addresses": "YWJ***g==",
}
"""Digits that the key shares with what stands around it, or that are not its own at all."""


@pytest.mark.parametrize("name", DISGUISES)
def test_a_key_is_found_as_software_writes_it(name: str) -> None:
    """In what we write, and in what a peer says."""
    register_key(KEY)
    for hide in (mask, hide_known):
        assert hide(f"said: {DISGUISES[name]}.") == f"said: {LEFT.get(name, '***')}."


@pytest.mark.parametrize("name", DISGUISES)
def test_a_gateway_s_json_is_read_as_json(name: str) -> None:
    """All of it escaped, which need not be, and what means something kept."""
    register_key(KEY)
    said = "".join(f"\\u{ord(each):04x}" for each in DISGUISES[name])
    hidden = hide_known(f'{{"text": "{said}\\u000a\\\\u0041\\"\\u0022\\u00e9"}}')
    assert json.loads(hidden) == {"text": f'{LEFT.get(name, "***")}\n\\u0041""\u00e9'}


@pytest.mark.parametrize("name", DISGUISES)
def test_a_traceback_that_quotes_it_is_masked(name: str) -> None:
    """As bytes in an exception of a library, all of it escaped."""
    register_secret(KEY)
    said = "".join(f"\\u{ord(each):04x}" for each in DISGUISES[name])
    assert mask(f"Refused: {said.encode()!r}") == f"Refused: b'{LEFT.get(name, '***')}'"
    assert mask("b'\\\\u0041'") == "b'\\\\u0041'"


def test_what_a_key_says_nothing_about_is_left_as_it_is() -> None:
    """Per cent, ampersands, line breaks, and audio in Base64, which has every short text in it."""
    register_key(KEY)
    register_key("seven77")
    audio = base64.b64encode(bytes(range(256)) * 40).decode()
    said = json.dumps({"text": '50 % of AT&T\n"here"', "data": audio, "n": "\u00e9%41&#65;"})
    assert hide_known(said) == said


def test_a_word_that_is_a_secret_elsewhere_may_be_said() -> None:
    """What follows `?lang=` in an address is masked in the log, and people say it."""
    register_secret("english")
    assert mask("?lang=english") == "?lang=***"
    assert hide_known("do you speak english") == "do you speak english"


def test_a_gateway_cannot_make_the_search_take_long() -> None:
    """What looks like the beginning of a key at every place, as long as messages may be."""
    register_key(KEY)
    started = "".join(f"\\u{ord(each):04x}" for each in KEY[:-1])
    for hostile in (
        started * 400,
        "&#x" + "0" * 65000,
        "%" * 65000,
        started * 30000,
        "%" * 4000000,
    ):
        began = time.thread_time()
        hide_known(hostile)
        assert time.thread_time() - began < 0.15


def test_what_is_started_does_not_inherit_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what a library starts; this process finds it as before, and has it back afterwards."""
    monkeypatch.setenv("SLNG_API_KEY", KEY)
    program = [sys.executable, "-S", "-c", "import os; print(os.environ.get('SLNG_API_KEY'))"]
    with withheld_from_children("SLNG_API_KEY", "NOT_SET"):
        assert subprocess.check_output(program, text=True) == "None\n"
        assert find_api_key(GatewayConfig()) == (KEY, "$SLNG_API_KEY")
        assert find_api_key(GatewayConfig(), {}) == ("", "")
    assert os.environ["SLNG_API_KEY"] == KEY
    assert "NOT_SET" not in os.environ
    monkeypatch.delenv("SLNG_API_KEY")
    assert secret_variable("SLNG_API_KEY") == ""
