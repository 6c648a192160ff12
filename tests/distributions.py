"""Distributions that pip installs into a folder, and commands with that folder on the path."""

import base64
import csv
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
PLUGINS = Path(__file__).parent / "plugins"
QUICK_TASKS = [
    *("tasks.generate.model=flow", "tasks.generate.flow_steps=2", "tasks.generate.samples=2"),
    *("tasks.generate.scored=8", "tasks.impute.signals=2", "tasks.impute.steps=2"),
    *("tasks.impute.prior=gaussian", "tasks.interpolate.pairs=1", "tasks.interpolate.frames=3"),
    *("tasks.interpolate.ways=[straight]", "tasks.compress.bits=[4]"),
]
"""Options of tasks, for runs that are about something else."""
TINY_IMAGES = [
    *("meta.steps=1", "model.width=8", "model.depth=3", "model.latent_dim=4"),
    *("modality.resolution=8", "tasks.classify.steps=2"),
    *QUICK_TASKS,
]
TINY_IMAGES = [part for option in TINY_IMAGES for part in ("--set", option)]
"""Options of a whole run of the modality `images` that takes a second or two."""


def functa(folder: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own that finds what is installed in the folder."""
    path = os.pathsep.join([str(folder), str(PLUGINS), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "functa_core", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep), **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )


def install(folder: Path, name: str, module: str, text: str) -> None:
    """A distribution `functa-MODULE` 0.1, with a module and an entry point."""
    install_all(folder, [(name, module, text)])


def install_all(folder: Path, distributions: list[tuple[str, str, str]]) -> None:
    """Several of them, each (name of the entry point, module, its text), by one call of pip."""
    with tempfile.TemporaryDirectory() as place:
        wheels = [str(_wheel(Path(place), *one)) for one in distributions]
        command = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
        command += ["install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
        subprocess.run([*command, "--target", str(folder), *wheels], check=True)


def _wheel(place: Path, name: str, module: str, text: str) -> Path:
    """The file that pip installs: a zip of the module, what is said about it, and their hashes."""
    info = f"functa_{module}-0.1.dist-info"
    files = {
        f"functa_{module}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: functa-{module}\nVersion: 0.1\n",
        f"{info}/WHEEL": WHEEL,
        f"{info}/entry_points.txt": f"[functa]\n{name} = functa_{module}\n",
    }
    record = io.StringIO()
    rows = csv.writer(record)
    for path, content in files.items():
        digest = hashlib.sha256(content.encode()).digest()
        hashed = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        rows.writerow([path, f"sha256={hashed}", len(content.encode())])
    rows.writerow([f"{info}/RECORD", "", ""])
    wheel = place / f"functa_{module}-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in {**files, f"{info}/RECORD": record.getvalue()}.items():
            archive.writestr(path, content)
    return wheel
