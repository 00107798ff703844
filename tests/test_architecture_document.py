"""docs/architecture.md says what is so: its tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_layers import LAYERS, LIBRARY_HOMES, MAY_IMPORT

from slng_edge.dialogue.turn_taking import TRANSITIONS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "architecture.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")


def rows_of(text: str) -> list[list[str]]:
    """The cells of every row of every table in `text`."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]


ROWS = rows_of(TEXT)


def test_the_table_of_states_is_the_one_that_runs() -> None:
    """Row by row, in its order."""
    wanted = [
        [state.value, what.value, after.value, "; ".join(act.value for act in acts) or "–"]
        for (state, what), (after, acts) in TRANSITIONS.items()
    ]
    (section,) = re.findall(r"^## Turn taking\n(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)
    assert rows_of(section) == [["state", "what happened", "next state", "acts"], *wanted]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_stands_there_with_what_it_may_import(layer: str) -> None:
    """As the test of the imports holds it."""
    ((_, files, about, imports),) = [row for row in ROWS if row[0] == layer and "`" in row[1]]
    assert files.split() == [f"`{file}`" for file in LAYERS[layer]]
    assert about
    assert set(imports.split(", ")) - {"–"} == MAY_IMPORT[layer]


def test_each_worker_in_the_table_of_threads_is_one() -> None:
    """By the name that a stack trace shows."""
    (section,) = re.findall(r"^## Threads\n(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "slng_edge").rglob("*.py")]
    workers = {name for source in sources for name in re.findall(r'Worker\(\s*"([a-z-]+)"', source)}
    shown = {row[0] for row in rows_of(section)[1:]}
    assert {
        "capture",
        "conversation",
        "control",
        "event-relay",
        "button",
        "keys",
        "hook",
        "status-page",
        "mqtt",
        "recorder",
    } <= shown & workers
    others = {name for row in shown - workers for name in row.split(", ")}
    assert others == {
        *("main", "resolve", "portaudio", "one a connection"),
        *(
            f"{session}-{part}"
            for session in ("stt", "tts")
            for part in ("link", "send", "receive")
        ),
    }


@pytest.mark.parametrize("library", LIBRARY_HOMES)
def test_the_one_file_that_imports_a_library_is_named(library: str) -> None:
    """Where to look when it changes."""
    assert [library, f"`slng_edge/{LIBRARY_HOMES[library]}`"] in ROWS
