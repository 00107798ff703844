"""Every file of the product that writes files, and the test in which its disk takes no more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "slng_edge"

WRITERS = {
    "audio/utterance_recorder.py": (
        "test_disk_full.py::test_recordings_end_and_go_on",
        "test_broken_disk.py::test_settings_and_recordings_are_whole_or_not_there",
    ),
    "audio/wav_files.py": (
        "test_disk_full.py::test_sound_into_a_full_disk_ends_the_service_as_a_lost_device",
        "test_half_files.py::test_a_command_that_cannot_write_leaves_no_file",
        "test_broken_disk.py::test_a_command_that_cannot_write_leaves_no_file",
        "cli/test_demo.py::test_a_full_disk_leaves_no_half_reply",
    ),
    "cli/as_service.py": ("cli/test_as_service.py::test_a_copy_that_cannot_be_written_is_said",),
    "cli/config.py": (
        "test_half_files.py::test_a_command_that_cannot_write_leaves_no_file",
        "test_broken_disk.py::test_a_command_that_cannot_write_leaves_no_file",
    ),
    "cli/key.py": (
        "test_disk_full.py::test_a_full_disk_leaves_the_old_key",
        "test_half_files.py::test_a_command_that_cannot_write_leaves_no_file",
        "test_broken_disk.py::test_a_command_that_cannot_write_leaves_no_file",
    ),
    "cli/logs.py": (
        "test_disk_full.py::test_a_log_on_a_full_disk_holds_up_nothing",
        "test_broken_disk.py::test_settings_and_recordings_are_whole_or_not_there",
    ),
    "cli/run.py": ("test_half_files.py::test_events_in_a_file_say_what_is_missing",),
    "cli/support_bundle.py": (
        "test_half_files.py::test_a_command_that_cannot_write_leaves_no_file",
        "test_broken_disk.py::test_a_command_that_cannot_write_leaves_no_file",
    ),
    "service/gpio_button.py": (
        "service/test_gpio_button.py::test_lgpio_needs_no_room_for_temporary_files",
    ),
    "service/kept_settings.py": (
        "test_disk_full.py::test_mute_and_volume_are_as_before_and_kept_with_the_next_change",
        "test_broken_disk.py::test_settings_and_recordings_are_whole_or_not_there",
    ),
    "simulator/certificates.py": (
        "simulator/test_tls_faults.py::test_a_certificate_that_cannot_be_kept_is_said",
    ),
    "simulator/recording.py": (
        "simulator/test_server.py::test_a_full_disk_ends_the_recording_and_not_the_conversation",
    ),
    "simulator/synthesizers.py": (
        "simulator/test_engines.py::test_no_room_for_temporary_files_is_reported",
    ),
}
"""Without the benchmarks, which are a tool of those who build it."""

NO_FILES = {
    "audio/device_cards.py": "opens devices",
    "cli/__init__.py": "opens /dev/null",
}

_WRITING_METHODS = {"write_bytes", "write_text", "write_to_path"}
_WRITING_FLAGS = ("O_WRONLY", "O_RDWR", "O_CREAT")


def writes(source: str) -> Iterator[str]:
    """What in `source` opens or makes a file for writing."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _writes(node):
            yield ast.unparse(node)


def _writes(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if name.startswith("tempfile.") or last in _WRITING_METHODS:
        return True
    if last not in ("open", "fdopen"):
        return False
    if name == "os.open" and any(flag in ast.unparse(call) for flag in _WRITING_FLAGS):
        return True
    given = (*call.args, *(keyword.value for keyword in call.keywords))
    modes = [each.value for each in given if isinstance(each, ast.Constant)]
    return any(isinstance(mode, str) and _is_writing(mode) for mode in modes)


def _is_writing(mode: str) -> bool:
    return len(mode) <= 3 and set(mode) <= set("rwaxbt+") and bool(set(mode) & set("wax+"))


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('x', encoding='utf-8')",
        "wave.open(file, 'wb')",
        "os.fdopen(number, 'r+b')",
        "os.open(path, os.O_RDWR | os.O_CLOEXEC)",
        "Path(name).write_text('')",
        "tempfile.mkstemp()",
    ],
)
def test_the_reading_finds_it(line: str) -> None:
    """Each way in which a file is made."""
    assert list(writes(f"def f():\n    {line}\n"))


def test_what_only_reads_is_not_found() -> None:
    """Nor what is called alike."""
    reads = (
        "open(path)\nopen(path, 'rb')\npath.open('rb')\nos.open(path, os.O_RDONLY)\n"
        "source.open()\nself._recognizer.open(rate_hz, 'en')\n"
    )
    assert list(writes(reads)) == []


def test_each_writer_of_the_product_is_known() -> None:
    """A new one has to say which test takes its disk away."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "benchmarks" and any(writes(path.read_text(encoding="utf-8")))
    }
    assert found == WRITERS.keys() | NO_FILES.keys()


@pytest.mark.parametrize("writer", WRITERS)
def test_each_has_its_test(writer: str) -> None:
    """By the name under which it can be run."""
    for test in WRITERS[writer]:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (TESTS / file).read_text(encoding="utf-8"), test
