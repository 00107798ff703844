"""All cells of the fault matrix that a run of the tests asks for, played once."""

from __future__ import annotations

import pytest
from faults.run import Left, Matrix, play_all


@pytest.fixture(scope="session")
def matrix(request: pytest.FixtureRequest) -> Matrix:
    """The cells of the tests that were selected, played side by side."""
    parameters = (getattr(item, "callspec", None) for item in request.session.items)
    cells = [spec.params["cell"] for spec in parameters if spec and "cell" in spec.params]
    before = Left.now()
    results = play_all(cells)
    return Matrix(results, before.since())
