"""The order of rounds, and the ratios of each to the rounds of none on both sides of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

NONE = "none"


def order(subjects: Sequence[str], number: int) -> list[str]:
    """Return the rounds of one turn: every subject between two rounds of none.

    Args:
        subjects: what is compared with none.
        number: of the turn; every second goes the other way round.

    Returns:
        For example none, ours, none, theirs, none.
    """
    turn = [NONE]
    for subject in subjects if number % 2 == 0 else reversed(subjects):
        turn += [subject, NONE]
    return turn


def ratios(turn: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    """Return each subject's cost as a ratio to the mean of none before and after it.

    Args:
        turn: the rounds in the order they were taken, each the subject and its cost.

    Raises:
        ValueError: if a subject does not stand between two rounds of none.
    """
    taken = list(turn)
    found: dict[str, list[float]] = {}
    for place, (subject, cost) in enumerate(taken):
        if subject == NONE:
            continue
        sides = [taken[at] for at in (place - 1, place + 1) if 0 <= at < len(taken)]
        if [name for name, _ in sides] != [NONE, NONE]:
            raise ValueError(f"the round of {subject} does not stand between two of none")
        found.setdefault(subject, []).append(cost / statistics.mean(none for _, none in sides))
    return found
