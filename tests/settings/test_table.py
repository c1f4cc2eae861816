"""The table itself: every row reads back what it writes, and the reference page follows it."""

from __future__ import annotations

import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_studio.settings import kinds
from otel_studio.settings.loading import Settings, load_settings
from otel_studio.settings.table import ROWS, SettingsKeywords, variable_of

ROOT = Path(__file__).parents[2]

#: Settings whose value must go with another's, and what goes with any value of theirs.
TOGETHER = {
    "sampler_arg": {"OTEL_TRACES_SAMPLER": "traceidratio"},
    "export_batch_size": {"OTEL_BSP_MAX_QUEUE_SIZE": "1000000"},
    "export_queue_size": {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"},
}
WORDS = st.from_regex(r"[a-z][a-z_.]{0,20}", fullmatch=True)


def values_of(name: str) -> st.SearchStrategy:  # noqa: PLR0911  (one return a kind)
    kind = ROWS[name].kind
    if isinstance(kind, kinds.NumberOrText):
        return st.floats(0, 1)
    if isinstance(kind, kinds.Text | kinds.Attributes):
        names = st.text("a=,%é.", min_size=1)
        return WORDS if isinstance(kind, kinds.Text) else st.dictionaries(names, WORDS)
    if isinstance(kind, kinds.Boolean):
        return st.booleans()
    if isinstance(kind, kinds.OneOf):
        return st.sampled_from(kind.words)
    if isinstance(kind, kinds.SamplerChoice):
        return st.sampled_from(kind.known)
    if isinstance(kind, kinds.Integer):
        return st.integers(kind.minimum, kind.maximum)
    if isinstance(kind, kinds.Seconds):
        return st.floats(kind.minimum, kind.maximum)
    if isinstance(kind, kinds.Bounds):
        numbers = st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=50, unique=True)
        return numbers.map(lambda some: tuple(sorted(some)))
    if isinstance(kind, kinds.Exporters):
        return st.lists(st.sampled_from(kind.known), unique=True).map(tuple)
    if isinstance(kind, kinds.QualifiedNames):
        part = st.from_regex(r"[a-z_][a-zA-Z0-9_]{0,9}", fullmatch=True)
        dotted = st.lists(part, min_size=2, max_size=4).map(".".join)
        names = dotted.filter(lambda name: not name.startswith("builtins."))
        return st.lists(names | st.just("LookupError"), unique=True).map(tuple)
    assert isinstance(kind, kinds.Texts)
    return st.lists(WORDS, unique=True).map(tuple)


@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=40)
@given(data=st.data())
def test_every_value_goes_through_variable_and_keyword_alike(name, data):
    """Written as its variable, or given as its keyword, a value arrives as it was."""
    value = data.draw(values_of(name))
    environ = dict(TOGETHER.get(name, {}))
    assert_same(getattr(load_settings(environ, "/", **{name: value}), name), value)
    text = ROWS[name].kind.to_text(value)
    if text:
        assert_same(getattr(load_settings({**environ, variable_of(name): text}, "/"), name), value)


def assert_same(got, value):
    assert got == (pytest.approx(value) if isinstance(value, float) else value)


@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=40)
@given(text=st.text(max_size=60))
def test_no_text_in_the_environment_breaks_the_host(name, text):
    """Whatever a variable holds, loading gives settings that are in range."""
    loaded = load_settings({**TOGETHER.get(name, {}), variable_of(name): text}, "/")
    value = getattr(loaded, name)
    assert value is None or ROWS[name].kind.check(value) == value


@pytest.mark.parametrize("name", ROWS)
def test_every_default_is_in_its_own_range(name):
    """A default that the table itself would refuse could not be written down by a user."""
    default = getattr(Settings(), name)
    assert default is None or ROWS[name].kind.check(default) == default


def test_no_two_settings_share_a_variable():
    """One variable, one meaning."""
    variables = [variable_of(name) for name in ROWS]
    assert len(set(variables)) == len(variables)


def test_the_typed_keywords_are_the_table():
    """What an editor offers for `configure` is what it takes."""
    assert list(SettingsKeywords.__annotations__) == list(ROWS)
    assert all("None" in str(hint) for hint in SettingsKeywords.__annotations__.values())
    assert typing.is_typeddict(SettingsKeywords)


def test_every_setting_is_read_somewhere():
    """A setting that nothing reads would promise what it does not do."""
    files = (ROOT / "otel_studio").rglob("*.py")
    source = "\n".join(file.read_text() for file in files if not file.name.startswith("_setting"))
    read = set(re.findall(r"settings\.(\w+)", source))
    read |= {row.falls_back_to for row in ROWS.values()}
    assert set(ROWS) <= read


@pytest.mark.parametrize("name", ROWS)
def test_every_row_says_what_it_means_in_whole_sentences(name):
    """The reference page is made of these words."""
    row = ROWS[name]
    assert row.meaning[0].isupper()
    assert row.meaning.endswith(".")
    assert row.kind.expected


def test_loading_the_settings_loads_no_sdk():
    """Reading the settings of a program that records nothing costs nothing."""
    program = (
        "import sys; from otel_studio.settings.loading import load_settings;"
        "load_settings({}, '/');"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'importlib.meta',"
        " 'tomllib', 'difflib'))])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
