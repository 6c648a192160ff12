"""`functa config` and `functa inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from functa_core.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from functa_core.dataset import Dataset
    from functa_core.modality import Modality
    from functa_core.observations import Observations

LOOKED_AT = 64
"""How many signals of each split `inspect` reads values from."""


@click.command()
@options.modality_option
@options.plugin_option
def config(modality: str | None, plugin: str | None) -> None:
    """Print a modality's complete default configuration as YAML, each option explained."""
    from functa_core.runs.config import build_config, to_yaml
    from functa_core.runs.starting import asked_plugin

    layers = options.option_layers(file=None, assignments=(), data=None, plugin=plugin)
    asked = asked_plugin(modality, layers)
    click.echo(to_yaml(build_config(asked.modality, layers, asked.tasks)), nl=False)


@click.command()
@options.modality_option
@options.plugin_option
@options.data_option
@options.config_option
@options.set_option
@click.option("--seed", type=int, metavar="N", help="Of a random split.")
@options.skip_bad_option
@options.out_option("Folder for pictures of the data, where the modality draws some.")
def inspect(
    modality: str | None,
    plugin: str | None,
    data: str | None,
    file: str | None,
    assignments: tuple[str, ...],
    seed: int | None,
    skip_bad: bool,
    out: Path | None,
) -> None:
    """Show what would be read: count, shapes, range, labels, split. Writes nothing but --out."""
    from functa_core.runs.config import build_config
    from functa_core.runs.directory import check_folder
    from functa_core.runs.opening import prepare_modality, read_signals
    from functa_core.runs.starting import asked_plugin

    layers = options.option_layers(
        file=file,
        assignments=assignments,
        data=data,
        seed=seed,
        skip_bad=skip_bad,
        plugin=plugin,
    )
    asked = asked_plugin(modality, layers)
    make = asked.modality
    chosen = build_config(make, layers, asked.tasks)
    unprepared = make(chosen.modality, chosen.source())
    train, test = read_signals(unprepared)
    prepared = prepare_modality(unprepared, train)
    if out is not None:
        check_folder(out)
    click.echo(f"data: {chosen.data.path or 'embedded set'}")
    for split, signals in (("train", train), ("test", test)):
        for name, text in _lines(prepared, signals):
            click.echo(f"{split}: {name}: {text}")
    for note in dict.fromkeys([*train.notes, *test.notes]):
        click.echo(f"note: {note}")
    if out is not None:
        _draw(prepared, train, out)


def _draw(modality: Modality[Any], train: Dataset[Any], out: Path) -> None:
    """Pictures of the data into a folder, each announced by its path."""
    from functa_core.runs.directory import make_folder

    make_folder(out)
    drawn = modality.preview(train, out)
    for artefact in drawn:
        click.echo(f"{artefact.path}: {artefact.caption}")
    if not drawn:
        click.echo(f"note: '{modality.name}' draws no pictures of its data.")


def _lines(modality: Modality[Any], signals: Dataset[Any]) -> list[tuple[str, str]]:
    """What there is to say of one split, as (name, text)."""
    from functa_core.runs.answers import check_observations, checked_lines

    step = max(1, len(signals) // LOOKED_AT)
    seen = [modality.observations([signals[i]]) for i in range(0, len(signals), step)]
    check_observations(modality, seen[0])
    lines = [("signals", str(len(signals))), ("first", ", ".join(signals.ids[:3]))]
    lines += [*_measured(seen), *_labels(signals)]
    return lines + list(checked_lines(modality, modality.describe(signals)).items())


def _measured(seen: list[Observations]) -> list[tuple[str, str]]:
    import torch

    counts = {part.count for part in seen}
    first = seen[0]
    observed = torch.cat([part.values[part.weights > 0].flatten() for part in seen])
    same = all(part.shared and torch.equal(part.queries, first.queries) for part in seen)
    shared = "shared by all" if same else "each signal's own"
    return [
        ("queries", f"{_range(counts)} a signal, {first.queries.shape[-1]} numbers each, {shared}"),
        (
            "values",
            f"{first.values.shape[-1]} channels, {observed.min():.4g} to "
            f"{observed.max():.4g}, mean {observed.mean():.4g} (as the network sees them)",
        ),
    ]


def _labels(signals: Dataset[Any]) -> list[tuple[str, str]]:
    if signals.labels is None:
        return [("labels", "none")]
    names = [*signals.label_names]
    counted = []
    for label in sorted(set(signals.labels)):
        name = names[label] if 0 <= label < len(names) else str(label)
        counted.append(f"{name} {list(signals.labels).count(label)}")
    return [("labels", ", ".join(counted))]


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
