"""Distributions as pip --target leaves them, to be put on the path."""

from pathlib import Path


def install(folder: Path, name: str, module: str, text: str) -> None:
    """A distribution `functa-MODULE` 0.1, with a module and an entry point."""
    info = folder / f"functa_{module}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: functa-{module}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[functa]\n{name} = functa_{module}\n")
    (folder / f"functa_{module}.py").write_text(text)
