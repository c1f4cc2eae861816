"""Reads annotations, and makes the form of every type that a reading holds."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections import abc
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Final, Literal, Union

from otel_studio.base import _codec_forms as forms
from otel_studio.base._codec_forms import Form, Mismatch, Versions
from otel_studio.base.locks import new_lock

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]

LEFT_OUT_KEY: Final = "otel_studio.left_out"
_NOTHING: Final = type(None)
_SCALARS: Final = (int, float, str, bool, _NOTHING)
_SEQUENCES: Final[dict[Any, tuple[Callable[[Any], Any], bool]]] = {
    list: (list, True),
    abc.Sequence: (tuple, True),
    frozenset: (frozenset, False),
    set: (set, False),
}
_MAPPINGS: Final = (dict, abc.Mapping, abc.MutableMapping, types.MappingProxyType)


@dataclasses.dataclass(frozen=True, slots=True)
class Registration:
    """A type with a name of its own in what is written.

    Attributes:
        name: short and stable; the class may be renamed.
        version: of what its fields mean.
        upgrades: by an older version, what makes plain data of the next one of it.
    """

    name: str
    version: int
    upgrades: Mapping[int, Upgrade]


class RecordForm(Form):
    """The form of a dataclass: its fields by name.

    Args:
        kind: the dataclass.
        registration: its name and version, where it has them.
    """

    __slots__ = ("_decoders", "_encoders", "_get", "_kind", "_names", "_required", "registration")

    def __init__(self, kind: type, registration: Registration | None) -> None:
        super().__init__(kind.__name__, self._to_plain, self._from_plain)
        self._kind = kind
        self.registration = registration

    def fill(self, fields: Mapping[str, Form], required: frozenset[str]) -> None:
        """Set the fields; apart from the rest, for a field may hold what holds it.

        Args:
            fields: the forms by name.
            required: the names of those without a default.
        """
        self.children = tuple(fields.values())
        self._names = tuple(fields)
        self._get = attrgetter(*fields) if len(fields) > 1 else self._get_few
        self._encoders = [(name, form.encode) for name, form in fields.items() if form.encode]
        self._decoders = {name: form.decode for name, form in fields.items()}
        self._required = required

    def _get_few(self, value: Any) -> tuple[Any, ...]:
        return tuple(getattr(value, name) for name in self._names)

    def _to_plain(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, self._kind):
            raise Mismatch(self.expects, value)
        plain = dict(zip(self._names, self._get(value), strict=True))
        for name, encode in self._encoders:
            try:
                plain[name] = encode(plain[name])
            except Mismatch as error:
                error.path.append(name)
                raise
        return plain

    def _from_plain(self, plain: Any, versions: Versions) -> Any:
        if type(plain) is not dict:
            raise Mismatch(self.expects, plain)
        if self.registration is not None:
            plain = self._upgraded(plain, versions)
        values = {}
        decoders = self._decoders
        for name, value in plain.items():
            decode = decoders.get(name)
            if decode is not None:  # what another version wrote is skipped
                try:
                    values[name] = decode(value, versions)
                except Mismatch as error:
                    error.path.append(name)
                    raise
        if not self._required <= values.keys():
            missing = ", ".join(sorted(self._required - values.keys()))
            raise Mismatch(f"the field {missing} of {self.expects}", plain, "nothing")
        return self._kind(**values)

    def _upgraded(self, plain: dict[str, Any], versions: Versions) -> dict[str, Any]:
        known = self.registration
        assert known is not None
        for version in range(versions.get(known.name, 1), known.version):
            upgrade = known.upgrades.get(version)
            if upgrade is not None:
                plain = upgrade(plain)
        return plain


class Forms:
    """Every form that was made so far, and what types are written as."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._made: dict[Any, Form] = {}
        self.registered: dict[type, Registration] = {}
        self._written_as: dict[Any, tuple[type, Callable[[Any], Any]]] = {}

    def write_as(self, kind: Any, record: type, convert: Callable[[Any], Any]) -> None:
        """Have what is annotated as one type written, and read, as another one."""
        with self._lock:
            self._written_as[kind] = (record, convert)
            self._made = {}

    def of(self, annotation: Any) -> Form:
        """Return the form of a type.

        Raises:
            TypeError: if it, or a type in it, cannot be written.
        """
        form = self._made.get(annotation)
        if form is None:
            with self._lock:
                # A form whose fields are not filled yet is nobody else's to use.
                made = dict(self._made)
                form = self._form(annotation, made)
                self._made = made
        return form

    def _form(self, annotation: Any, made: dict[Any, Form]) -> Form:
        annotation = _NOTHING if annotation is None else annotation
        found = made.get(annotation)
        if found is None:
            found = self._new(annotation, made)
            made[annotation] = found
        return found

    def _new(self, annotation: Any, made: dict[Any, Form]) -> Form:
        if annotation in self._written_as:
            return self._converted(*self._written_as[annotation], made)
        if annotation in _SCALARS:
            return forms.scalar_form([annotation])
        if annotation is bytes:
            return forms.bytes_form()
        if isinstance(annotation, typing.NewType):
            return self._form(annotation.__supertype__, made)
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is not None:
            return self._generic(annotation, origin, arguments, made)
        if isinstance(annotation, type):
            if issubclass(annotation, enum.Enum):
                return forms.enum_form(annotation)
            if hasattr(annotation, "to_plain") and hasattr(annotation, "from_plain"):
                return self._plain_pair(annotation, made)
            if dataclasses.is_dataclass(annotation):
                return self._record(annotation, made)
        raise TypeError(
            f"the codec cannot write {annotation!r}; expected a dataclass, a scalar, a collection "
            "of them or a class with to_plain and from_plain. Annotate the field so, or leave it "
            "out."
        )

    def _generic(
        self, annotation: Any, origin: Any, arguments: tuple[Any, ...], made: dict[Any, Form]
    ) -> Form:
        if origin in (Union, types.UnionType):
            return self._union(annotation, arguments, made)
        if origin is Literal:
            return forms.choice_form(arguments)
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is Ellipsis:
                return forms.sequence_form(self._form(arguments[0], made), tuple, ordered=True)
            return forms.fixed_form(tuple(self._form(one, made) for one in arguments))
        if origin in _SEQUENCES:
            make, ordered = _SEQUENCES[origin]
            return forms.sequence_form(self._form(arguments[0], made), make, ordered)
        if origin in _MAPPINGS:
            key, value = (self._form(one, made) for one in arguments)
            return forms.mapping_form(key, value, origin is types.MappingProxyType)
        raise TypeError(f"the codec cannot write {annotation!r}; use tuple, list or dict.")

    def _union(self, annotation: Any, members: tuple[Any, ...], made: dict[Any, Form]) -> Form:
        kinds = [one for one in members if one in _SCALARS]
        scalars = forms.scalar_form(kinds) if kinds else None
        others = [one for one in members if one not in _SCALARS]
        if not others:
            assert scalars is not None
            return scalars
        if len(others) == 1 and _is_nested(others[0], scalars):
            return forms.union_form(scalars, self._form(others[0], made))
        if all(typing.get_origin(one) is abc.Sequence for one in others):
            # An attribute's value, as OpenTelemetry has it.
            inside = [typing.get_args(one)[0] for one in others]
            if all(one in _SCALARS for one in inside):
                item = forms.scalar_form(inside)
                return forms.union_form(scalars, forms.sequence_form(item, tuple, ordered=True))
        if all(dataclasses.is_dataclass(one) for one in others):
            records = [(one, self._name(one), self._form(one, made)) for one in others]
            return forms.union_form(scalars, forms.named_form(records))
        raise TypeError(
            f"the codec cannot tell the members of {annotation!r} apart; expected scalars, and "
            "one other type or several dataclasses. Narrow the annotation."
        )

    def _name(self, kind: type) -> str:
        registered = self.registered.get(kind)
        return kind.__name__ if registered is None else registered.name

    def _converted(
        self, record: type, convert: Callable[[Any], Any], made: dict[Any, Form]
    ) -> Form:
        form = self._form(record, made)
        encode_record = form.encode

        def encode(value: Any) -> Any:
            value = value if isinstance(value, record) else convert(value)
            return value if encode_record is None else encode_record(value)

        return Form(form.expects, encode, form.decode, children=(form,))

    def _plain_pair(self, kind: Any, made: dict[Any, Form]) -> Form:
        form = self._form(typing.get_type_hints(kind.to_plain)["return"], made)
        encode_plain, decode_plain, from_plain = form.encode, form.decode, kind.from_plain

        def encode(value: Any) -> Any:
            plain = value.to_plain()
            return plain if encode_plain is None else encode_plain(plain)

        def decode(plain: Any, versions: Versions) -> Any:
            return from_plain(decode_plain(plain, versions))

        return Form(kind.__name__, encode, decode, children=(form,))

    def _record(self, kind: Any, made: dict[Any, Form]) -> Form:
        form = made[kind] = RecordForm(kind, self.registered.get(kind))
        hints = typing.get_type_hints(kind)
        fields, required = {}, set()
        for field in dataclasses.fields(kind):
            if not field.init or field.metadata.get(LEFT_OUT_KEY):
                continue
            fields[field.name] = self._form(hints[field.name], made)
            if field.default is field.default_factory is dataclasses.MISSING:
                required.add(field.name)
        form.fill(fields, frozenset(required))
        return form


def _is_nested(kind: Any, scalars: Form | None) -> bool:
    """Tell whether a type can be told from scalars: what is text itself cannot from text."""
    as_text = kind is bytes or (isinstance(kind, type) and issubclass(kind, enum.Enum))
    return not (as_text and scalars is not None and str in scalars.scalars)


def versions_in(form: Form) -> dict[str, int]:
    """Return the versions of the registered types that a form holds."""
    return {known.name: known.version for known in _registrations(form, set())}


def _registrations(form: Form, seen: set[int]) -> Iterator[Registration]:
    if id(form) in seen:
        return
    seen.add(id(form))
    if isinstance(form, RecordForm) and form.registration is not None:
        yield form.registration
    for child in form.children:
        yield from _registrations(child, seen)
