"""The folder a file lies in says what it may import; this reads the imports and holds it.

Imports inside functions count: they load as well, only later. Those under `TYPE_CHECKING` do not.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "slng_edge"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

LAYERS: Mapping[str, tuple[str, ...]] = {
    "package": ("__init__.py",),
    "errors": ("errors.py",),
    "pcm": ("pcm.py",),
    "sentence_ends": ("sentence_ends.py",),
    "events": ("events.py",),
    "threads": ("threads.py",),
    "config": ("config.py", "config_*.py", "secrets.py"),
    "proxies": ("proxies.py",),
    "protocol": ("protocol/*.py",),
    "connecting": ("connecting/*.py",),
    "listening": ("listening/*.py",),
    "dialogue": ("dialogue/*.py",),
    "audio": ("audio/*.py",),
    "gateway": ("gateway/*.py",),
    "responders": ("responders/*.py",),
    "wake": ("wake/*.py",),
    "asks": ("asks.py",),
    "hearing": ("hearing.py", "hearing_events.py"),
    "replying": ("replying.py",),
    "conversation": ("conversation.py",),
    "voice_loop": ("voice_loop.py",),
    "service": ("service/*.py",),
    "simulator": ("simulator/*.py",),
    "benchmarks": ("benchmarks/*.py",),
    "diagnostics": ("diagnostics/*.py",),
    "cli": ("cli/*.py", "__main__.py"),
}
"""Which files a layer is made of."""

_GROUND = {"errors", "pcm"}
_PARTS = {"audio", "gateway", "responders", "protocol", "connecting", "listening", "dialogue"}
_LOOP = {
    *_GROUND,
    "events",
    "threads",
    "config",
    *_PARTS,
    "wake",
    "asks",
    "hearing",
    "replying",
    "conversation",
}

MAY_IMPORT: Mapping[str, set[str]] = {
    "package": set(),  # it loads names when they are used
    "errors": set(),
    "pcm": set(),
    "sentence_ends": set(),
    "events": set(),
    "threads": {"errors"},
    "config": {"errors"},
    "proxies": {"errors", "config"},
    "protocol": {*_GROUND, "sentence_ends", "config"},
    "connecting": {"errors"},
    "listening": {*_GROUND, "config"},
    "dialogue": {*_GROUND, "sentence_ends", "config"},
    "audio": {*_GROUND, "config", "events", "threads", "listening", "dialogue"},
    "gateway": {
        *_GROUND,
        "config",
        "proxies",
        "events",
        "threads",
        "protocol",
        "connecting",
        "dialogue",
    },
    "responders": {"errors", "config", "proxies", "threads"},
    "wake": {*_GROUND, "config", "listening", "audio"},
    "asks": {"errors"},
    "hearing": {*_GROUND, "config", "listening"},
    # The sessions are handed in: the loop knows what they say, not who they are.
    "replying": {*_GROUND, "events", "protocol", "dialogue", "audio", "responders"},
    "conversation": {
        *_GROUND,
        "events",
        "threads",
        "protocol",
        "dialogue",
        "asks",
        "hearing",
        "replying",
    },
    "voice_loop": _LOOP,
    "service": {*_LOOP, "voice_loop"},
    "simulator": {*_GROUND, "protocol"},  # nothing of the client whose peer it plays
    "benchmarks": {*_LOOP, "voice_loop", "simulator"},
    "diagnostics": {*_LOOP, "proxies", "voice_loop", "service"},
    "cli": {*LAYERS} - {"cli"},
}
"""What a layer may import besides itself."""

PURE = ("protocol", "connecting", "listening", "dialogue")
EDGES_OF_THE_WORLD = {
    "asyncio",
    "concurrent",
    "ctypes",
    "http",
    "multiprocessing",
    "os",
    "queue",
    "random",
    "select",
    "selectors",
    "signal",
    "socket",
    "socketserver",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
"""Modules of the standard library by which a clock, a thread, a file or a network comes in."""

LIBRARY_HOMES: Mapping[str, str] = {
    "websocket": "gateway/connection.py",
    "pyaudio": "audio/pyaudio_backend.py",
    "soxr": "audio/resampling.py",
    "webrtcvad": "listening/voice_detector.py",
    "websockets": "simulator/server.py",
    "pocketsphinx": "simulator/recognizers.py",
    "trustme": "simulator/certificates.py",
    "livekit": "audio/apm_canceller.py",
    "pymicro_wakeword": "wake/micro_wakeword.py",
    "pyopen_wakeword": "wake/open_wakeword.py",
    "paho": "service/mqtt_client.py",
    "gpiozero": "service/gpio_button.py",
    "lgpio": "service/gpio_button.py",
}
"""The one file that imports a library of the hardware or the network."""

HEAVY = ("numpy", "pyaudio", "websocket", "soxr", "webrtcvad", "websockets", "pocketsphinx")


def layer_of(file: str) -> str:
    """The one layer that `file` is in."""
    found = [
        layer
        for layer, patterns in LAYERS.items()
        if any(fnmatch(file, p) and file.count("/") == p.count("/") for p in patterns)
    ]
    assert len(found) == 1, f"slng_edge/{file} is in {found or 'no layer'}: give it a rule here"
    return found[0]


def file_of(module: str) -> str:
    """The file of a module of ours."""
    path = "/".join(module.split(".")[1:])
    for file in (f"{path}.py", f"{path}/__init__.py".lstrip("/")):
        if file in FILES:
            return file
    raise AssertionError(f"there is no module {module}")


def imports_in(source: str) -> list[str]:
    """Absolute names of the modules that `source` loads; `from` names that are modules count."""
    found: list[str] = []
    for node in loading_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides its layer"
            assert node.module is not None
            found += [from_import(node.module, alias.name) for alias in node.names]
    return found


def from_import(module: str, name: str) -> str:
    """`module.name` where that is a module of ours, else `module`."""
    path = "/".join([*module.split(".")[1:], name])
    is_module = module.split(".")[0] == "slng_edge" and {f"{path}.py", f"{path}/__init__.py"} & {
        *FILES
    }
    return f"{module}.{name}" if is_module else module


def loading_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a tree but those under `if TYPE_CHECKING`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from loading_nodes(other)
        else:
            yield from loading_nodes(child)


IMPORTS = {file: imports_in((PACKAGE / file).read_text(encoding="utf-8")) for file in FILES}


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_what_its_layer_may(file: str) -> None:
    """Every file is in exactly one layer, and reaches only the layers below it."""
    layer = layer_of(file)
    allowed = MAY_IMPORT[layer] | {layer}
    ours = [name for name in IMPORTS[file] if name.split(".")[0] == "slng_edge"]
    # The bare package holds the version and nothing else that is loaded.
    reached = {name: layer_of(file_of(name)) for name in ours if name != "slng_edge"}
    wrong = {name for name, reached_layer in reached.items() if reached_layer not in allowed}
    assert not wrong, f"{layer} may import {sorted(allowed)}, and {file} imports {sorted(wrong)}"


@pytest.mark.parametrize("file", [file for file in FILES if file.split("/")[0] in PURE])
def test_a_decision_touches_no_clock_thread_or_socket(file: str) -> None:
    """Protocol, listening and dialogue are pure: what they need to know is handed in."""
    reached = {name.split(".")[0] for name in IMPORTS[file]} & EDGES_OF_THE_WORLD
    assert not reached
    assert "urllib.request" not in IMPORTS[file]


def test_each_library_is_imported_in_one_file() -> None:
    """So one file has to change when the library does; a new one needs a home here."""
    homes: dict[str, set[str]] = {}
    for file, names in IMPORTS.items():
        for name in {name.split(".")[0] for name in names}:
            if name not in sys.stdlib_module_names and name not in ("slng_edge", "numpy"):
                homes.setdefault(name, set()).add(file)
    assert homes == {library: {file} for library, file in LIBRARY_HOMES.items()}


def test_no_import_is_hidden_in_a_string() -> None:
    """Only the package and the list of commands load by name, and this test could not see it.

    What others have installed is found by its entry point.
    """
    loading = {file for file, names in IMPORTS.items() if "importlib" in names}
    plug_ins = {"responders/registry.py", "wake/registry.py"}
    assert loading <= {"__init__.py", "cli/__init__.py", *plug_ins}


@pytest.mark.parametrize(
    "module", ["slng_edge", "slng_edge.errors", "slng_edge.config", "slng_edge.cli"]
)
def test_a_small_command_does_not_pay_for_sound(module: str) -> None:
    """`--version` and `--help` answer at once, also where a sound library is not installed."""
    code = f"import sys, {module}; print(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import os.path, json", ["os.path", "json"]),
        ("from slng_edge import errors, __version__", ["slng_edge.errors", "slng_edge"]),
        ("from slng_edge.audio import capture", ["slng_edge.audio.capture"]),
        ("def f():\n    import time", ["time"]),
        ("class C:\n    def f(self):\n        if True:\n            import time", ["time"]),
        ("if TYPE_CHECKING:\n    import time\nelse:\n    import json", ["json"]),
        ("if typing.TYPE_CHECKING:\n    import time", []),
        ("try:\n    import a\nexcept ImportError:\n    import b", ["a", "b"]),
    ],
)
def test_the_reader_sees_every_import(source: str, names: list[str]) -> None:
    """At the top, in functions and branches, but not what is there for the type checker alone."""
    assert imports_in(source) == names


@pytest.mark.parametrize("file", ["new.py", "new/part.py", "audio/deeper/part.py"])
def test_a_file_without_a_rule_is_found(file: str) -> None:
    """Whoever adds a part says where it belongs."""
    with pytest.raises(AssertionError, match="no layer"):
        layer_of(file)
