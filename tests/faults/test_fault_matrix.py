"""Each fault of the local gateway in each state of the voice loop: what is heard, what is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.cells import Cell
from faults.matrix import CELLS, PLAYED, ROWS, render
from faults.run import Matrix
from faults.stage import State

from slng_edge.simulator import FAULTS

pytestmark = pytest.mark.timeout(600)  # the first test waits for all cells

RELIABILITY = Path(__file__).parents[2] / "docs" / "reliability.md"


def _parameter(cell: Cell) -> object:
    marks = [pytest.mark.xfail(strict=cell.fails_always, reason=cell.fails)] if cell.fails else []
    return pytest.param(cell, id=str(cell), marks=marks)


@pytest.mark.parametrize("cell", [*map(_parameter, PLAYED)])
def test_what_is_heard_and_transcribed(cell: Cell, matrix: Matrix) -> None:
    """Every question ends as one final or one loss, every answer sounds once and in its turn."""
    matrix[cell].judge()


def test_nothing_is_left_of_the_matrix(matrix: Matrix) -> None:
    """No thread, no socket and no file."""
    assert matrix.left == []


def test_every_fault_is_in_the_matrix() -> None:
    """A fault that the gateway learns gets a row, in every state."""
    assert {name for row in ROWS for name in row.names} == {kind.name for kind in FAULTS}
    assert len({cell.row for cell in CELLS}) == len(ROWS)
    for row in ROWS:
        assert [cell.state for cell in row.cells] == list(State)
        assert all(cell.outcome or cell.why_not for cell in row.cells)


def test_the_documentation_has_the_matrix() -> None:
    """`scripts/fault-matrix --write` brings it up to date."""
    assert render() in RELIABILITY.read_text(encoding="utf-8")
