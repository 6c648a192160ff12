"""Checks of what comes out: metrics, stored latents and files to look at."""

from __future__ import annotations

import json
import mimetypes
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from functa_core.files import save_tensors, sha256
from functa_core.functaset import Functaset
from functa_core.meta.learner import Learner
from functa_core.modality import Artefact, Field, Modality, seeded
from functa_core.networks.base import NetworkField
from functa_core.runs.opening import describe_spec
from functa_core.testing.check import Inapplicable, require, require_tensor
from functa_core.testing.conditions import no_display
from functa_core.testing.subject import META, Subject

NAMES = ("first", "second")
SIGNATURES = {
    ".png": (0, b"\x89PNG"),
    ".jpg": (0, b"\xff\xd8\xff"),
    ".gif": (0, b"GIF8"),
    ".mp4": (4, b"ftyp"),
    ".wav": (0, b"RIFF"),
    ".glb": (0, b"glTF"),
    ".npz": (0, b"PK"),
    ".npy": (0, b"\x93NUMPY"),
}
"""Where and how files of a kind begin."""


def metrics(subject: Subject) -> None:
    """Each metric has a name of its own and is one finite number for each signal, better for right
    predictions than for wrong ones, in the direction it claims.
    """
    claimed = list(subject.prepared.metrics())
    if not claimed:
        raise Inapplicable("the modality has no metrics beside PSNR")
    names = [metric.name for metric in claimed]
    distinct = len({*names, "psnr_db", "context_psnr_db"}) == len(names) + 2
    require(distinct, "names unlike each other and PSNR's", names, "Rename one.")
    whole = subject.whole
    target = whole.known_values
    noise = torch.randn(target.shape, generator=seeded(7))
    wrong = target + subject.prepared.spec.peak * noise
    for metric in claimed:
        best, worst = (
            require_tensor(f"metric '{metric.name}' gives", metric.compute(predicted, whole))
            for predicted in (target, wrong)
        )
        for found in (best, worst):
            fits = found.shape == (len(whole),) and bool(torch.isfinite(found).all())
            asked = f"metric '{metric.name}' is a finite number for each of {len(whole)} signals"
            require(fits, asked, found.tolist(), "Read known_values under the weights.")
        better = best > worst if metric.higher_is_better else best < worst
        way = "higher" if metric.higher_is_better else "lower"
        require(
            bool(better.all()),
            f"metric '{metric.name}' is {way} for right predictions",
            f"{best.tolist()} for right ones, {worst.tolist()} for wrong ones",
            "Mend it, or its higher_is_better.",
        )


def save_load(subject: Subject) -> None:
    """Latents, weights and state that were written to disk, read by a modality made anew, give the
    same arrays and files to look at, byte for byte.
    """
    learner = subject.learner(torch.float32)
    count = min(len(NAMES), len(subject.signals))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made = _functaset(subject, learner, count, root)
        made.save(root / "latents.safetensors")
        stored = Functaset.load(root / "latents.safetensors")
        stored.check_weights(sha256(root / "weights.safetensors"), root)
        fresh = subject.learner(torch.float32)
        fresh.load_state_dict(load_file(root / "weights.safetensors"))  # copies
        again = subject.make(dict(stored.state))
        before = _rendered(subject.prepared, learner, made.latents, root / "before")
        after = _rendered(again, fresh, stored.latents, root / "after")
    remedy = "Let render() and decode() read nothing but the field, the options and the state."
    same = torch.equal(before[0].nan_to_num(), after[0].nan_to_num())
    require(same, "the same arrays from stored latents", "others", remedy)
    differing = sorted({name for name, _ in before[1].items() ^ after[1].items()})
    require(not differing, "the same files from stored latents", f"other {differing}", remedy)


def _functaset(subject: Subject, learner: Learner, count: int, root: Path) -> Functaset:
    save_tensors(root / "weights.safetensors", learner.state_dict(), {})
    return Functaset(
        latents=subject.latents(count, torch.float32),
        psnr_db=torch.zeros(count),
        labels=None,
        ids=list(subject.splits[0].ids[:count]),
        modality=subject.prepared.name,
        spec=describe_spec(subject.prepared),
        state=json.loads(json.dumps(subject.state)),
        split="train",
        weights_sha256=sha256(root / "weights.safetensors"),
        inner_steps=META.inner_steps,
        versions={},
    )


def _rendered(
    modality: Modality[object], learner: Learner, latents: Tensor, out: Path
) -> tuple[Tensor, dict[str, bytes]]:
    """What decode() and render() make of latents: an array, and files by their path."""
    out.mkdir()
    field = NetworkField(learner.network, latents)
    with torch.no_grad(), no_display():
        array = modality.decode(field, 8)
        modality.render(field, out, NAMES[: len(latents)])
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return array, {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def render(subject: Subject) -> None:
    """Without a display, render() writes at least one file for each latent, at the native size and
    at one that is asked for, and announces all it writes as what it is.
    """
    learner = subject.learner(torch.float32)
    field = NetworkField(learner.network, subject.latents(len(NAMES), torch.float32))
    for resolution in (None, 8):
        with tempfile.TemporaryDirectory() as folder, torch.no_grad(), no_display():
            _check_files(subject.prepared, field, Path(folder), resolution)


def _check_files(
    modality: Modality[object], field: Field, out: Path, resolution: int | None
) -> None:
    announced: Any = modality.render(field, out, NAMES, resolution)
    fine = isinstance(announced, list) and all(isinstance(one, Artefact) for one in announced)
    remedy = "Return what was written, with caption and media type."
    require(fine, "a list of Artefact from render()", announced, remedy)
    for artefact in announced:
        _check_artefact(artefact, out)
    _check_names(announced, out)
    written = {path for path in out.rglob("*") if path.is_file()}
    silent = sorted(path.name for path in written - {each.path for each in announced})
    require(not silent, "an artefact for each file", f"none for {silent}", "Return one.")


def _check_artefact(artefact: Artefact, out: Path) -> None:
    path = artefact.path
    there = path.is_file() and path.stat().st_size > 0
    require(there, f"a file at {path.name}", "nothing there", "Write it before announcing it.")
    require(
        path.resolve().is_relative_to(out.resolve()),
        "files inside the folder that is given",
        path,
        "Write below `out`.",
    )
    require(artefact.caption.strip(), f"a caption of {path.name}", "none", "Say what is seen.")
    usual = mimetypes.MimeTypes().guess_type(path.name)[0]
    require(
        usual in (None, artefact.media_type),
        f"the media type of {path.name}",
        f"{artefact.media_type}, where {usual} is usual",
        "The report goes by it.",
    )
    start, signature = SIGNATURES.get(path.suffix.lower(), (0, b""))
    head = path.read_bytes()[start : start + len(signature)]
    require(head == signature, f"{path.name} is what its name says", head, "Mend its writer.")


def _check_names(announced: Sequence[Artefact], out: Path) -> None:
    for name in NAMES:
        mine = [a for a in announced if a.path.relative_to(out).parts[0].startswith(name)]
        require(mine, f"a file whose name begins with '{name}'", "none", "Use `names`.")
