"""Embeddings laid out on a plane, to be looked at: by principal components, or by UMAP.

::

    from geopretext.predict.embedding_plane import principal_plane

    plane = principal_plane(table.vectors())
    plane.points, plane.explained

Shapes: n rows, D features.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError, MissingLibraryError

Vectors = npt.NDArray[np.float32]

_FITTED = 50_000
"""rows that principal components are computed from: more change them little"""
UMAP_ROWS = 20_000
"""rows that UMAP lays out at most, as its time grows with them: about a minute on two cores"""
_NEIGHBOURS, _CLOSEST = 15, 0.1


@dataclass(frozen=True)
class Plane:
    """Where rows lie."""

    points: Vectors
    """(n, 2); NaN of rows that are not laid out"""
    explained: tuple[float, ...] = ()
    """share of the variance along each axis; empty where an axis means nothing"""

    @property
    def laid_out(self) -> int:
        """How many rows have a point."""
        return int(np.isfinite(self.points[:, 0]).sum())


def principal_plane(vectors: Vectors) -> Plane:
    """The plane in which rows differ most (Hotelling 1933). The same vectors give the same signs.

    Raises:
        InputError: there are fewer than three rows, or fewer than two features.
    """
    _check(vectors)
    some = vectors[evenly(len(vectors), _FITTED)].astype(np.float64)
    mean = some.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(some - mean, rowvar=False))
    axes = axes[:, ::-1][:, :2]
    # An axis has no direction of its own: let its largest entry be positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    points = (vectors - mean.astype(np.float32)) @ axes.astype(np.float32)
    total = max(float(variances.sum()), np.finfo(np.float64).tiny)
    return Plane(points, tuple(float(max(variance, 0.0) / total) for variance in variances[::-1][:2]))


def umap_plane(vectors: Vectors, *, seed: int = 0) -> Plane:
    """Rows of a high cosine lie together (McInnes, Healy and Melville 2018); distances between groups mean nothing.

    Of more than ``UMAP_ROWS`` rows, so many are laid out, evenly taken. The same vectors and seed give the same plane.

    Raises:
        InputError: there are fewer than three rows, or fewer than two features.
        MissingLibraryError: umap-learn is not installed.
    """
    _check(vectors)
    if not has_umap():
        raise MissingLibraryError("umap", extra="viewer", purpose="lay embeddings out by UMAP")
    from umap import UMAP

    rows = evenly(len(vectors), UMAP_ROWS)
    layout = UMAP(
        n_neighbors=min(_NEIGHBOURS, len(rows) - 1),
        min_dist=_CLOSEST,
        metric="cosine",
        init="pca" if len(rows) < 4 * _NEIGHBOURS else "spectral",
        random_state=seed,
        n_jobs=1,  # what a seed asks for
    )
    points = np.full((len(vectors), 2), np.nan, np.float32)
    points[rows] = layout.fit_transform(vectors[rows])
    return Plane(points)


def has_umap() -> bool:
    """Whether umap-learn is installed."""
    return find_spec("umap") is not None


def evenly(rows: int, most: int) -> npt.NDArray[np.int64]:
    """At most ``most`` of some rows, evenly taken."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))


def _check(vectors: Vectors) -> None:
    if len(vectors) < 3 or vectors.shape[1] < 2:
        raise InputError(
            f"{len(vectors)} rows of {vectors.shape[1]} numbers span no plane",
            hint="three rows are the least",
        )
