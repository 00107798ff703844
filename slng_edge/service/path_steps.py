"""What a path leads through, link by link: each of it may lead elsewhere when it is replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from slng_edge.errors import ControlError

LINKS_LIMIT = 40
"""The kernel follows no more of them (path_resolution(7))."""


def steps_to(path: Path) -> Iterator[Path]:
    """The root, each folder and each link on the way to `path`, and at last what it leads to.

    What is not there is a step as well. A link comes before what it leads to; no step has a link
    before its last name.

    Raises:
        ControlError: the links lead in a circle, or there are more than `LINKS_LIMIT`.
        OSError: a link cannot be read.
    """
    root, *left = path.absolute().parts
    here = Path(root)
    links = 0
    yield here
    while left:
        name = left.pop(0)
        step = here.parent if name == ".." else here / name
        yield step
        if not step.is_symlink():
            here = step
            continue
        links += 1
        if links > LINKS_LIMIT:
            raise ControlError(f"the links on the way to {path} lead in a circle, or are too many")
        target = Path(os.readlink(step))
        if target.is_absolute():
            here = Path(target.anchor)
        left = [*target.relative_to(target.anchor).parts, *left]
