"""Who is at the other end of the control socket, as the kernel says it, and whether they may."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass

_CREDENTIALS = struct.Struct("3i")
"""`struct ucred`: process, user, group (unix(7))."""

_SO_PEERGROUPS = 59
"""Linux 4.13, include/uapi/asm-generic/socket.h; Python has no name for it."""

_GROUPS_BYTES = 1024
"""As much as `getsockopt` of Python takes: 256 groups."""


@dataclass(frozen=True)
class Peer:
    """A process that connected, as it was when it did; `groups` has its primary one in it."""

    pid: int
    uid: int
    groups: frozenset[int]


def peer_of(sock: socket.socket) -> Peer:
    """The process at the other end of `sock`, a connected Unix socket.

    Raises:
        OSError: the kernel does not say.
    """
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return Peer(pid, uid, frozenset((gid, *_supplementary_groups(sock, uid, gid))))


def may_control(peer: Peer, *, uid: int, gid: int) -> bool:
    """Whether `peer` may: root, the service's user `uid`, and members of its group `gid`."""
    return peer.uid in (0, uid) or gid in peer.groups


def user_name(uid: int) -> str:
    """The user's name; "user 1234" where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def group_name(gid: int) -> str:
    """The group's name; "group 1234" where there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"group {gid}"


def _supplementary_groups(sock: socket.socket, uid: int, gid: int) -> tuple[int, ...]:
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # an older kernel, or more groups than fit: what the user database says
        try:
            return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
        except KeyError:
            return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)
