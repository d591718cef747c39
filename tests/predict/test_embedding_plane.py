"""Planes of embeddings: principal components against scikit-learn's, and what is refused."""

import numpy as np
import pytest

from geopretext.errors import InputError
from geopretext.predict import embedding_plane
from geopretext.predict.embedding_plane import principal_plane, umap_plane


@pytest.fixture(scope="module")
def vectors():
    """Three groups of 40 rows that differ along two of twelve directions."""
    random = np.random.default_rng(3)
    middles = np.array([[8.0, 0.0], [-4.0, 5.0], [-4.0, -5.0]])
    turn = np.linalg.qr(random.normal(size=(12, 12)))[0][:2]
    return (middles.repeat(40, axis=0) @ turn + random.normal(0, 0.5, (120, 12))).astype(np.float32)


def test_principal_components_are_those_of_scikit_learn(vectors) -> None:
    PCA = pytest.importorskip("sklearn.decomposition", reason="needs scikit-learn").PCA
    plane = principal_plane(vectors)
    reference = PCA(2).fit(vectors)
    points = reference.transform(vectors)
    signs = np.sign((points * plane.points).sum(axis=0))
    np.testing.assert_allclose(plane.points, points * signs, atol=1e-4)
    assert plane.explained == pytest.approx(reference.explained_variance_ratio_.tolist(), rel=1e-4)
    assert plane.laid_out == 120


def test_an_axis_keeps_its_direction(vectors) -> None:
    axis = np.linalg.lstsq(vectors - vectors.mean(axis=0), principal_plane(vectors).points, rcond=None)[0]
    assert (axis[np.abs(axis).argmax(axis=0), [0, 1]] > 0).all()


def test_rows_that_are_all_the_same_lie_in_one_point() -> None:
    plane = principal_plane(np.ones((5, 3), np.float32))
    np.testing.assert_array_equal(plane.points, np.zeros((5, 2)))
    assert plane.explained == (0.0, 0.0)


@pytest.mark.parametrize("shape", [(2, 4), (10, 1)])
def test_too_little_to_lay_out(shape) -> None:
    with pytest.raises(InputError, match=f"{shape[0]} rows of {shape[1]} numbers span no plane"):
        principal_plane(np.zeros(shape, np.float32))


@pytest.mark.slow
def test_umap_keeps_groups_apart_and_repeats(vectors, monkeypatch) -> None:
    pytest.importorskip("umap", reason="needs umap-learn")
    plane = umap_plane(vectors)
    np.testing.assert_array_equal(plane.points, umap_plane(vectors).points)
    middles = plane.points.reshape(3, 40, 2).mean(axis=1)
    distance = np.linalg.norm(plane.points[:, None] - middles, axis=2)
    np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(3).repeat(40))
    monkeypatch.setattr(embedding_plane, "UMAP_ROWS", 60)
    assert umap_plane(vectors).laid_out == 60
