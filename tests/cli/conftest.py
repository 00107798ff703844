"""What the tests of commands share: a gateway that asks for the key, and the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import KEY, SlngEdge

from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

LINES = ("one two three four", "five six")


@pytest.fixture
def gateway() -> Iterator[LocalGateway]:
    """A local gateway that hears `LINES` by turns and speaks in tones."""
    with LocalGateway(stt=ScriptRecognizer(LINES), tts=ToneSynthesizer(), key=KEY) as gateway:
        yield gateway


@pytest.fixture
def slng_edge(gateway: LocalGateway, tmp_path: Path) -> SlngEdge:
    """The command, in a folder of its own, against that gateway."""
    return SlngEdge(tmp_path, gateway.url)
