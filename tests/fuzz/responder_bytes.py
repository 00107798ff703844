"""What answers: a chat-completions server, an HTTP server, a program, a language model's text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fuzz.shapes import (
    json_text,
    lines,
    marked,
    mostly,
    numbers,
    objects,
    one_of,
    raw,
    texts,
    utf8,
    values,
)
from fuzz.target import SEPARATOR, Target, check_problems, check_text, cut_at, file_with
from hypothesis import strategies as st

from slng_edge.dialogue.sentences import SentenceSplitter
from slng_edge.errors import ConfigError, ResponderError
from slng_edge.protocol.text_pieces import split_text
from slng_edge.responders.answers import load_answers
from slng_edge.responders.chat_completions import ChatAnswer
from slng_edge.responders.http_failures import error_words, refusal, retry_after_s, words
from slng_edge.responders.reply_lines import ErrorLog, ReplyLines
from slng_edge.responders.reply_text import MAX_CHARS, ReplyText, UnfitReply
from slng_edge.responders.spoken_text import SpokenText
from slng_edge.responders.text_lines import TextLines, event_data
from slng_edge.sentence_ends import TAG

LONGEST_ERROR = 1000


def _pieces_of(data: bytes) -> Iterator[bytes]:
    """The first byte says in what pieces the rest comes."""
    return cut_at(data[1:], (data[0] if data else 0) * 3 + 1)


def chat_answer(data: bytes) -> None:
    """A chat-completions answer on its way to be spoken, as the responder takes it."""
    chat, reply, spoken = ChatAnswer("it"), ReplyText("it", from_model=True), SpokenText()
    said = ""
    try:
        for text in _chat_texts(chat, data):
            assert isinstance(text, str)
            assert text
            reply.check(text)
            piece = spoken.receive(text)
            reply.count(piece)
            said += piece
        said += "".join(spoken.rest())
        chat.nothing()
    except ResponderError as error:
        check_text(str(error), LONGEST_ERROR)
    check_text(said, min(len(data), 2 * MAX_CHARS))
    assert not re.search("[\x00-\x08\x0e-\x1f\x7f]", said)


def _chat_texts(chat: ChatAnswer, data: bytes) -> Iterator[str]:
    for piece in _pieces_of(data):
        yield from chat.receive(piece)
        if chat.is_over:
            break
    yield from chat.end()


def error_page(data: bytes) -> None:
    """The page of a server that refuses, and its headers."""
    head, _, page = data.partition(SEPARATOR)
    header = head.decode("latin-1")
    check_text(error_words(page), 201)
    check_text(words(page.decode("utf-8", "replace")), 201)
    check_text(refusal("it", int.from_bytes(head[:2], "big") % 600, page, header), LONGEST_ERROR)
    seconds = retry_after_s(header)
    assert seconds is None or seconds >= 0


def reply_lines(data: bytes) -> None:
    """A program's output: the same lines however it is split, bounded, and text alone."""
    for until_empty in (False, True):
        whole = _reply_of(iter([data[1:]]), until_empty)
        pieces = _reply_of(_pieces_of(data), until_empty)
        # What is given out before an error is found depends on the pieces.
        if whole is not None and pieces is not None:
            assert whole == pieces
    errors = ErrorLog("it")
    for piece in _pieces_of(data):
        errors.receive(piece)
    errors.end()
    check_text(errors.last_words, 302)


def _reply_of(pieces: Iterator[bytes], until_empty: bool) -> list[str] | None:
    reply, said = ReplyLines("it", until_empty_line=until_empty), []
    try:
        for piece in pieces:
            said += reply.receive(piece)
            if reply.is_complete:
                break
        else:
            said += reply.end()
    except UnfitReply as error:
        check_text(str(error), LONGEST_ERROR)
        return None
    for line in said:
        check_text(line, MAX_CHARS + 1)
        assert not re.search("[\x00-\x08\x0e-\x1f\x7f]", line)
    assert sum(map(len, said)) <= MAX_CHARS + len(said)
    return said


def text_lines(data: bytes) -> None:
    """Lines of a stream, however it is split."""
    found = []
    for pieces in (iter([data[1:]]), _pieces_of(data)):
        reader = TextLines("it")
        said = [line for piece in pieces for line in reader.receive(piece)]
        said += reader.end()
        for line in said:
            check_text(line, len(data))
            assert line.strip()
            value = event_data(line)
            assert value is None or value in line
        found.append(said)
    assert found[0] == found[1]


