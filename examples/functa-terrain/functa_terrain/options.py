"""What can be set with `--set modality.KEY=VALUE`."""

import attrs
from functa_core import option


@attrs.frozen
class TerrainConfig:
    """Options of `terrain`.

    Raises:
        ValueError: `resolution` does not divide `tile`.
    """

    tile: int = option(256, "cells a side that the data is cut into, the remainder left out", low=4)
    resolution: int | None = option(
        64,
        "cells a side that a tile is reduced to, by the mean of areas; it has to divide modality."
        "tile. null: as it is",
        low=2,
    )
    scaling: str = option(
        "tile",
        "what the network sees as 0 to 1: the range of each tile (the published benchmark; two "
        "numbers of each tile are then not in its latent) or that of all training data (a latent "
        "alone gives metres)",
        choices=("tile", "data"),
    )
    points: int | None = option(
        512, "cells that an update looks at, the same for its whole batch. null: all", low=1
    )
    turns: bool = option(
        True,
        "let each update see each tile turned and mirrored at random, which makes eight of one",
    )
    nodata: float | None = option(
        None, "number in the files that stands for no height. null: what each file says itself"
    )
    metres_per_unit: float = option(1.0, "height in metres of one step of a PNG", above=0)
    cell: float | None = option(
        None,
        "size of a cell of the data in metres, for shading. null: what the files say, or 30",
        above=0,
    )
    exaggeration: float = option(2.0, "how many times too steep slopes are shaded", above=0)

    def __attrs_post_init__(self) -> None:
        if self.tile % self.side:
            raise ValueError(f"resolution must divide tile, got {self.resolution} and {self.tile}")

    @property
    def side(self) -> int:
        """Cells a side of a tile as the network sees it."""
        return self.tile if self.resolution is None else self.resolution
