#!/usr/bin/env python3
"""Packs what a host needs for `scripts/install`: that, the program, and wheels where given.

Runs on the controller. Prints one JSON object: `sum` (of names, modes and contents: the same source
has the same sum, whenever and wherever it was packed), `version`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

PACKED = (
    "README.md",
    "LICENSE",
    "setup.cfg",
    "pyproject.toml",
    "slng_edge",
    "systemd",
    "scripts/install",
    "scripts/upgrade",
    "scripts/uninstall",
    "scripts/requirements",
    "scripts/constraints.txt",
    "scripts/check-wheels",
)

Entry = tuple[str, bool, bytes]
"""Name in the archive, whether it may be run, content."""


class CannotPack(Exception):
    """What was named is not there; its text says what to do."""


def main() -> int:
    """Pack and print; 1 with a message where that cannot be done."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog="example: pack.py ~/slng-edge --version v0.1.0 --out /tmp/sent.tar.gz",
    )
    parser.add_argument("source", type=Path, help="a checkout of slng-edge")
    parser.add_argument("--version", default="", help="a tag or commit of it; else as it is")
    parser.add_argument("--wheels", default="", help="a folder that scripts/wheelhouse filled")
    parser.add_argument("--out", type=Path, help="write it there; without it only its sum is told")
    args = parser.parse_args()
    try:
        found = _committed(args.source, args.version) if args.version else _held(args.source)
        source = sorted(found)
        version = _version(source)
        entries = source + (list(_wheels(Path(args.wheels), version)) if args.wheels else [])
        if args.out:
            _write(args.out, entries)
    except (CannotPack, OSError) as error:
        print(f"pack: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"sum": _sum(entries), "version": version}))
    return 0


def _held(source: Path) -> Iterator[Entry]:
    """As the files are now, committed or not."""
    for name in PACKED:
        path = source / name
        if not path.exists():
            raise CannotPack(f"{source} is no checkout of slng-edge: it has no {name}")
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                runs = bool(file.stat().st_mode & 0o100)
                yield str(file.relative_to(source)), runs, file.read_bytes()


def _committed(source: Path, version: str) -> Iterator[Entry]:
    # `--` and `--verify`: a version that begins with a dash is none, and no option either.
    commit = _git(source, "rev-parse", "--verify", "--end-of-options", f"{version}^{{commit}}")
    archive = _git(source, "archive", "--format=tar", commit.decode().strip(), "--", *PACKED)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for member in files:
            held = files.extractfile(member) if member.isfile() else None
            if held is not None:
                yield member.name, bool(member.mode & 0o100), held.read()


def _git(source: Path, *command: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(source), *command], capture_output=True, timeout=60, check=True
        )
    except subprocess.CalledProcessError as error:
        raise CannotPack(
            f"git {command[0]} in {source}: {error.stderr.decode(errors='replace').strip()}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CannotPack(f"git {command[0]} in {source} takes more than 60 s") from error
    return done.stdout


def _version(source: list[Entry]) -> str:
    for name, _, content in source:
        if name == "slng_edge/__init__.py":
            found = re.search(rb'^__version__ = "([^"]+)"', content, re.MULTILINE)
            if found:
                return found[1].decode()
    raise CannotPack("slng_edge/__init__.py has no __version__")


def _wheels(folder: Path, version: str) -> Iterator[Entry]:
    wheels = sorted(folder.glob("*.whl"))
    ours = [wheel.name for wheel in wheels if wheel.name.startswith("slng_edge-")]
    if not any(name.startswith(f"slng_edge-{version}-") for name in ours):
        raise CannotPack(
            f"{folder} has no wheel of slng-edge {version} ({', '.join(ours) or 'of none'}): "
            "fill it with scripts/wheelhouse of that version"
        )
    for wheel in wheels:
        yield f"wheels/{wheel.name}", False, wheel.read_bytes()


def _sum(entries: list[Entry]) -> str:
    summed = hashlib.sha256()
    for name, runs, content in entries:
        summed.update(f"{name} {runs} {hashlib.sha256(content).hexdigest()}\n".encode())
    return summed.hexdigest()


def _write(out: Path, entries: list[Entry]) -> None:
    # Wheels are compressed already.
    with tarfile.open(out, "w:gz", compresslevel=1) as archive:
        for name, runs, content in entries:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o755 if runs else 0o644
            archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    sys.exit(main())
