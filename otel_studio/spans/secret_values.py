"""Finds how far a secret value reaches in a text, in time that grows as the text does."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import Final

REDACTED: Final = "[redacted]"

#: Backslashes before a quote that are counted: JSON inside of JSON, four times.
_MAX_ESCAPES: Final = 15
_OPENING_QUOTE: Final = re.compile(
    rf"""[bBrRuUfF]{{0,2}}(?P<escapes>\\{{0,{_MAX_ESCAPES}}})(?P<quote>["'])"""
)
#: Quotes as HTML spells them.
_NAMED_QUOTE: Final = re.compile(r"&(?:quot|apos|#34|#39|#x22|#x27);", re.IGNORECASE)
#: A value without quotes goes up to a delimiter; the escape of a quote is one.
_UNQUOTED: Final = re.compile(
    rf"""(?:[^\s,;"'&<>()\[\]{{}}\\]|\\(?!\\{{0,{_MAX_ESCAPES}}}["']))++"""
)
#: A quote that begins something, rather than ends what is around.
_BEGINNING_QUOTE: Final = re.compile(rf"""\\{{0,{_MAX_ESCAPES}}}["'](?=[^\s,;:)\]}}"'\\])""")
_OPENING: Final = "([{"
_ANGLED: Final = re.compile(r"<[^<>\r\n]*+>")
#: What a search for the end of a bracket looks at; an apostrophe in a word opens nothing.
_BRACKET_OR_QUOTE: Final = re.compile(
    rf"""[()\[\]{{}}]|(?<!\w)[bBrRuUfF]{{0,2}}\\{{0,{_MAX_ESCAPES}}}["']"""
)
_CLOSING_TAG: Final = re.compile(r"</([\w.:-]++)")
_LINE_END: Final = re.compile(r"[\r\n]")
_BLANKS: Final = re.compile(r"[ \t]++")
_ASSIGNED: Final = re.compile(r"(?:=>|[:=]++)[ \t]*+")
_PAIR_SEPARATOR: Final = re.compile(r"[ \t]*+[;,][ \t]*+")
_PARAMETER: Final = re.compile(r"[\w.-]++=(?=[^\s=])")
_PARAMETER_SEPARATOR: Final = re.compile(r"\s*+[;,]\s*+")


class ValueScanner:
    """Says where values end in one text; asked from its beginning to its end.

    What it finds out once, such as that no further quote closes, it does not look for again.

    Args:
        text: the whole text.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        #: Quotes, by how often they are escaped, of which no closing one follows any more.
        self._unclosed: set[tuple[str, int]] = set()
        self._closing_tags: dict[str, list[int]] | None = None
        self._known_line_end = -1

    def value(self, at: int) -> tuple[int, str] | None:
        """Return where a value ends and what takes its place, `None` where there is none.

        Args:
            at: where it begins.
        """
        quoted = self.quoted(at)
        if quoted is not None:
            return quoted
        angled = _ANGLED.match(self._text, at)
        end = self._word(at if angled is None else angled.end())
        return None if end == at else (end, REDACTED)

    def quoted(self, at: int) -> tuple[int, str] | None:
        """Return likewise of a value in quotes; one that is not closed ends with its line."""
        opening = _OPENING_QUOTE.match(self._text, at)
        if opening is None:
            named = _NAMED_QUOTE.match(self._text, at)
            return None if named is None else self._in_named_quotes(named)
        escapes, quote = opening["escapes"], opening["quote"]
        end = self._closed(opening.end(), quote, len(escapes))
        if end is None:
            end = self._line_end(opening.end())
        return end, f"{escapes}{quote}{REDACTED}{escapes}{quote}"

    def credentials(self, at: int) -> tuple[int, str] | None:
        """Return likewise of what follows `Authorization:`: a scheme, and its token or parameters.

        Args:
            at: where it begins.
        """
        quoted = self.quoted(at)
        if quoted is not None:
            return quoted
        text = self._text
        if _PARAMETER.match(text, at):
            return self._parameters(at), REDACTED
        end = self._word(at)
        if end == at:
            return self.value(at)
        following = _BLANKS.match(text, end)
        if following is None or text.startswith(REDACTED, at):
            return end, REDACTED
        if _PARAMETER.match(text, following.end()):
            return self._parameters(following.end()), REDACTED
        assigned = _ASSIGNED.match(text, following.end())
        if assigned is not None:  # what was taken for a scheme is a name
            own = self.value(assigned.end())
            return (assigned.end() if own is None else own[0]), REDACTED
        token = self._word(following.end())
        return (end if token == following.end() else token), REDACTED

    def cookies(self, at: int) -> tuple[int, str] | None:
        """Return likewise of several pairs.

        Args:
            at: where they begin.
        """
        first = self.value(at)
        if first is None or first[1] != REDACTED:
            return first
        return self._further(first[0], _PAIR_SEPARATOR), REDACTED

    def rest(self, at: int, *, of_cookies: bool) -> int:
        """Return where a value ends of which a part is taken already.

        Args:
            at: where that part ends.
            of_cookies: whether further pairs may follow.
        """
        end = self._word(at)
        return self._further(end, _PAIR_SEPARATOR) if of_cookies else end

    def element(self, at: int, tag: str) -> int:
        """Return where the content of an XML element ends.

        Args:
            at: where it begins.
            tag: the element's name.
        """
        if self._closing_tags is None:
            self._closing_tags = {}
            for closing in _CLOSING_TAG.finditer(self._text):
                self._closing_tags.setdefault(closing[1], []).append(closing.start())
        ends = self._closing_tags.get(tag, [])
        place = bisect_left(ends, at)
        if place < len(ends):
            return ends[place]
        end = self._text.find("<", at)
        return len(self._text) if end < 0 else end

    def _word(self, at: int, *, of_parameter: bool = False) -> int:
        """Return where something without quotes ends, with the brackets and quotes inside."""
        text, end = self._text, at
        while end < len(text):
            piece = _UNQUOTED.match(text, end)
            if piece is not None:
                end = piece.end()
            elif text[end] in _OPENING:
                end = self._closed_bracket(end + 1)
            elif end > at and text[end - 1] in "=:":  # what was taken for a value is a name
                following = self._behind_name(end, of_parameter)
                if following == end:
                    break
                end = following
            else:
                break
        return end

    def _behind_name(self, at: int, of_parameter: bool) -> int:
        """Return where the value ends, or begins, that stands behind `a=` or `a:`; else `at`."""
        text = self._text
        if of_parameter or _BEGINNING_QUOTE.match(text, at):
            quoted = self.quoted(at)
            if quoted is not None:
                return quoted[0]
        blanks = _BLANKS.match(text, at) if text[at - 1] == ":" else None
        if blanks is None or blanks.end() == len(text):
            return at
        begins = text[blanks.end()] in _OPENING or _UNQUOTED.match(text, blanks.end())
        return blanks.end() if begins else at

    def _parameters(self, at: int) -> int:
        """Return where `name=value, name="value"` ends."""
        end = self._further(self._word(at, of_parameter=True), _PARAMETER_SEPARATOR)
        while True:
            blanks = _BLANKS.match(self._text, end)
            if blanks is None or _PARAMETER.match(self._text, blanks.end()) is None:
                return end
            end = self._word(blanks.end(), of_parameter=True)
            end = self._further(end, _PARAMETER_SEPARATOR)

    def _further(self, end: int, separator: re.Pattern[str]) -> int:
        while True:
            between = separator.match(self._text, end)
            if between is None:
                return end
            item = self._word(between.end(), of_parameter=separator is _PARAMETER_SEPARATOR)
            if item == between.end():
                return end
            end = item

    def _in_named_quotes(self, opening: re.Match[str]) -> tuple[int, str]:
        quote, end = opening[0], -1
        if (quote, 0) not in self._unclosed:
            end = self._text.find(quote, opening.end())
        if end < 0:
            self._unclosed.add((quote, 0))
            return self._line_end(opening.end()), f"{quote}{REDACTED}{quote}"
        return end + len(quote), f"{quote}{REDACTED}{quote}"

    def _closed(self, at: int, quote: str, escapes: int) -> int | None:
        """Return what follows the quote that closes, `None` where none does.

        Behind N backslashes, where the text was escaped so often, the quote that closes has N
        itself, and pairs of escaped backslashes before them.
        """
        if (quote, escapes) in self._unclosed:
            return None
        text, cycle = self._text, 2 * (escapes + 1)
        end = text.find(quote, at)
        while end >= 0:
            before = text[at:end]
            at = end + 1
            if (len(before) - len(before.rstrip("\\"))) % cycle == escapes:
                if escapes or not text.startswith(quote, at):
                    return at
                at += 1  # two of them: SQL's way to have one in a text, and part of three
            end = text.find(quote, at)
        self._unclosed.add((quote, escapes))
        return None

    def _closed_bracket(self, at: int) -> int:
        """Return what follows the bracket that closes; the text's end where none does."""
        depth = 1
        while depth:
            found = _BRACKET_OR_QUOTE.search(self._text, at)
            if found is None:
                return len(self._text)
            at = found.end()
            if found[0] in _OPENING:
                depth += 1
            elif found[0] in ")]}":
                depth -= 1
            else:
                quote, before = found[0][-1], found[0].count("\\")
                at = self._closed(at, quote, before) or at
        return at

    def _line_end(self, at: int) -> int:
        if at > self._known_line_end:
            found = _LINE_END.search(self._text, at)
            self._known_line_end = len(self._text) if found is None else found.start()
        return self._known_line_end
