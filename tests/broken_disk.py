"""A disk whose operations fail as a test wants it: a worn card, a quota, a dead network drive.

A file system in user space, mounted in a mount namespace of the program that is run on it. What is
on it lies in a folder beside it, where a test looks. The kernel's part is Linux's own: errors reach
the program by the system calls by which they do on such a disk.

    python broken_disk.py PATH COMMAND...

mounts it on PATH and becomes COMMAND; its files are in PATH.files, and PATH.fails says what fails:
a JSON object of operations (`create`, `write`, `flush`, `fsync`, `rename`, `mkdir`) and errno.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_disk import mount_rights

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_DIRENT = struct.Struct("<QQII")
_OPENED = struct.Struct("<QII")
_READ_BYTES = 1 << 17
_ROOT = 1
_ENOSYS = 38
_NO_REPLY = (2, 36, 42)
"""FORGET, INTERRUPT, BATCH_FORGET."""


def _missing() -> str:
    if not mount_rights():
        return "this user may mount nothing, not even in a namespace of its own"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"there is no file system in user space: {error}"
    return ""


needs_broken_disk = pytest.mark.skipif(bool(_missing()), reason=_missing() or "there is one")


class BrokenDisk:
    """The disk at `path`, for whoever is started behind `before`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = Path(f"{path}.files")
        self._fails = Path(f"{path}.fails")
        for folder in (path, self.files):
            folder.mkdir(mode=0o700)
        self.before = (*mount_rights(), sys.executable, __file__, str(path))
        self.fail()

    def fail(self, **operations: int) -> None:
        """Have those operations fail, with those numbers, and no others."""
        new = self._fails.with_suffix(".new")
        new.write_text(json.dumps(operations))
        new.rename(self._fails)


