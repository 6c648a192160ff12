"""functa: deep learning on functions.

Everything a program or a plugin needs is importable from here. The names are resolved when they are
first used, so that `functa --help` does not wait for torch.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from functa_core.arrays import ArrayFile as ArrayFile
    from functa_core.benchmark import Benchmark as Benchmark
    from functa_core.cache import cached as cached
    from functa_core.cache import cached_all as cached_all
    from functa_core.cache import fingerprint as fingerprint
    from functa_core.coordinates import grid as grid
    from functa_core.coordinates import random_subset as random_subset
    from functa_core.coordinates import sphere_grid as sphere_grid
    from functa_core.dataset import Dataset as Dataset
    from functa_core.dataset import DataSource as DataSource
    from functa_core.dataset import Split as Split
    from functa_core.dataset import skip_notes as skip_notes
    from functa_core.discovery.hookspecs import Event as Event
    from functa_core.discovery.hookspecs import hookimpl as hookimpl
    from functa_core.errors import UserError as UserError
    from functa_core.functaset import Functaset as Functaset
    from functa_core.functaset import ShardWriter as ShardWriter
    from functa_core.functaset import StoredFunctaset as StoredFunctaset
    from functa_core.keeping import Kept as Kept
    from functa_core.modality import API_VERSION as API_VERSION
    from functa_core.modality import Modality as Modality
    from functa_core.modality_types import Artefact as Artefact
    from functa_core.modality_types import Baseline as Baseline
    from functa_core.modality_types import Box as Box
    from functa_core.modality_types import Codec as Codec
    from functa_core.modality_types import Field as Field
    from functa_core.modality_types import Mask as Mask
    from functa_core.modality_types import Metric as Metric
    from functa_core.modality_types import Published as Published
    from functa_core.modality_types import Spec as Spec
    from functa_core.modality_types import State as State
    from functa_core.modality_types import UnitSphere as UnitSphere
    from functa_core.observations import Observations as Observations
    from functa_core.options import option as option
    from functa_core.runs.api import Run as Run
    from functa_core.runs.api import load_run as load_run
    from functa_core.runs.api import train as train
    from functa_core.sources import Files as Files
    from functa_core.sources import class_folders as class_folders
    from functa_core.tasks.base import Material as Material
    from functa_core.tasks.base import NotApplicable as NotApplicable
    from functa_core.tasks.base import Outcome as Outcome
    from functa_core.tasks.base import Task as Task
    from functa_core.tasks.classify import load_classifier as load_classifier
    from functa_core.tasks.compress import decompress as decompress

_HOMES = {
    "arrays": ["ArrayFile"],
    "benchmark": ["Benchmark"],
    "cache": ["cached", "cached_all", "fingerprint"],
    "coordinates": ["grid", "random_subset", "sphere_grid"],
    "dataset": ["DataSource", "Dataset", "Split", "skip_notes"],
    "discovery.hookspecs": ["Event", "hookimpl"],
    "errors": ["UserError"],
    "functaset": ["Functaset", "ShardWriter", "StoredFunctaset"],
    "keeping": ["Kept"],
    "modality": ["API_VERSION", "Modality"],
    "modality_types": [
        "Artefact",
        "Baseline",
        "Box",
        "Codec",
        "Field",
        "Mask",
        "Metric",
        "Published",
        "Spec",
        "State",
        "UnitSphere",
    ],
    "observations": ["Observations"],
    "options": ["option"],
    "runs.api": ["Run", "load_run", "train"],
    "tasks.base": ["Material", "NotApplicable", "Outcome", "Task"],
    "sources": ["Files", "class_folders"],
    "tasks.classify": ["load_classifier"],
    "tasks.compress": ["decompress"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":  # a checkout that is not installed has none, and needs none
        return version("functa-core")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'functa_core' has no attribute '{name}'")
    return getattr(importlib.import_module(f"functa_core.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
