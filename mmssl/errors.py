"""The one exception for mistakes the user can mend, and how names stand in a message."""

from collections.abc import Sequence


class UserError(Exception):
    """Wrong input: the message says what is wrong, where, and what would be right."""


def nearest(word: str, valid: list[str], n: int = 3, most: int = 8) -> str:
    """Name the valid words closest to a misspelt one, as the tail of an error message; of many, at most `most`."""
    from difflib import get_close_matches

    close = get_close_matches(word, valid, n=n, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    shown = valid if len(valid) <= most else [*get_close_matches(word, valid, n=most, cutoff=0), "..."]
    return f"valid names: {', '.join(shown)}"


def few(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
