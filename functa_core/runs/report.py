"""report.html: what ran, how it went and what it looks like, in one file that needs no other."""

from __future__ import annotations

import base64
import io
import json
import os
import platform
from pathlib import Path
from typing import Any

import jinja2
import torch
from markupsafe import Markup

from functa_core import __version__
from functa_core.drawing import drawn
from functa_core.encoding import Encoder
from functa_core.files import write_atomic
from functa_core.modality import Artefact
from functa_core.runs.directory import RunDirectory
from functa_core.runs.opening import Session
from functa_core.runs.tasks import task_artefacts

PICTURED = 8
"""How many test signals the report shows."""
SHOWN = ("png", "jpeg", "gif", "webp", "svg+xml")
"""Kinds of picture that every browser shows; others are linked."""


def write_report(session: Session, encoder: Encoder) -> None:
    """Draw the figures and write the page.

    Metrics that are not there yet are left out of it.
    """
    directory = session.directory
    previews = draw_previews(session)
    artefacts = draw_figures(session, encoder)
    metrics = directory.read_metrics()
    rows = _rows(metrics)
    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).from_string(Path(__file__).with_name("report.html.j2").read_text())
    page = template.render(
        name=directory.root.resolve().name,
        metrics=metrics,
        facts=_facts(metrics),
        rows=rows,
        columns=list(dict.fromkeys(key for _, figures in rows for key in figures)),
        curve=Markup(_curve(directory.log)),
        artefacts=[_embed(artefact, directory.root) for artefact in artefacts],
        tasks=_tasks(directory, metrics),
        previews=[_embed(artefact, directory.root) for artefact in previews],
        config=directory.config.read_text(),
        hardware=_hardware(session),
        versions={"functa-core": __version__, "torch": torch.__version__},
        units={metric.name: metric.unit for metric in session.modality.metrics()},
    )
    write_atomic(directory.report, page)


def draw_previews(session: Session) -> list[Artefact]:
    """The modality's pictures of its training data, into `figures/data/`."""
    folder = session.directory.figures / "data"
    folder.mkdir(parents=True, exist_ok=True)
    return drawn(session.modality, "preview", session.train, out=folder)


@torch.no_grad()
def draw_figures(session: Session, encoder: Encoder) -> list[Artefact]:
    """Pictures of the first test signals after 0, 1, … inner steps, into `figures/`.

    Where the modality holds part of a test signal out, the fit has not seen it.
    """
    folder = session.directory.figures
    folder.mkdir(parents=True, exist_ok=True)
    count = len(session.test)
    chosen = sorted({round(i * (count - 1) / max(PICTURED - 1, 1)) for i in range(PICTURED)})
    few = [session.test[i] for i in chosen]
    paths = []
    for part, observations in encoder.batches(few):
        hidden = session.modality.held_out(part, observations)
        paths.append(encoder.fit(observations if hidden is None else observations.masked(~hidden)))
    fields = [encoder.field(torch.cat(latents)) for latents in zip(*paths, strict=True)]
    return drawn(session.modality, "figures", few, fields, out=folder)


def _tasks(directory: RunDirectory, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """For each task its name, its figures as rows of text, and its pictures."""
    drawn = task_artefacts(directory)
    return [
        {
            "name": name,
            "rows": _flat(figures),
            "artefacts": [_embed(artefact, directory.root) for artefact in drawn.get(name, [])],
        }
        for name, figures in metrics.get("tasks", {}).items()
    ]


def _flat(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested figures as (path, text)."""
    rows = []
    for key, value in figures.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key} › ")
        else:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            rows.append((f"{prefix}{key}", text))
    return rows


def _facts(metrics: dict[str, Any]) -> list[tuple[str, Any]]:
    names = {
        "modality": "modality",
        "data": "data",
        "n_train": "training signals",
        "n_test": "test signals",
        "latent_numbers": "numbers a latent",
        "params": "shared parameters",
        "inner_steps": "inner steps",
        "precision": "precision of the fits",
        "steps": "outer updates",
        "seconds": "seconds of training",
        "seed": "seed",
    }
    return [(text, metrics[key]) for key, text in names.items() if key in metrics]


def _rows(metrics: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Rows of the table of figures: both splits, then the baselines."""
    reconstruction = metrics.get("reconstruction", {})
    rows = [(f"functa, {split}", reconstruction[split]) for split in reconstruction]
    beside = metrics.get("baselines", {})
    return rows + [(f"{name}, test", figures) for name, figures in beside.items()]


def _curve(log: Path) -> str:
    """PSNR of the training batches against updates, as SVG."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    if len(lines) < 2:
        return ""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    steps, psnr = [line["step"] for line in lines], [line["psnr_db"] for line in lines]
    axes.plot(steps, psnr, color="#2563eb")
    axes.set_xlabel("outer updates")
    axes.set_ylabel("PSNR of the batch (dB)")
    axes.grid(alpha=0.3)
    svg = io.StringIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    text = svg.getvalue()
    return text[text.index("<svg") :]


def _embed(artefact: Artefact, root: Path) -> dict[str, str]:
    """An artefact for the template: its data inline where a browser can show it, else a link."""
    kind, _, subtype = artefact.media_type.partition("/")
    path = os.path.relpath(artefact.path, root)
    if kind not in ("image", "audio", "video") or (kind == "image" and subtype not in SHOWN):
        return {"kind": "link", "source": path, "caption": artefact.caption, "path": path}
    data = base64.b64encode(artefact.path.read_bytes()).decode()
    source = f"data:{artefact.media_type};base64,{data}"
    return {"kind": kind, "source": source, "caption": artefact.caption, "path": path}


def _hardware(session: Session) -> str:
    if session.device.type == "cuda":
        return torch.cuda.get_device_name(session.device)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
