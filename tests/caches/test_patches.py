"""Functions that are replaced and put back."""

from __future__ import annotations

from otel_studio.caches.patches import Patches


class Base:
    def greet(self) -> str:
        """Say hello."""
        return "hello"


class Derived(Base):
    pass


def shouting(original):
    def greet(self: Base) -> str:
        return original(self) + "!"

    return greet


def test_method_is_replaced_and_put_back() -> None:
    """The replacement looks like the original, and the very same object comes back."""
    before = Base.__dict__["greet"]
    patches = Patches()
    patches.replace(Base, "greet", shouting)
    assert Base().greet() == "hello!"
    assert Base.greet.__doc__ == "Say hello."
    patches.restore()
    assert Base.__dict__["greet"] is before
    patches.restore()
    assert not patches.active


def test_inherited_method_is_inherited_again() -> None:
    """Nothing stays on a class that had no method of its own."""
    patches = Patches()
    patches.replace(Derived, "greet", shouting)
    assert (Derived().greet(), Base().greet()) == ("hello!", "hello")
    patches.restore()
    assert "greet" not in vars(Derived)


def test_method_wrapped_by_another_since_is_left() -> None:
    """Someone else's wrapper is not torn off; ours underneath learns that it is off."""
    before = Base.__dict__["greet"]
    patches = Patches()
    patches.replace(Base, "greet", shouting)
    ours = Base.__dict__["greet"]
    others = Patches()
    others.replace(Base, "greet", shouting)
    patches.restore()
    assert Base().greet() == "hello!!"
    assert not patches.active
    others.restore()
    assert Base.__dict__["greet"] is ours
    Base.greet = before  # type: ignore[method-assign]


def test_function_that_is_not_there_is_left() -> None:
    """An older or newer library without the function is no failure."""
    patches = Patches()
    patches.replace(Base, "shout", shouting)
    assert not hasattr(Base, "shout")
    patches.restore()
