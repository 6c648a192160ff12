"""Coloured surfaces: triangles that know their colour at every point."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from jaxtyping import Float, Int, UInt8

NO_TEXTURE = -1


@attrs.frozen(eq=False)
class Surface:
    """F triangles, each with corners of its own.

    Attributes:
        triangles: their corners.
        colours: RGB in [0, 1] at each corner, linear in between.
        uv: texture coordinates at each corner, (0, 0) being a picture's lower left corner; the
            picture repeats outside [0, 1].
        texture: of each triangle the index of its picture, −1 for none. A picture's colour is
            multiplied with the corners'.
        pictures: the textures.
    """

    triangles: Float[np.ndarray, "F 3 3"]
    colours: Float[np.ndarray, "F 3 3"]
    uv: Float[np.ndarray, "F 3 2"]
    texture: Int[np.ndarray, " F"]
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]] = ()

    def normals(self) -> Float[np.ndarray, "F 3"]:
        """Unit normals; zero for a triangle without an area, which no ray hits."""
        corners = self.triangles
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        return np.asarray(normals / np.maximum(lengths, np.finfo(float).tiny))

    def colour_at(
        self, faces: Int[np.ndarray, " n"], shares: Float[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n 3"]:
        """Colours at points on the surface.

        Args:
            faces: the triangle each point lies on.
            shares: of its three corners, adding up to 1 (barycentric coordinates).
        """
        colours = _mixed(self.colours[faces], shares)
        for index, picture in enumerate(self.pictures):
            painted = np.flatnonzero(self.texture[faces] == index)
            uv = _mixed(self.uv[faces[painted]], shares[painted])
            colours[painted] *= sampled(picture, uv)
        return colours

    def shares_at(
        self, faces: Int[np.ndarray, " n"], points: Float[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n 3"]:
        """Barycentric coordinates of points in the planes of triangles that have an area."""
        origin, first, second = np.moveaxis(self.triangles[faces], 1, 0)
        a, b, c = first - origin, second - origin, points - origin
        aa, ab, bb = _dot(a, a), _dot(a, b), _dot(b, b)
        ac, bc = _dot(a, c), _dot(b, c)
        area = np.maximum(aa * bb - ab * ab, np.finfo(float).tiny)
        # A point hit at the very edge may lie outside by a rounding error.
        one = ((bb * ac - ab * bc) / area).clip(0, 1)
        two = ((aa * bc - ab * ac) / area).clip(0, 1)
        return np.stack([(1 - one - two).clip(0, 1), one, two], axis=1)


def plain(triangles: Float[np.ndarray, "F 3 3"], colours: Float[np.ndarray, "F 3 3"]) -> Surface:
    """A surface without textures."""
    count = len(triangles)
    return Surface(
        triangles, colours, np.zeros((count, 3, 2)), np.full(count, NO_TEXTURE, np.int64)
    )


def joined(surfaces: Sequence[Surface]) -> Surface:
    """Several surfaces as one."""
    starts = np.cumsum([0, *(len(s.pictures) for s in surfaces)])
    shifted = [
        np.where(s.texture == NO_TEXTURE, NO_TEXTURE, s.texture + start)
        for s, start in zip(surfaces, starts[:-1], strict=True)
    ]
    return Surface(
        np.concatenate([s.triangles for s in surfaces]),
        np.concatenate([s.colours for s in surfaces]),
        np.concatenate([s.uv for s in surfaces]),
        np.concatenate(shifted),
        [picture for s in surfaces for picture in s.pictures],
    )


def sampled(
    picture: UInt8[np.ndarray, "h w 3"], uv: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 3"]:
    """Colours of a repeating picture, in [0, 1], bilinear between the centres of its pixels."""
    height, width = picture.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    left, top = np.floor(x), np.floor(y)
    right_share, lower_share = (x - left)[:, None], (y - top)[:, None]
    columns = [(left + i).astype(np.int64) % width for i in (0, 1)]
    rows = [(top + i).astype(np.int64) % height for i in (0, 1)]
    upper, lower = (
        picture[row, columns[0]] * (1 - right_share) + picture[row, columns[1]] * right_share
        for row in rows
    )
    return np.asarray((upper * (1 - lower_share) + lower * lower_share) / 255)


def _mixed(
    corners: Float[np.ndarray, "n 3 k"], shares: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n k"]:
    """The mean of what three corners have, by their shares."""
    return np.asarray((corners * shares[:, :, None]).sum(axis=1))


def _dot(a: Float[np.ndarray, "n 3"], b: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    return np.asarray((a * b).sum(axis=1))
