"""Every promise to the core, on the embedded set and on data with a hole and a sea."""

from pathlib import Path

import numpy as np
import pytest
from functa_core.testing import Subject, conformance, run_checks
from terrain_on_disk import slope

test_conformance = conformance("terrain", resolution=8, points=32)


@pytest.mark.slow
def test_conformance_of_metres_with_holes(tmp_path: Path) -> None:
    heights = np.stack([slope(16, 16, low) for low in range(0, 500, 100)])
    heights[0, :3, :5] = np.nan
    heights[1] = 0
    np.savez(tmp_path / "some.npz", heights=heights)
    options = {"tile": 16, "resolution": 8, "points": 32, "scaling": "data"}
    results = run_checks(Subject.of("terrain", data=tmp_path / "some.npz", **options))
    assert not [result for result in results if result.state == "failed"]
