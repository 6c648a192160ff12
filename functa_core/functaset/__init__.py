"""Functasets: fitted latents on disk, with what is needed to turn them back into signals.

The files are written down in docs/functaset.md.
"""

from functa_core.functaset.about import SCHEMA_VERSION as SCHEMA_VERSION
from functa_core.functaset.about import About as About
from functa_core.functaset.shards import ShardWriter as ShardWriter
from functa_core.functaset.stored import StoredFunctaset as StoredFunctaset
from functa_core.functaset.whole import Functaset as Functaset
