"""What the documents print is what the program takes, and where they point there is something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from slng_edge.config import Config
from slng_edge.config_loading import load_config
from slng_edge.config_rules import unavailable
from slng_edge.responders.answers import load_answers

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SECTIONS = {section.name for section in fields(Config)}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(file and number, text) of each code block in `language`."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for number, block in enumerate(found, 1):
            yield f"{document.name}-{number}", block


SNIPPETS = dict(blocks("toml"))
CONFIGURATIONS = [name for name, text in SNIPPETS.items() if set(tomllib.loads(text)) <= SECTIONS]
ANSWERS = [name for name, text in SNIPPETS.items() if "answer" in tomllib.loads(text)]


def test_the_state_picture_is_drawn_from_the_table_that_runs() -> None:
    """As `scripts/draw-turns` prints it now; `--write` mends it."""
    drawn = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "draw-turns")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "    speaking --> paused: speech began / pause reply" in drawn
    text = (ROOT / "docs" / "conversation.md").read_text(encoding="utf-8")
    assert f"<!-- scripts/draw-turns -->\n{drawn}<!-- to here -->\n" in text


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_printed_configuration_is_accepted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every key is known, every value allowed, and this version can do it."""
    for variable in [key for key in os.environ if key.startswith("SLNG_")]:
        monkeypatch.delenv(variable)
    file = tmp_path / "config.toml"
    file.write_text(SNIPPETS[name], encoding="utf-8")
    assert unavailable(load_config(file)) == []


def test_there_are_snippets_to_look_at() -> None:
    """So that the tests beside this one are not about nothing."""
    assert len(CONFIGURATIONS) > 10
    assert ANSWERS


@pytest.mark.parametrize("name", ANSWERS)
def test_printed_canned_answers_are_accepted(name: str, tmp_path: Path) -> None:
    """As `responder.answers_file`."""
    file = tmp_path / "answers.toml"
    file.write_text(SNIPPETS[name], encoding="utf-8")
    load_answers(str(file))


def anchors(document: Path) -> set[str]:
    """What `#…` may follow the name of `document` in a link."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_leads_somewhere(document: Path) -> None:
    """To a file of the repository, and to a heading in it."""
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


OPTIONS = r"(?:(?:-s|--config|--log-level|--log-format) (?:'[^']*'|\S+) )*"


def test_every_command_that_is_printed_is_there() -> None:
    """The word behind `slng-edge` and its options, in each shell block."""
    known = subprocess.run(
        [sys.executable, "-m", "slng_edge", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    commands = {"--version", *re.findall(r"^  ([a-z-]+) {2,}", known, re.MULTILINE)}
    printed = {
        word
        for _, block in blocks("sh")
        for line in block.splitlines()
        for word in re.findall(
            rf"(?<!-aG )(?<!-[ou] )\bslng-edge {OPTIONS}(\S+)", line.partition(" #")[0]
        )
    }
    assert {"run", "ctl", "config", "demo", "doctor", "meter"} <= printed <= commands
