"""Depths as numbers, for those who compute with them."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from functa_nerf.cameras import Lens
from functa_nerf.views import View


class DepthMaps:
    """An `.npz` of the depth and opacity of views and of the cameras that saw them.

    Arrays: `depth` and `opacity` (V, H, W) float32 (see `View`), `poses` (V, 4, 4) camera-to-world,
    OpenGL convention, and `intrinsics` (3, 3) in pixels. Views wait in temporary files, not in
    memory.
    """

    def __init__(self, path: Path, poses: Float[Tensor, "V 4 4"], lens: Lens) -> None:
        self._path, self._poses, self._lens = path, poses, lens
        self._waiting = {
            name: tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
            for name in ("depth", "opacity")
        }

    def add(self, view: View) -> None:
        """The next view."""
        for name, file in self._waiting.items():
            file.write(getattr(view, name).numpy().astype("<f4").tobytes())

    def close(self) -> None:
        """Write the file; views that never came are left out."""
        lens = self._lens
        frame = 4 * lens.height * lens.width
        count = self._waiting["depth"].tell() // frame
        intrinsics = np.array([[lens.focal, 0, lens.cx], [0, lens.focal, lens.cy], [0, 0, 1]])
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, file in self._waiting.items():
                file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    shape = (count, lens.height, lens.width)
                    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(member, header)
                    shutil.copyfileobj(file, member)
                file.close()
            for name, array in (("poses", self._poses[:count].numpy()), ("intrinsics", intrinsics)):
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asarray(array))
