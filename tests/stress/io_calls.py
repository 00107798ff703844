"""Which calls may wait: for a network, a file, a program, a device, or another thread.

What is looked at is every call into C, so nothing has to be replaced for it. What cannot wait is
left out: closing and shutting down, `ioctl`, OpenSSL on memory, files in memory.
"""

from __future__ import annotations

import _socket
import concurrent.futures
import io
import os
import subprocess
import threading
from types import FrameType
from typing import Any

_MODULES = {
    "time": {"sleep"},
    "select": {"select"},
    "_socket": {"getaddrinfo", "gethostbyname", "gethostbyaddr", "getnameinfo"},
    "_posixsubprocess": {"fork_exec"},
    "io": {"open"},
    "_io": {"open", "open_code"},
    "posix": {
        *("open", "read", "write", "readv", "writev", "pread", "pwrite", "sendfile"),
        *("fsync", "fdatasync", "ftruncate", "truncate", "rename", "replace", "unlink", "remove"),
        *("mkdir", "rmdir", "listdir", "scandir", "stat", "lstat", "statvfs", "link", "symlink"),
        *("waitpid", "waitid", "wait", "fork", "posix_spawn", "system", "eventfd_read"),
        "eventfd_write",
    },
}
_SOCKET = {
    *("send", "sendall", "sendto", "sendmsg", "accept", "_accept", "connect", "connect_ex"),
    *("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg"),
}
_FILE = {"read", "read1", "readinto", "readline", "readlines", "write", "writelines", "flush"}
_FILES = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)
_POLLS = {"poll", "epoll"}

_PYTHON = {
    threading.Thread.join.__code__: "thread join",
    threading.Thread.start.__code__: "thread start",
    subprocess.Popen.wait.__code__: "program wait",
    subprocess.Popen.communicate.__code__: "program communicate",
    concurrent.futures.Future.result.__code__: "future result",
}


def waits_for(frame: FrameType, event: str, arg: Any) -> str | None:
    """What a profiler's event says is called, "file write" for instance; None where it is no wait.

    Args:
        frame, event, arg: As `sys.setprofile` hands them over.
    """
    if event == "call":
        return _PYTHON.get(frame.f_code)
    if event != "c_call":
        return None
    owner, name = arg.__self__, arg.__name__
    if name in _SOCKET and isinstance(owner, _socket.socket):
        return f"socket {name}"
    if name in _FILE and isinstance(owner, _FILES):
        return f"file {name}"
    if name == "poll" and type(owner).__name__ in _POLLS:
        return "select poll"
    module = arg.__module__
    if module in _MODULES and name in _MODULES[module]:
        return f"{_SAID.get(module, module)} {name}"
    if "_portaudio" in str(module) or "_portaudio" in type(owner).__module__:
        return f"portaudio {name}"
    return None


_SAID = {"posix": "os", "_socket": "socket", "_posixsubprocess": "program", "_io": "io"}
assert os.name == "posix"