class _Served:
    """The file system; `nodes` are the paths of what the kernel has asked for."""

    def __init__(self, path: str) -> None:
        self._fails = f"{path}.fails"
        self._nodes = {_ROOT: f"{path}.files"}
        self._operations: dict[int, tuple[str, Callable[[int, bytes], bytes]]] = {
            1: ("lookup", lambda node, data: self._entry(self._under(node, data))),
            3: ("getattr", lambda node, data: self._attr(self._nodes[node])),
            4: ("setattr", self._setattr),
            9: ("mkdir", self._mkdir),
            10: ("unlink", lambda node, data: os.unlink(self._under(node, data)) or b""),
            11: ("rmdir", lambda node, data: os.rmdir(self._under(node, data)) or b""),
            12: ("rename", lambda node, data: self._rename(node, data, 8)),
            14: ("open", self._open),
            15: ("read", lambda node, data: os.pread(*_handle_size_offset(data))),
            16: ("write", self._write),
            17: (
                "statfs",
                lambda node, data: struct.pack("<10Q", 9, 9, 9, 9, 9, 0, 0, 0, 0, 0),
            ),
            18: ("release", lambda node, data: os.close(_handle(data)) or b""),
            20: ("fsync", lambda node, data: b""),
            25: ("flush", lambda node, data: b""),
            26: ("init", _init),
            27: ("opendir", lambda node, data: _OPENED.pack(0, 0, 0)),
            28: ("readdir", self._readdir),
            29: ("releasedir", lambda node, data: b""),
            30: ("fsync", lambda node, data: b""),
            35: ("create", self._create),
            45: ("rename", lambda node, data: self._rename(node, data, 16)),
        }

    def serve(self, device: int) -> None:
        """Answer the kernel until it lets go of the disk."""
        while True:
            try:
                request = os.read(device, _READ_BYTES)
            except OSError:
                return
            _, code, unique, node, *_ = _IN.unpack_from(request)
            if code in _NO_REPLY:
                continue
            number, answer = 0, b""
            try:
                answer = self._answer(code, node, request[_IN.size :])
            except OSError as error:
                number = -(error.errno or _ENOSYS)
            os.write(device, _OUT.pack(_OUT.size + len(answer), number, unique) + answer)

    def _answer(self, code: int, node: int, data: bytes) -> bytes:
        if code not in self._operations:
            raise OSError(_ENOSYS, "")
        name, operation = self._operations[code]
        fails = json.loads(Path(self._fails).read_text())
        if name in fails:
            raise OSError(fails[name], "")
        return operation(node, data)

    def _under(self, node: int, name: bytes) -> str:
        return os.path.join(self._nodes[node], os.fsdecode(name.split(b"\0")[0]))

    def _entry(self, path: str) -> bytes:
        number = os.lstat(path).st_ino
        self._nodes[number] = path
        return struct.pack("<4Q2I", number, 0, 0, 0, 0, 0) + _attributes(path)

    def _attr(self, path: str) -> bytes:
        return struct.pack("<Q2I", 0, 0, 0) + _attributes(path)

    def _setattr(self, node: int, data: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("<IIQQ", data)
        path = self._nodes[node]
        if valid & 1:
            os.chmod(path, struct.unpack_from("<I", data, 68)[0] & 0o7777)
        if valid & 8:
            os.truncate(path, size)
        return self._attr(path)

    def _mkdir(self, node: int, data: bytes) -> bytes:
        path = self._under(node, data[8:])
        os.mkdir(path, struct.unpack_from("<I", data)[0] & 0o7777)
        return self._entry(path)

    def _rename(self, node: int, data: bytes, head: int) -> bytes:
        (folder,) = struct.unpack_from("<Q", data)
        old, new, _ = data[head:].split(b"\0", 2)
        to = self._under(folder, new)
        os.rename(self._under(node, old), to)
        self._nodes[os.lstat(to).st_ino] = to
        return b""

    def _open(self, node: int, data: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", data)
        return _OPENED.pack(os.open(self._nodes[node], flags & ~os.O_NOFOLLOW & ~os.O_APPEND), 0, 0)

    def _create(self, node: int, data: bytes) -> bytes:
        flags, mode = struct.unpack_from("<2I", data)
        path = self._under(node, data[16:])
        handle = os.open(path, flags & ~os.O_APPEND | os.O_CREAT, mode & 0o7777)
        return self._entry(path) + _OPENED.pack(handle, 0, 0)

    def _write(self, node: int, data: bytes) -> bytes:
        handle, size, offset = _handle_size_offset(data)
        return struct.pack("<2I", os.pwrite(handle, data[40 : 40 + size], offset), 0)

    def _readdir(self, node: int, data: bytes) -> bytes:
        _, size, offset = _handle_size_offset(data)
        found = b""
        for number, name in enumerate(sorted(os.listdir(self._nodes[node]))[offset:], offset + 1):
            entry = _DIRENT.pack(number, number, len(name.encode()), 0) + name.encode()
            entry += bytes(-len(entry) % 8)
            if len(found) + len(entry) > size:
                break
            found += entry
        return found


def _handle(data: bytes) -> int:
    return int(struct.unpack_from("<Q", data)[0])


def _handle_size_offset(data: bytes) -> tuple[int, int, int]:
    handle, offset, size = struct.unpack_from("<QQI", data)
    return handle, size, offset


def _attributes(path: str) -> bytes:
    found = os.lstat(path)
    times = [int(moment) for moment in (found.st_atime, found.st_mtime, found.st_ctime)]
    owner = (found.st_mode, found.st_nlink, found.st_uid, found.st_gid)
    return _ATTR.pack(found.st_ino, found.st_size, 0, *times, 0, 0, 0, *owner, 0, 512, 0)


def _init(node: int, data: bytes) -> bytes:
    major, _, ahead = struct.unpack_from("<3I", data)
    return struct.pack("<4I2H2I2HI28x", major, 31, ahead, 0, 0, 0, 4096, 1, 0, 0, 0)


def _mount_and_become(path: str, command: list[str]) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40700,user_id={os.geteuid()},group_id={os.getegid()}"
    if system.mount(b"broken", path.encode(), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    ours = os.getpid()
    if os.fork() == 0:
        system.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: when the program ends, so does its disk
        for number in range(3):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if os.getppid() == ours:
            _Served(path).serve(device)
        os._exit(0)
    os.close(device)
    os.execvp(command[0], command)


if __name__ == "__main__":
    _mount_and_become(sys.argv[1], sys.argv[2:])
