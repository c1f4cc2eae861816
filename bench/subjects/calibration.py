"""A fixed piece of plain Python: how fast this machine is now, beside what has a bound in ms."""

from __future__ import annotations

from bench.subject import Subject

#: Rounds of the loop: some 50 ms on the machine that the bounds were set on.
_ROUNDS = 540_000


def loop() -> int:
    """Do the fixed work: arithmetic and a dictionary, no calls and no allocation that lasts."""
    total, table = 0, {}
    for number in range(_ROUNDS):
        total = (total * 31 + number) & 0xFFFF
        table[total & 1_023] = number
    return total


def make() -> Subject:
    """Return the loop as a subject."""
    return Subject({"loop": loop})
