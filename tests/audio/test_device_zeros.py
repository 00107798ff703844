"""When zeros are a fault."""

from __future__ import annotations

import pytest

from slng_edge.audio.device_zeros import NOISY_S, ZEROS_S, ZeroWatch


def played(*pieces: tuple[str, float]) -> ZeroWatch:
    """A watch after pieces of "noise" and "zeros", each so many seconds."""
    watch = ZeroWatch()
    for kind, seconds in pieces:
        for _ in range(round(seconds * 50)):
            watch.receive(0.02, zeros=kind == "zeros")
    return watch


@pytest.mark.parametrize(
    ("pieces", "dead"),
    [
        ((), False),
        ((("zeros", 100),), False),
        ((("noise", NOISY_S - 1), ("zeros", 100)), False),
        ((("noise", NOISY_S + 1), ("zeros", ZEROS_S - 0.1)), False),
        ((("noise", NOISY_S + 1), ("zeros", ZEROS_S + 0.1)), True),
        ((("noise", NOISY_S + 1), ("zeros", 100)), True),
        ((("noise", NOISY_S + 1), ("zeros", 1), ("noise", 1), ("zeros", 1.6)), True),
        ((("noise", NOISY_S / 2), ("zeros", 0.1), ("noise", NOISY_S / 2), ("zeros", 9)), False),
        ((("noise", NOISY_S + 1), ("zeros", 9), ("noise", 0.02)), False),
        ((("noise", NOISY_S + 1), ("zeros", 9), ("noise", 9), ("zeros", 9)), False),
    ],
)
def test_only_who_always_had_noise_is_dead(
    pieces: tuple[tuple[str, float], ...], dead: bool
) -> None:
    """A noise gate gives zeros in each pause; nobody speaks for half a minute without one."""
    assert played(*pieces).dead is dead


def test_it_knows_how_long_and_whether_ever() -> None:
    """What a warning needs."""
    watch = played(("zeros", 2))
    assert (watch.zeros_s, watch.ever_sounded) == (pytest.approx(2), False)
    watch = played(("zeros", 2), ("noise", 0.02))
    assert (watch.zeros_s, watch.ever_sounded) == (0, True)
