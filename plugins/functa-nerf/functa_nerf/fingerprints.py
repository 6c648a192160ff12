"""Names for what is kept in the cache, by the code that makes it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType


def fingerprint(*modules: ModuleType) -> str:
    """A digest of the modules' source, so that a change of any of them is never overlooked."""
    files = [module.__file__ for module in modules]
    code = b"".join(Path(file).read_bytes() for file in files if file is not None)
    return hashlib.sha256(code).hexdigest()[:12]
