"""Who gives its place to somebody new, where all places are taken: a decision alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Protocol, TypeVar


class Takes(Protocol):
    """Who has a place."""

    streaming: bool
    host: str


Place = TypeVar("Place", bound=Takes)


def which_watcher_goes(watching: Collection[Place], host: str) -> Place | None:
    """The longest there of the address with the most watchers, for one more of `host`.

    None where `host` has as many itself, or would have: who comes again for the place that it has
    just lost would else take it back, for ever.

    Args:
        watching: In the order in which they came.
        host: The address of who wants to watch.
    """
    taken = Counter(each.host for each in watching)
    longest = max(watching, key=lambda each: taken[each.host], default=None)
    if longest is None or taken[longest.host] <= taken[host] + 1:
        return None
    return longest


def who_goes(places: Collection[Place]) -> Place | None:
    """Of those who do not watch, the longest there of the address that has the most places.

    Who only keeps places so loses those of its own, and whoever asks at once is answered before
    it is its turn to go.

    Args:
        places: In the order in which they came.
    """
    asking = [each for each in places if not each.streaming]
    taken = Counter(each.host for each in asking)
    return max(asking, key=lambda each: taken[each.host], default=None)
