"""Makes text that a language model wrote for the eye fit for the ear; pure, piece by piece.

Models write markdown whatever they are told, and speech would read it out: "asterisk asterisk".
Left out are the marks of emphasis, headings, lists, quotes, rules and code; a link is its label,
a bare address its host. What stands between the marks is kept. A model's thoughts, where it
writes them in front of its reply (`<think>`), are left out as well.

The last word without white space after it is held back, as it may become a mark or an address;
who cuts sentences waits for the next letter anyway.
"""

from __future__ import annotations

import re

LONGEST_LABEL = 200
LONGEST_ADDRESS = 1000
LONGEST_WORD = 1000
"""Of what is held back: a longer one is no mark and no address."""

_THOUGHTS = re.compile(r"\s*<(think|thinking)>")
_THOUGHTS_END = re.compile(r"</think(?:ing)?>")
_LONGEST_TAG = len("</thinking>")

_LABEL = rf"!?\[([^\[\]\n]{{0,{LONGEST_LABEL}}})"
_INNER = rf"\([^()\n]{{0,{LONGEST_LABEL}}}"
_TARGET = rf"\((?:[^()\n]|{_INNER}\)){{0,{LONGEST_ADDRESS}}}"
_LINK = re.compile(rf"{_LABEL}\]{_TARGET}\)")
_OPEN_LINK = re.compile(rf"{_LABEL}(?:\](?:{_TARGET}(?:{_INNER})?)?)?\Z")
_ADDRESS = re.compile(r"<?\bhttps?://(?:www\.)?([^\s<>()\[\]\"'/?#]+)([^\s<>()\[\]\"']*)>?", re.I)
_LAST_WORD = re.compile(r"[!-~]+\Z")
_INDENT = re.compile(r"(\A|\n)[ \t]+\Z")
_PUNCTUATION = re.compile(r"[.,;:!?*_~`]+\Z")
_LINE_MARK = re.compile(r"[ \t]*(?:(?:#{1,6}|[-*+]|>+)[ \t]+)+")
_RULE_OR_FENCE = re.compile(
    r"[ \t]*(?:([-*_=])(?:[ \t]*\1){2,}[ \t]*\Z|(?:```|~~~)[\w+#.-]*[ \t]*\Z)"
)
_MARKS = re.compile(
    r"\*{2,}|~~|`+"
    r"|(?<!\d)\*(?=\S)|(?<=\S)\*(?!\d)"  # 2*3 and 2 * 3 are sums
    r"|(?<![^\W_])_+|_+(?![^\W_])"  # snake_case is a name
)
_UNSPEAKABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffd]")


class SpokenText:
    """One reply; one thread."""

    def __init__(self) -> None:
        self._text = ""
        self._before = ""
        self._at_line_start = True
        self._beginning = True
        self._thinking = False
        self._half = ""

    def receive(self, text: str) -> str:
        """What is sure to be spoken with `text`; may be empty."""
        self._text += _UNSPEAKABLE.sub("", self._whole_characters(text))
        if not self._thoughts_are_over():
            return ""
        sure = len(self._text)
        word = _LAST_WORD.search(self._text, max(0, sure - LONGEST_WORD - 1))
        if word and word.end() - word.start() <= LONGEST_WORD:
            sure = word.start()
        link = _OPEN_LINK.search(self._text, self._text.rfind("\n") + 1)
        if link:
            sure = min(sure, link.start())
        whole = (link.span() for link in _LINK.finditer(self._text))
        sure = next((start for start, end in whole if start < sure < end), sure)
        indent = _INDENT.search(self._text, 0, sure)
        if indent and (indent.start() > 0 or self._at_line_start):
            sure = indent.end(1)
        return self._release(sure)

    def rest(self) -> list[str]:
        """The reply has ended: what is left of it, if anything."""
        rest = "" if self._thinking else self._release(len(self._text))
        return [rest] if rest else []

    def _whole_characters(self, text: str) -> str:
        """Some servers cut between the two halves of a character beyond U+FFFF."""
        text = self._half + text
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        text = text[: len(text) - len(self._half)]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _thoughts_are_over(self) -> bool:
        if self._beginning:
            begin = _THOUGHTS.match(self._text)
            start = self._text.lstrip()
            if begin is None and any(tag.startswith(start) for tag in ("<think>", "<thinking>")):
                return False
            self._beginning = False
            self._thinking = begin is not None
        if self._thinking:
            end = _THOUGHTS_END.search(self._text)
            self._text = self._text[end.end() :] if end else self._text[-_LONGEST_TAG:]
            self._thinking = end is None
        return not self._thinking

    def _release(self, count: int) -> str:
        text, self._text = self._text[:count], self._text[count:]
        text = _ADDRESS.sub(_host, _LINK.sub(r"\1", text))
        first, *others = text.split("\n")
        lines = [self._line(first)]
        for line in others:
            self._before, self._at_line_start = "", True
            lines.append(self._line(line))
        return "\n".join(lines)

    def _line(self, line: str) -> str:
        """A line, or a part of one that ends between two words."""
        if self._at_line_start:
            line = _RULE_OR_FENCE.sub("", line, count=1) if _RULE_OR_FENCE.match(line) else line
            mark = _LINE_MARK.match(line)
            line = line[mark.end() :] if mark else line
            self._at_line_start = not line.strip()
        spoken = _MARKS.sub("", self._before + line)[len(_MARKS.sub("", self._before)) :]
        self._before = line[-1:] or self._before
        return spoken


def _host(address: re.Match[str]) -> str:
    found = _PUNCTUATION.search(address.group(2) or address.group(1))
    after = found.group() if found else ""
    host = address.group(1)
    return (host if address.group(2) else host.removesuffix(after)) + after
