"""Model files that people bring: looked into before they are loaded.

The wake word libraries hand a file to TensorFlow Lite without a check, and a broken one ends the
process with a segmentation fault. So a process of its own loads it first, and says what it takes
and gives.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from slng_edge.errors import ConfigError

LOADING_TIMEOUT_S = 20.0
"""It takes 0.1 s; a small board with a slow card takes its time."""

# Runs in the process of its own: standard library only, so that it starts at once.
_LOADER = """
import ctypes, json, sys
lib = ctypes.CDLL(sys.argv[1])
pointer, number = ctypes.c_void_p, ctypes.c_int32
for name in ("ModelCreateFromFile", "InterpreterCreate", "InterpreterGetInputTensor",
             "InterpreterGetOutputTensor"):
    getattr(lib, "TfLite" + name).restype = pointer
model = pointer(lib.TfLiteModelCreateFromFile(sys.argv[2].encode()))
if not model:
    sys.exit(3)
interpreter = pointer(lib.TfLiteInterpreterCreate(model, None))
if not interpreter or lib.TfLiteInterpreterAllocateTensors(interpreter):
    sys.exit(3)
said = []
for which in ("Input", "Output"):
    tensor = pointer(getattr(lib, f"TfLiteInterpreterGet{which}Tensor")(interpreter, number(0)))
    dims = [lib.TfLiteTensorDim(tensor, i) for i in range(lib.TfLiteTensorNumDims(tensor))]
    said.append([lib.TfLiteTensorType(tensor), dims])
if lib.TfLiteInterpreterInvoke(interpreter):
    sys.exit(3)
print(json.dumps(said))
"""

_NAMES = {1: "float32", 3: "uint8", 9: "int8"}
"""`TfLiteType` of the C interface."""


@dataclass(frozen=True)
class Tensor:
    """What a model takes or gives: the type of a value, and how many along each axis."""

    type: str
    shape: tuple[int, ...]


def look_into(path: Path, library: Path) -> tuple[Tensor, Tensor]:
    """What the model in `path` takes and gives, by loading and running it once elsewhere.

    Waits for that process, 0.1 s, at most 20 s.

    Args:
        path: A TensorFlow Lite model.
        library: The shared library of TensorFlow Lite.

    Raises:
        ConfigError: there is no such file, it cannot be read, or it is no such model.
    """
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigError(f"wake.words: {path} cannot be read: {error.strerror}") from error
    command = [sys.executable, "-I", "-S", "-c", _LOADER, str(library), str(path.resolve())]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=LOADING_TIMEOUT_S, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"wake.words: {path} is no TensorFlow Lite model, or it is damaged"
        ) from error
    given, result = json.loads(done.stdout)
    return _tensor(given), _tensor(result)


def _tensor(said: tuple[int, list[int]]) -> Tensor:
    return Tensor(_NAMES.get(said[0], f"type {said[0]}"), tuple(said[1]))
