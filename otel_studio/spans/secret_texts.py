"""Takes the values beside names of secrets out of a text, and credentials out of addresses."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from typing import Final

from otel_studio.spans.secret_values import REDACTED, ValueScanner

#: Characters before a name that are looked at: the rest of an option's or an element's name.
_MAX_LEAD: Final = 100
_IN_A_NAME: Final = string.ascii_letters + string.digits + "_.:-"
_QUOTE: Final = r"""\\{0,15}["']|%22|%27|&quot;|&\#34;|&\#39;"""
#: What may stand between a name and its value; where it is only a quote or nothing, the name may
#: be an option of a command, or in the opening tag of an XML element.
_BETWEEN: Final = re.compile(
    rf"""
    (?: \] | %5D )?
    (?P<quote> {_QUOTE} )?
    (?:
        (?P<assign> \s*+ (?: => | [:=]++ | %3A | %3D ) \s*+ )
      | (?P<named> [\s,]++ (?: {_QUOTE} )? value (?: {_QUOTE} )? \s*+ [:=] \s*+ )
      | (?P<comma> \s*+ , \s*+ )
    )?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_BLANKS: Final = re.compile(r"[ \t]++(?!-)")
_REST_OF_TAG: Final = re.compile(r"(?:\s[^<>]*+)?>")
_TAG: Final = re.compile(r"<([\w.:-]++)")
_PAIR_START: Final = re.compile(r"""[(\[]\s*+[bBrRuU]{0,2}\\{0,15}["'][\w.-]*+\Z""")
_PAIR_END: Final = re.compile(r"\s*+[)\]]")
#: `scheme://user:password@host`; the user stays.
_ADDRESS: Final = re.compile(
    r"""(://[^\s/?#"'<>@:\\]*+:)(?!\[redacted\][@&,;)\]}])[^\s/?#"'<>\\]*@"""
)
#: Where a value begins and ends, and what takes its place.
_Found = tuple[int, int, str]


class SecretTexts:
    """Takes out the values that follow names of secrets.

    Known are `name=value` and `name: value`, quoted or not, also within escaped JSON; brackets
    with all that is in them; pairs, as headers are given, `("name", "value")`; options of a
    command, `--name value`; XML elements and attributes; cookies; and whatever follows
    `Authorization:`.

    Args:
        names: of secrets, as their words.
    """

    def __init__(self, names: Iterable[tuple[str, ...]]) -> None:
        spelled = ["[-_. ]?".join(map(re.escape, words)) for words in names]
        spelled.sort(key=len, reverse=True)
        any_name = rf"(?:{'|'.join(spelled) or '(?!)'})s?"
        self._names = re.compile(any_name, re.IGNORECASE)
        self._at_end = re.compile(rf"{any_name}\Z", re.IGNORECASE)

    def without(self, text: str) -> str:
        """Return a text without the values that follow a name."""
        parts: list[str] = []
        done = at = 0
        scanner: ValueScanner | None = None
        while (name := self._names.search(text, at)) is not None:
            at = name.start() + 1
            scanner = scanner or ValueScanner(text)
            found = _value(text, name.start(), name.end(), scanner)
            if found is not None:
                begins, _, instead = found
                between = text[name.end() : begins]
                if between.endswith(">"):  # the rest of a tag, which may have attributes
                    between = self.without(between)
                parts += text[done : name.end()], between, instead
                done = at = self._behind_names(text, name, found, scanner)
        if not parts:
            return text
        parts.append(text[done:])
        return "".join(parts)

    def _behind_names(
        self, text: str, name: re.Match[str], found: _Found, scanner: ValueScanner
    ) -> int:
        """Return where a value ends; what was taken for one may be a name, with its own value."""
        begins, end, _ = found
        while True:
            begins = max(begins, end - _MAX_LEAD)
            inner = self._at_end.search(text[begins:end].rstrip("\\\"'"))
            if inner is None:
                return end
            own = _value(text, begins + inner.start(), begins + inner.end(), scanner)
            if own is None or own[1] <= end:
                return end
            begins, end = own[0], scanner.rest(own[1], of_cookies=_is_cookie(name[0]))


def without_passwords(text: str) -> str:
    """Return a text without the passwords in its addresses."""
    if "://" not in text or "@" not in text:
        return text
    return _ADDRESS.sub(rf"\1{REDACTED}@", text)


def _value(text: str, start: int, end: int, scanner: ValueScanner) -> _Found | None:
    """Return the value of the name that stands there, `None` where it has none."""
    between = _BETWEEN.match(text, end)
    if between is None:
        return None
    at = between.end()
    if between["assign"] or between["named"]:
        found = _assigned(text[start:end], at, scanner)
        return None if found is None else (at, *found)
    lead = text[max(start - _MAX_LEAD, 0) : start]
    is_option = lead[len(lead.rstrip(_IN_A_NAME)) :].startswith("-")
    if between["comma"]:
        found = scanner.quoted(at) if between["quote"] else None
        if found is None or not (is_option or _is_pair(text, lead, found[0])):
            return None
        return at, *found
    if is_option:
        blanks = None if between["quote"] else _BLANKS.match(text, at)
        found = None if blanks is None else scanner.value(blanks.end())
        return None if blanks is None or found is None else (blanks.end(), *found)
    begins = lead.rfind("<")
    if begins < 0 or lead.find(">", begins) >= 0:
        return None
    return _content(text, start - len(lead) + begins, at, scanner)


def _is_pair(text: str, lead: str, end: int) -> bool:
    return _PAIR_START.search(lead) is not None and _PAIR_END.match(text, end) is not None


def _assigned(name: str, at: int, scanner: ValueScanner) -> tuple[int, str] | None:
    if _is_cookie(name):
        return scanner.cookies(at)
    if name.lower().rstrip("s").endswith("authorization"):
        return scanner.credentials(at)
    return scanner.value(at)


def _is_cookie(name: str) -> bool:
    return name.lower().rstrip("s").endswith("cookie")


def _content(text: str, begins: int, at: int, scanner: ValueScanner) -> _Found | None:
    """Return the content of an XML element, `at` being in its opening tag."""
    tag, rest = _TAG.match(text, begins), _REST_OF_TAG.match(text, at)
    if tag is None or rest is None or rest[0].endswith("/>"):
        return None
    end = scanner.element(rest.end(), tag[1])
    return (rest.end(), end, REDACTED) if text[rest.end() : end].strip() else None