def spoken_text(data: bytes) -> None:
    """A model's text, made fit for the ear and cut into sentences, and these into messages."""
    spoken, splitter = SpokenText(), SentenceSplitter(100)
    sentences: list[str] = []
    given = 0
    # Half a surrogate pair may come, as JSON can hold it.
    text = data[1:].decode("utf-8", "surrogatepass" if _is_wtf8(data[1:]) else "replace")
    size = (data[0] if data else 0) + 1
    for start in range(0, len(text), size):
        piece = spoken.receive(text[start : start + size])
        given += len(piece)
        sentences += splitter.receive(piece)
    for piece in spoken.rest():
        given += len(piece)
        sentences += splitter.receive(piece)
    sentences += splitter.end()
    assert given <= len(text)
    for sentence in sentences:
        check_text(sentence, len(text))
        assert sentence == sentence.strip()
        assert len(sentence) <= 100 or TAG.search(sentence)
        _check_pieces(sentence, 20)


def _is_wtf8(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _check_pieces(text: str, limit: int) -> None:
    pieces = split_text(text, limit)
    assert all(len(piece) <= limit or TAG.search(piece) for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def answers_file(data: bytes) -> None:
    """A file of canned answers, and what is said to a question."""
    with file_with(data) as path:
        try:
            answers = load_answers(path)
        except ConfigError as error:
            check_problems(error, len(data) + 400)
            return
    said = answers.to(data.decode("utf-8", "replace")[:200])
    check_text(said, len(data))


_parts = st.lists(objects({"text": texts}), max_size=3)
_choice = objects(
    {
        "delta": st.fixed_dictionaries(
            {"content": mostly(texts, st.lists(objects({"text": texts})))}
        ),
        "message": objects({"content": texts, "refusal": texts}),
        "finish_reason": st.sampled_from(["stop", "length", None]),
    }
)
_said = st.fixed_dictionaries({"choices": st.lists(_choice, min_size=1, max_size=2)})
_answer = json_text(mostly(_said, objects({"choices": values, "error": values, "type": texts})))
_page = json_text(objects({"error": values, "message": values, "detail": values, "code": numbers}))
_size = st.binary(min_size=1, max_size=1)
_marks = one_of(
    *(
        b"**",
        b"# ",
        b"`",
        b"```\n",
        b"[a](http://x.y/z)",
        b"http://a.b/c?d",
        b"<think>",
        b"</think>",
    ),
    *(
        b"1. ",
        b"\n\n",
        b"Dr. ",
        b"3.14 ",
        b"<break/>",
        b"<",
        b"_",
        b"| a |",
        b"![",
        b"\xed\xa0\xbd",
    ),
)
_toml = lines(
    one_of(b"[[answer]]", b'words = ["bus"]', b'say = "At ten."', b'default = "No."', b"[answer]"),
    marked(b"default = ", one_of(b"9" * 4400, b"0x" + b"f" * 4000, b"[" * 400, b"1979-05-27")),
    marked(b"default = ", raw),
    end=b"\n",
)
_SSE_WORDS = (
    *(b"data: ", b"data: [DONE]\n\n", b'{"choices":[{"delta":{"content":"', b'"}}]}', b"\\ud83d"),
    *(b'"finish_reason":"length"', b'{"error":{"message":"', b"\xef\xbb\xbf", b": ping\n", b"\r"),
)
TARGETS = (
    Target(
        "chat_answer",
        chat_answer,
        st.tuples(
            _size, lines(marked(b"data: ", _answer), _answer, one_of(b": x", b"data: [DONE]"))
        ).map(b"".join),
        _SSE_WORDS,
        longest_bytes=8192,
    ),
    Target(
        "error_page",
        error_page,
        st.tuples(raw, one_of(SEPARATOR), _page).map(b"".join),
        (*_SSE_WORDS, b"[[[[[[[[", b'{"error":[[[['),
        longest_bytes=8192,  # `refused` reads up to twice 4,096
    ),
    Target(
        "reply_lines",
        reply_lines,
        st.tuples(_size, lines(utf8, raw, one_of(b"", b" ", b"<html>"), end=b"\n")).map(b"".join),
        (b"\n\n", b"<!DOCTYPE html>", b"\xef\xbf\xbd", b"\xc2\x80", b"\xf0\x9f", b"\0"),
        longest_bytes=8192,
    ),
    Target(
        "text_lines",
        text_lines,
        st.tuples(_size, lines(marked(b"data:", utf8), raw, utf8)).map(b"".join),
        (b"data: ", b"data:", b"\r\n", b"\r", b"\xe2\x80\xa8"),
        longest_bytes=8192,
    ),
    Target(
        "spoken_text",
        spoken_text,
        st.tuples(_size, st.lists(st.one_of(_marks, _marks, utf8), max_size=20).map(b"".join)).map(
            b"".join
        ),
        (b"**", b"](", b"![", b"http://", b"<think>", b"</think>", b"```", b"<a>", b". ", b"\n- "),
        longest_bytes=6000,
    ),
    Target(
        "answers_file",
        answers_file,
        _toml,
        (b"[[answer]]\n", b'words = ["', b'say = "', b'default = "', b"0x" + b"f" * 40, b"9" * 60),
        longest_bytes=8192,
    ),
)
