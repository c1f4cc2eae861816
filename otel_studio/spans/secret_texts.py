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
_PAIR_END: Final = re.compile(r"\s*+[)\]]")
#: `scheme://user:password@host`; the user stays.
_ADDRESS: Final = re.compile(
    r"""(://[^\s/?#"'<>@:\\]*+:)(?!\[redacted\][@&,;)\]}])[^\s/?#"'<>\\]*@"""
)


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
        self._names = re.compile(rf"(?:{'|'.join(spelled) or '(?!)'})s?", re.IGNORECASE)

    def without(self, text: str) -> str:
        """Return a text without the values that follow a name."""
        parts: list[str] = []
        done = at = 0
        scanner: ValueScanner | None = None
        while (name := self._names.search(text, at)) is not None:
            at = name.start() + 1
            scanner = scanner or ValueScanner(text)
            found = _value(text, name, scanner)
            if found is not None:
                begins, at, instead = found
                parts += text[done:begins], instead
                done = at
        if not parts:
            return text
        parts.append(text[done:])
        return "".join(parts)


def without_passwords(text: str) -> str:
    """Return a text without the passwords in its addresses."""
    if "://" not in text or "@" not in text:
        return text
    return _ADDRESS.sub(rf"\1{REDACTED}@", text)


#: Where a value begins and ends, and what takes its place.
_Found = tuple[int, int, str]


def _value(text: str, name: re.Match[str], scanner: ValueScanner) -> _Found | None:
    """Return the value of a name, `None` where it has none."""
    between = _BETWEEN.match(text, name.end())
    if between is None:
        return None
    at = between.end()
    if between["assign"] or between["named"]:
        found = _assigned(name[0].lower(), at, scanner)
        return None if found is None else (at, *found)
    lead = text[max(name.start() - _MAX_LEAD, 0) : name.start()]
    is_option = lead[len(lead.rstrip(_IN_A_NAME)) :].startswith("-")
    if between["comma"]:
        found = scanner.quoted(at) if between["quote"] else None
        is_pair = found is not None and _PAIR_END.match(text, found[0]) is not None
        return (at, *found) if found is not None and (is_option or is_pair) else None
    if is_option:
        blanks = None if between["quote"] else _BLANKS.match(text, at)
        found = None if blanks is None else scanner.value(blanks.end())
        return None if blanks is None or found is None else (blanks.end(), *found)
    begins = lead.rfind("<")
    if begins < 0 or lead.find(">", begins) >= 0:
        return None
    return _content(text, name.start() - len(lead) + begins, at, scanner)


def _assigned(name: str, at: int, scanner: ValueScanner) -> tuple[int, str] | None:
    if name.rstrip("s").endswith("cookie"):
        return scanner.cookies(at)
    if name.rstrip("s").endswith("authorization"):
        return scanner.credentials(at)
    return scanner.value(at)


def _content(text: str, begins: int, at: int, scanner: ValueScanner) -> _Found | None:
    """Return the content of an XML element, `at` being in its opening tag."""
    tag, rest = _TAG.match(text, begins), _REST_OF_TAG.match(text, at)
    if tag is None or rest is None or rest[0].endswith("/>"):
        return None
    end = scanner.element(rest.end(), tag[1])
    return (rest.end(), end, REDACTED) if text[rest.end() : end].strip() else None
