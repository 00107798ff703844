"""What text-to-speech may still send in this minute: messages of the plan, characters of a model.

A plan counts messages on each connection, so a new one has a minute of its own. A provider counts
characters of its models, over whatever connection they come; a model of another provider, which a
fallback may be, does not count.
"""

from __future__ import annotations

from collections.abc import Collection

from slng_edge.protocol.token_bucket import TokenBucket


class TextAllowance:
    """The minute's limits of one session; the owner serializes all calls.

    All times are seconds of a monotonic clock.

    Args:
        messages_a_minute: What the plan allows on a connection (`TierLimits`).

    Attributes:
        held_until: When what was refused last may go; None where nothing is held up.
    """

    def __init__(self, messages_a_minute: int) -> None:
        self.held_until: float | None = None
        self._messages = TokenBucket(messages_a_minute)
        self._chars: TokenBucket | None = None
        self._counts_chars = False

    def begin_connection(self, now: float, *, chars_a_minute: int | None) -> None:
        """A connection was greeted with one message, `init`.

        Args:
            now: The time.
            chars_a_minute: What the provider of the model on it allows, None where it has no
                limit. The first one counts for the session: it is the provider's of its model.
        """
        self._messages.reset()
        self._messages.take(1, now)
        self._counts_chars = chars_a_minute is not None
        if chars_a_minute is not None and self._chars is None:
            self._chars = TokenBucket(chars_a_minute)

    def release(self) -> None:
        """Nothing is held up any more: it is asked for anew, or its connection is gone."""
        self.held_until = None

    def next_message_at(self, now: float) -> float:
        """When one more message may go; `now` if at once."""
        return self._messages.ready_at(1, now)

    def take_message(self, now: float) -> bool:
        """Take one of the messages of this minute, or say in `held_until` when there is one."""
        if self._messages.take(1, now):
            return True
        self.held_until = self._messages.ready_at(1, now)
        return False

    def take_segment(self, texts: Collection[str], now: float) -> bool:
        """Take what a whole segment needs, or nothing, and say in `held_until` when it may go.

        Args:
            texts: Its messages; its `flush` is one more.
            now: The time.
        """
        messages = len(texts) + 1
        chars = sum(map(len, texts))
        counted = self._chars if self._counts_chars else None
        ready_at = self._messages.ready_at(messages, now)
        if counted is not None:
            ready_at = max(ready_at, counted.ready_at(chars, now))
        if ready_at > now:
            self.held_until = ready_at
            return False
        self._messages.take(messages, now)
        if counted is not None:
            counted.take(chars, now)
        return True
