"""The errors that are the user's to mend."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user asked for cannot be done: exit code 2, no traceback.

    The message is one or two lines that say what was asked, what was found and what to do.
    """


class UnfitLatents(UserError):
    """Latents that nothing can be learned from: too few, or all the same, or not finite."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error of Python's, torch's or jax's says that there is no memory left."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in said for words in ("out of memory", "allocate memory"))
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'X'?" for the closest of `known`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def summary(error: BaseException) -> str:
    """An exception as one line: its type, and the beginning of what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
