"""What the tests of sessions share."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from authority import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that nobody else trusts."""
    ca = trustme.CA()
    path: Path = tmp_path_factory.mktemp("authority") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return Authority(ca, str(path))
