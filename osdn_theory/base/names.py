"""Names that a person writes in options: taken apart, and held against those that exist."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def split_names(given: Sequence[str] | None) -> list[str] | None:
    """Names from an option that may repeat and may hold commas; None if it was not given."""
    if not given:
        return None
    return [name.strip() for item in given for name in item.split(",") if name.strip()]


def given_names(option: str, given: Sequence[str] | None) -> list[str] | None:
    """As :func:`split_names`, but raises ``ValueError`` where the option was given without a name."""
    names = split_names(given)
    if names is not None and not names:
        raise ValueError(f"{option}: expected at least one name, got {', '.join(given or ())!r}")
    return names


def known_names(option: str, given: Sequence[str] | None, valid: Iterable[str]) -> list[str] | None:
    """The names of an option, each one of `valid` in its spelling; upper and lower case are the same.

    Raises ValueError: for no name, and for an unknown one: the closest valid one, and all of them.
    """
    names = given_names(option, given)
    if names is None:
        return None
    spelling = {name.lower(): name for name in valid}
    for name in names:
        if name.lower() not in spelling:
            close = get_close_matches(name.lower(), spelling, n=1)
            hint = f"; did you mean {spelling[close[0]]!r}?" if close else "."
            raise ValueError(f"{option}: unknown name {name!r}{hint} Valid: {', '.join(spelling.values())}")
    return [spelling[name.lower()] for name in names]
