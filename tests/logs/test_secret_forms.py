"""The forms in which credentials stand in texts and values, and what only looks like them."""

from __future__ import annotations

import json
import random
import time
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_studio.spans.redaction import REDACTED, Redactor, SafeRedactor

from proving import scaled

NAMES = ("authorization", "cookie", "password", "passwd", "secret", "api_key", "access_token")
SECRET = "s3cr3t/cred+ential=="


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor(NAMES)


def nested(levels: int) -> str:
    text = json.dumps({"user": "bob", "password": SECRET})
    for _ in range(levels):
        text = json.dumps({"body": text, "ok": True})
    return text


FORMS = [
    *(
        f"Authorization: {scheme} {SECRET}"
        for scheme in ("Bearer", "Bot", "JWT", "Basic", "Token", "Negotiate", "NTLM", "SSWS", "X-y")
    ),
    f"Authorization: SharedKey account:{SECRET}",
    "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu/s3/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=" + SECRET,
    f'Authorization: Digest username="u", realm="a b", nonce="", response="{SECRET}", qop=auth',
    f'Authorization: Digest qop=auth response="{SECRET}"',
    f'Authorization: OAuth realm="x",oauth_token="t",oauth_signature="{SECRET}"',
    f'Authorization: Hawk id="x", ts="1", ext=" e", mac="{SECRET}"',
    f"authorization: {SECRET}",
    f"Proxy-Authorization: Basic {SECRET}",
    f"curl -H 'Authorization: Bot {SECRET}' https://x",
    f"{{'Authorization': 'Bot {SECRET}'}}",
    f"('Authorization', 'Bearer {SECRET}')",
    f"headers: [(b'host', b'x'), (b'authorization', b'Bearer {SECRET}')]",
    f'[["authorization", "Bearer {SECRET}"], ["host", "x"]]',
    f"<CIMultiDictProxy('Host': 'x', 'Authorization': 'Bot {SECRET}')>",
    json.dumps([{"name": "Authorization", "value": f"Bot {SECRET}"}]),
    f'{{"password": {{"value": "{SECRET}"}}}}',
    f'{{"password": {{"a": "}}", "value": "{SECRET}"}}}}',
    f'{{"password": [1, "]", "{SECRET}"]}}',
    f'{{\n  "password": {{\n    "value": "{SECRET}"\n  }}\n}}',
    nested(0),
    nested(1),
    nested(2),
    repr(nested(1)),
    f'{{"password": "{SECRET}',  # what was cut
    f'{{"password": {{"value": "{SECRET}',
    f"<password>{SECRET}</password>",
    f'<ns:password type="text">{SECRET}</ns:password>',
    f"<db_password><value>{SECRET}</value></db_password>",
    f"<password><![CDATA[{SECRET}]]></password>",
    f'<entry key="password">{SECRET}</entry>',
    f'<user name="bob" password="{SECRET}"/>',
    f'<property name="password" value="{SECRET}"/>',
    f"<password>{SECRET}",
    f"mysql --password {SECRET} --user bob",
    f"mysql --password={SECRET}",
    f"tool --db-password '{SECRET}'",
    f"['mysql', '--password', '{SECRET}', '--user', 'bob']",
    f"java -Dapp.password={SECRET}",
    f"GET /login?user=bob&password={quote(SECRET)}&x=1",
    urlencode({"user[password]": SECRET, "x": 1}),
    quote(json.dumps({"password": SECRET})),
    f"{{&quot;password&quot;:&quot;{SECRET}&quot;}}",
    f"Cookie: a=1; sid={SECRET}; b=2",
    f'Cookie: a=1; sid="{SECRET}"; b=2',
    f"Set-Cookie: a=1, sid={SECRET}; Path=/; HttpOnly",
    f"Login(user='bob', password='{SECRET}')",
    f"password=({SECRET})",
    f"password=<{SECRET}>",
    f"password=x{{{SECRET}}}",
    f'password = """{SECRET}"""',
    f"password := '{SECRET}'",
    f"secret: password: {SECRET}",
    f"X-API-KEY => {SECRET}",
]


@pytest.mark.parametrize("text", FORMS)
def test_the_value_goes_in_every_form(redactor: Redactor, text: str) -> None:
    """Nothing of it is left, a second time changes nothing, and so within other text."""
    for whole in (text, f"before it {text}\nafter it"):
        found = redactor.text(whole)
        assert "s3cr3t" not in found
        assert "ential" not in found
        assert REDACTED in found
        assert redactor.text(found) is found
    assert "before it " in found


def test_passwords_in_addresses_go_and_users_stay(redactor: Redactor) -> None:
    """Of databases and brokers, with a user or without, also several in a text."""
    text = "postgres://bob:hun@ter2@db:5432/x and redis://:hunter2@cache/0 https://host:80/a@b"
    assert redactor.text(text) == (
        f"postgres://bob:{REDACTED}@db:5432/x and redis://:{REDACTED}@cache/0 https://host:80/a@b"
    )


