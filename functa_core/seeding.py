"""Every random choice is a function of the run's seed and of what it is for."""

import hashlib


def derive(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose: derive(0, "batch", 17). The same on every machine."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
