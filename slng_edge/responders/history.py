"""What was said so far, as a language model is told it; pure: the time is handed in.

Bounded in turns and characters, and forgotten when nobody has spoken for a while. It holds what
the user heard, not what was written:

* a reply that was interrupted is cut to what `heard` says; where that is nothing, the question
  stays, and goes in front of the next one, in one message: some models refuse two messages of one
  role in a row. It is not told twice where the next question begins with it;
* a turn that was stopped, failed or dropped before it sounded is forgotten altogether: turn taking
  hands its words in again with what follows.
"""

from __future__ import annotations

from dataclasses import dataclass

HISTORY_CHARS = 12_000
"""Of all that is told again: about 3,000 tokens at four characters each, so that it fits into the
4,096 that local servers often have, with the prompt before it and the reply after it."""
SPOKEN_CHARS_PER_S = 15.0
"""Of a reply: how long it sounds after it was written, in which nobody is idle. About 150 words of
six characters a minute."""


class IdleTime:
    """Whether a conversation is over because nobody has spoken for `reset_s` seconds."""

    def __init__(self, reset_s: float) -> None:
        self._reset_s = reset_s
        self._quiet_since: float | None = None

    def is_over(self, now: float) -> bool:
        """Whether it has been quiet for so long; False where nothing was said yet."""
        return self._quiet_since is not None and now - self._quiet_since >= self._reset_s

    def spoke(self, now: float, chars: int = 0) -> None:
        """Somebody spoke at `now`, or begins to say `chars` characters."""
        self._quiet_since = now + chars / SPOKEN_CHARS_PER_S


@dataclass
class _Exchange:
    question: str
    reply: str = ""
    kept: bool = True


class History:
    """The turns of one conversation; one thread.

    Args:
        turns: How many of them are told again; 0 for none.
        chars: How many characters of them, of question and reply together. The present question
            is always told whole.
        idle_reset_s: After so many seconds in which nobody spoke, all is forgotten.
    """

    def __init__(self, *, turns: int, idle_reset_s: float, chars: int = HISTORY_CHARS) -> None:
        self._turns = turns
        self._chars = chars
        self._idle = IdleTime(idle_reset_s)
        self._exchanges: list[_Exchange] = []

    def ask(self, question: str, now: float) -> list[dict[str, str]]:
        """Begin a turn at `now`; returns the messages to send, the oldest first."""
        if self._idle.is_over(now):
            self._exchanges.clear()
        self._idle.spoke(now)
        self._exchanges = [exchange for exchange in self._exchanges if exchange.kept]
        if self._exchanges and not self._exchanges[-1].reply:
            unanswered = self._exchanges.pop().question
            if not question.startswith(unanswered):
                question = f"{unanswered}\n{question}"
        self._forget_the_oldest()
        messages = []
        for exchange in self._exchanges:
            messages.append({"role": "user", "content": exchange.question})
            messages.append({"role": "assistant", "content": exchange.reply})
        self._exchanges.append(_Exchange(question))
        return [*messages, {"role": "user", "content": question}]

    def write(self, piece: str) -> None:
        """The reply goes on with `piece`."""
        self._exchanges[-1].reply += piece

    def end(self, now: float) -> None:
        """The reply has ended at `now`: it will be said as it is."""
        self._idle.spoke(now, len(self._exchanges[-1].reply))

    def give_up(self) -> None:
        """The reply was stopped or failed; forget the turn, unless `heard` comes."""
        self._exchanges[-1].kept = False

    def heard(self, text: str | None, now: float) -> None:
        """Of the last reply only `text` was heard, until `now`; None: the turn has never been."""
        if self._exchanges:
            self._exchanges[-1].reply = (text or "").strip()
            self._exchanges[-1].kept = text is not None
            self._idle.spoke(now)

    def _forget_the_oldest(self) -> None:
        left_chars = self._chars
        kept = 0
        for exchange in reversed(self._exchanges):
            left_chars -= len(exchange.question) + len(exchange.reply)
            if kept == self._turns or left_chars < 0:
                break
            kept += 1
        self._exchanges = self._exchanges[len(self._exchanges) - kept :]
