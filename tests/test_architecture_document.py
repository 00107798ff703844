"""docs/architecture.md says what is so: its tables are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_layers import LAYERS, LIBRARY_HOMES, MAY_IMPORT

from slng_edge.dialogue.turn_taking import TRANSITIONS

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ")
]


def test_the_table_of_states_is_the_one_that_runs() -> None:
    """Row by row, in its order."""
    wanted = [
        [state.value, what.value, after.value, "; ".join(act.value for act in acts) or "–"]
        for (state, what), (after, acts) in TRANSITIONS.items()
    ]
    begin = ROWS.index(wanted[0])
    assert ROWS[begin - 1] == ["state", "what happened", "next state", "acts"]
    assert ROWS[begin : begin + len(wanted)] == wanted
    assert len(ROWS) == begin + len(wanted), "a row too many"


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_stands_there_with_what_it_may_import(layer: str) -> None:
    """As the test of the imports holds it."""
    ((_, files, about, imports),) = [row for row in ROWS if row[0] == layer and "`" in row[1]]
    assert files.split() == [f"`{file}`" for file in LAYERS[layer]]
    assert about
    assert set(imports.split(", ")) - {"–"} == MAY_IMPORT[layer]


@pytest.mark.parametrize("library", LIBRARY_HOMES)
def test_the_one_file_that_imports_a_library_is_named(library: str) -> None:
    """Where to look when it changes."""
    assert [library, f"`slng_edge/{LIBRARY_HOMES[library]}`"] in ROWS
