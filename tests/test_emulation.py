"""The benchmark knows when an emulator runs it: then its times are the emulator's."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from slng_edge.benchmarks import emulation, report


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    emulation.emulating_host.cache_clear()
    yield
    emulation.emulating_host.cache_clear()


@pytest.mark.parametrize(
    ("kernel", "program", "host"),
    [
        ("x86_64", "x86_64", ""),
        ("x86_64", "aarch64", "x86_64"),
        ("aarch64", "armv7l", ""),
        ("aarch64", "x86_64", "aarch64"),
        ("riscv64", "riscv64", ""),
    ],
)
def test_the_kernels_machine_is_not_the_programs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: str, program: str, host: str
) -> None:
    """Machines of one family run each other's programs by themselves."""
    (tmp_path / "arch").write_text(f"{kernel}\n")
    monkeypatch.setattr(emulation, "_KERNEL_MACHINE", tmp_path / "arch")
    monkeypatch.setattr(platform, "machine", lambda: program)
    assert emulation.emulating_host() == host
    told = report.conditions("bench").get("emulated", "")
    assert (host in told and "times do not" in told) if host else told == ""


def test_an_old_kernel_is_known_by_its_processors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before Linux 6.1 it does not say its machine; this one is not emulated."""
    monkeypatch.setattr(emulation, "_KERNEL_MACHINE", tmp_path / "none")
    assert emulation.emulating_host() == ""
