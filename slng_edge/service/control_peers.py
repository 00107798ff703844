"""Who is at the other end of the control socket, as the kernel says it, and whether they may."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_CREDENTIALS = struct.Struct("3i")
"""`struct ucred`: process, user, group (unix(7))."""

_SO_PEERGROUPS = 59
"""Linux 4.13, include/uapi/asm-generic/socket.h; Python has no name for it."""

OVERFLOW_ID = 65534
"""User or group that has no number here: /proc/sys/kernel/overflowuid, unless it was changed."""

_EVERY_USER = ["0", "0", "4294967295"]

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


def own_ids() -> tuple[int, int]:
    """The user and the group that may, besides root: this process's own.

    In a user namespace all who are not in it have one number. Where that is ours as well, nobody
    can be told from a stranger, and it is -1.
    """
    ours = (os.geteuid(), os.getegid())
    if sees_all_users():
        return ours
    user, group = (-1 if each == OVERFLOW_ID else each for each in ours)
    return user, group


def may_control(peer: Peer, *, uid: int, gid: int) -> bool:
    """Whether `peer` may: root, the service's user `uid`, and members of its group `gid`."""
    return peer.uid in (0, uid) or gid in peer.groups


def user_name(uid: int) -> str:
    """The user's name; "user 1234" where there is none, "this user" where it cannot be seen.

    With the unit's PrivateUsers= the kernel gives us one number for all others: "nobody" would be
    the name of somebody else.
    """
    if uid == OVERFLOW_ID and not sees_all_users():
        return "this user"
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


def sees_all_users() -> bool:
    """Whether this process's user namespace has every user in it (user_namespaces(7))."""
    try:
        return Path("/proc/self/uid_map").read_text(encoding="ascii").split() == _EVERY_USER
    except OSError:
        return True


def _supplementary_groups(sock: socket.socket, uid: int, gid: int) -> tuple[int, ...]:
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # an older kernel, or more groups than fit: what the user database says
        try:
            return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
        except KeyError:
            return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)