@pytest.mark.parametrize(
    "text",
    [
        "the password is required",
        "password must have 8 characters, secret or not",
        "Unknown option --password",
        "no cookie, no authorization; see the docs (api_key)",
        "ssh://git@github.com/x and mail to bob@example.com",
        "http://localhost:8080/users?mail=a@b.c",
        "fields=('name', 'password', 'email')",
        "if password > limit and secret < 3",
        "<p>Your password</p> <label>secret</label>",
        '<input type="password" name="x">',
        "<password></password><secret/>",
        "secretary: bob, cookies are nice, passwordless=yes",
        "don't say 'password' or \"secret\"",
    ],
)
def test_what_only_speaks_of_secrets_stays(redactor: Redactor, text: str) -> None:
    """The same object comes back."""
    assert redactor.text(text) is text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bot abc status=200", "Authorization: [redacted] status=200"),
        ("password=abc== status=200", "password=[redacted] status=200"),
        (
            "{'q': 'password=abc', 'user': 'bob'}",
            "{'q': 'password=[redacted]', 'user': 'bob'}",
        ),
        (
            '{"a": "{\\"password\\": \\"x\\", \\"b\\": 1}"}',
            '{"a": "{\\"password\\": \\"[redacted]\\", \\"b\\": 1}"}',
        ),
        ("f(password=abc, user=5)", "f(password=[redacted], user=5)"),
        ("<password>x</password><b>1</b>", "<password>[redacted]</password><b>1</b>"),
        ("password='cut off\nnext line", "password='[redacted]'\nnext line"),
        ("run --password x --user bob", "run --password [redacted] --user bob"),
    ],
)
def test_what_stands_beside_a_secret_stays(redactor: Redactor, text: str, expected: str) -> None:
    """And the text can be read by whoever reads it."""
    assert redactor.text(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (("authorization", "Bot x"), ("authorization", REDACTED)),
        ([["Authorization", "x"], ["host", "h"]], [["Authorization", REDACTED], ["host", "h"]]),
        (
            [(b"host", b"h"), (b"authorization", b"Bearer x")],
            [(b"host", b"h"), (b"authorization", REDACTED)],
        ),
        (["mysql", "--password", "x", "-v"], ["mysql", "--password", REDACTED, "-v"]),
        ({"headers": [("set-cookie", "x")]}, {"headers": [("set-cookie", REDACTED)]}),
        (bytearray(b"password=x"), b"password=[redacted]"),
        (b"\xff password=\xa0x\x85 y", b"\xff password=[redacted] y"),
    ],
)
def test_pairs_and_commands_as_values(redactor: Redactor, value: Any, expected: Any) -> None:
    """As headers and arguments are given; names and all else stay."""
    assert redactor.value("note", value) == expected


def test_what_is_too_deep_to_look_through_is_not_told(redactor: Redactor) -> None:
    """Nobody knows what is in it."""
    value: Any = {"password": "hunter2"}
    for _ in range(20):
        value = [value]
    assert "hunter2" not in str(redactor.value("note", value))


PIECES = [
    "secret=[", 'secret="\\"', "secret={(", "cookie=a;", "secret ", "secret='x' ", "<secret ",
    "<secret>", "</secret>", "('secret', \"x", 'authorization: a="', "authorization: a b=c ",
    "--secret ", "secret:", "secret: ", "\\", 'secret=\\\\"', "&quot;secret&quot;:&quot;",
    "://a:b", "://secret:@", 'secret\\"', "secret&quot;", "secret='''", "[", "secret, ",
]  # fmt: skip


def seconds(redactor: Redactor, text: str) -> float:
    taken = []
    for _ in range(3):
        began = time.process_time()
        redactor.text(text)
        taken.append(time.process_time() - began)
    return min(taken)


@pytest.mark.parametrize("piece", PIECES)
def test_time_grows_as_the_text_does(redactor: Redactor, piece: str) -> None:
    """Eight times the text takes about eight times as long, whatever repeats in it."""
    count = 16_000 // len(piece)
    small, large = seconds(redactor, piece * count), seconds(redactor, piece * count * 8)
    assert large < max(small, 0.002) * 16


@pytest.mark.patient
def test_time_grows_as_random_texts_do(redactor: Redactor) -> None:
    """Repeated mixtures of all that means something, from a seed that is said."""
    for seed in range(60):
        chosen = random.Random(seed)
        piece = "".join(chosen.choices(PIECES, k=chosen.randint(2, 5)))
        count = 8_000 // len(piece)
        small, large = seconds(redactor, piece * count), seconds(redactor, piece * count * 8)
        assert large < max(small, 0.002) * 20, f"seed {seed}: {piece!r}"


ATOMS = st.sampled_from(
    [*NAMES, *PIECES, " ", "\n", "=", ": ", ",", ";", "'", '"', "\\", "(", ")", "[", "]", "{", "}",
     "<", ">", "--", "&", "%22", "%3D", REDACTED, "@", "/", "b'", "value", "s", "é", "\udc80", "x"]
)  # fmt: skip
NOISE = st.lists(ATOMS, max_size=12).map("".join)


@given(NOISE)
@settings(deadline=None, max_examples=scaled(500, 3))
def test_any_text_is_redacted_once(text: str) -> None:
    """It never raises, a second time changes nothing, and what holds nothing is the same object."""
    for redactor in (Redactor(NAMES), SafeRedactor.like(Redactor(NAMES))):
        found = redactor.text(text)
        assert redactor.text(found) is found
        if found == text:
            assert found is text


@given(
    # A quote that opens before it makes another value of what follows.
    NOISE.map(lambda text: text.replace("'", "").replace('"', "")),
    st.sampled_from(NAMES),
    st.sampled_from(["=", ": ", " => ", '": "', "': b'", '\\": \\"', "=[", "={'a': '"]),
    NOISE,
)
@settings(deadline=None, max_examples=scaled(500, 3))
def test_a_planted_secret_never_stays(before: str, name: str, between: str, after: str) -> None:
    """Behind its name, whatever stands before and after it."""
    found = Redactor(NAMES).text(f"{before}\n{name}{between}hunter2 {after}")
    assert "hunter2" not in found
