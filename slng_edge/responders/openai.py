"""A language model that answers: any chat-completions API, streamed, without tools.

The reply comes piece by piece, with the marks of markdown left out (`spoken_text`). What was said
before goes with each question (`history`): what the user heard of it, no more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from slng_edge.errors import ConfigError, ResponderError
from slng_edge.responders.chat_completions import ChatAnswer, request_body
from slng_edge.responders.history import History
from slng_edge.responders.http_client import HttpClient
from slng_edge.responders.http_exchange import DEFAULT_TIMEOUTS, Answer, Timeouts
from slng_edge.responders.reply_text import ReplyText, UnfitReply
from slng_edge.responders.server_address import server_address
from slng_edge.responders.socket_stream import Abandoned, Stopped
from slng_edge.responders.spoken_text import SpokenText

log = logging.getLogger(__name__)

PATH = "/chat/completions"


class OpenAiResponder:
    """Asks the server at `url`; its connection is kept between turns.

    Args:
        url: The base of the API, as "https://api.openai.com/v1".
        model: As the server calls it.
        system_prompt: Told first, in every turn; "" for none.
        key: "" for a server that asks for none.
        history_turns: How many turns are told again; 0 for none.
        idle_reset_s: After so many seconds in which nobody spoke, they are forgotten.
        ca_file: An extra certificate authority; "" for none.
        timeouts: How long each step may take.
        clock: Seconds that only grow.

    Raises:
        ConfigError: there is no model, or the address cannot be.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        system_prompt: str = "",
        key: str = "",
        history_turns: int = 10,
        idle_reset_s: float = 60.0,
        ca_file: str = "",
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        address = server_address(url, path=PATH)
        if not model.strip():
            raise ConfigError(
                'responder.model is empty; name the model, such as "gpt-4o-mini" '
                "(a server with a single one takes any name)"
            )
        self._client = HttpClient(
            address,
            key=key,
            ca_file=ca_file,
            accept="text/event-stream, application/json",
            timeouts=timeouts,
        )
        self._model = model
        self._prompt = [{"role": "system", "content": system_prompt}] if system_prompt else []
        self._history = History(turns=history_turns, idle_reset_s=idle_reset_s)
        self._clock = clock
        self._stopped = False

    def respond(self, text: str, cancelled: threading.Event) -> Iterator[str]:
        """The reply as it is written, in pieces that end between two words.

        Waits within the time-outs; returns within 0.1 s of being cancelled.

        Raises:
            ResponderUnreachable: no connection, or no answer in time.
            ResponderError: it refused, failed, broke off, wrote too much or
                what is no text, or returned nothing.
        """
        if cancelled.is_set():
            return
        self._stopped = False
        messages = [*self._prompt, *self._history.ask(text, self._clock())]
        written = complete = False
        try:
            body = request_body(self._model, messages)
            for piece in self._pieces(body, lambda: self._stopped or cancelled.is_set()):
                self._history.write(piece)
                written = True
                yield piece
            complete = True
        except Abandoned:
            return
        except ResponderError:
            complete = written  # what came before stands
            raise
        finally:
            if complete:
                self._history.end(self._clock())
            else:
                self._history.give_up()

    def heard(self, text: str | None) -> None:
        """Of the last reply only `text` was heard, and only that is told again."""
        self._history.heard(text, self._clock())

    def cancel(self) -> None:
        """End the connection that the reply comes on; does not wait. Any thread."""
        self._stopped = True
        self._client.stop()

    def close(self) -> None:
        """Cancel, and close the connection; no reply follows. Any thread, any number of times."""
        self.cancel()
        self._client.close()

    def _pieces(self, body: bytes, stopped: Stopped) -> Iterator[str]:
        spoken = SpokenText()
        said = False
        answer = self._client.post(body, stopped, repeatable=True)
        chat = ChatAnswer(answer.name)
        reply = ReplyText(answer.name, from_model=True)
        try:
            for text in _texts(answer, chat):
                if stopped():
                    raise Abandoned
                reply.check(text)
                piece = spoken.receive(text)
                reply.count(piece)  # its thoughts do not count
                if piece:
                    said = said or bool(piece.strip())
                    yield piece
        except UnfitReply:
            raise
        except ResponderError:
            yield from spoken.rest()
            raise
        finally:
            answer.close()
        for piece in spoken.rest():
            reply.count(piece)
            said = said or bool(piece.strip())
            yield piece
        if not said:
            raise chat.nothing()


def _texts(answer: Answer, chat: ChatAnswer) -> Iterator[str]:
    for data in answer.chunks():
        yield from chat.receive(data)
        if chat.is_over:
            answer.drain()
            break
    yield from chat.end()
    if chat.began and not chat.is_over and answer.ends_by_closing:
        raise ResponderError(f"{answer.name} broke off in the middle of its reply")
