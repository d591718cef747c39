"""Synthetic streets: exact rays, and what comes back from the folder that they are written to."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.data.sources import BatchSettings
from geopretext.data.street_tables import StreetTables, pose_matrix, to_quaternion
from geopretext.data.streets import CAMERA, StreetLoader, open_streets
from geopretext.data.synthetic_streets import Street, cast, look, make_street, write_synthetic_streets
from geopretext.errors import CorruptError, InputError, StoreError

ONE_BOX = Street(np.array([[10.0, -2, 0]]), np.array([[14.0, 3, 5]]), np.array([[1.0, 0, 0]]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streets") / "data"
    write_synthetic_streets(path, scenes=2, samples=3, height=32, width=48)
    return path


def settings(**changes: int) -> BatchSettings:
    plain = {"batch_size": 2, "parts": 1, "seed": 0, "prefetch": 1, **changes}
    return BatchSettings(bands={}, crop=32, random_crop=False, dates=None, **plain)


@pytest.mark.parametrize(
    ("direction", "distance", "what", "normal"),
    [
        ((1, 0, 0), 8, 0, (-1, 0, 0)),  # from x = 2 to the face at 10
        ((2, 0.5, 0.25), 4, 0, (-1, 0, 0)),  # lengths of the direction, not metres
        ((-1, 0, 0), math.inf, -2, (0, 0, 0)),
        ((0, 0, 1), math.inf, -2, (0, 0, 0)),
        ((0, 0, -1), 1.5, -1, (0, 0, 1)),
        ((8, 0, -1.5), 1, 0, (-1, 0, 0)),  # where the face meets the ground
        ((1, 0, 1), math.inf, -2, (0, 0, 0)),  # over it: at x = 10 it is 9.5 m up
    ],
)
def test_rays_meet_a_box_and_the_ground_exactly(
    direction: tuple[float, ...], distance: float, what: int, normal: tuple[float, ...]
) -> None:
    hits = cast(ONE_BOX, np.array([[2.0, 0, 1.5]]), np.array([direction], float))
    assert hits.distance[0] == pytest.approx(distance, abs=1e-9)
    assert (hits.what[0], *hits.normal[0]) == (what, *normal)


def test_rays_meet_what_a_walk_along_them_meets() -> None:
    """Against steps of 5 mm, in a street of many boxes."""
    street, generator = make_street(3), np.random.default_rng(0)
    origins = np.repeat([[5.0, 0, 1.5]], 12, 0)
    directions = generator.normal(size=(12, 3)) * (1, 1, 0.2)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    hits = cast(street, origins, directions)
    steps = np.arange(0, 45, 5e-3)
    for ray in range(12):
        walk = origins[ray] + steps[:, None] * directions[ray]
        inside = ((walk[:, None] > street.low) & (walk[:, None] < street.high)).all(-1).any(1) | (walk[:, 2] < 0)
        if inside.any():
            assert hits.distance[ray] == pytest.approx(steps[inside.argmax()], abs=1e-2)
        else:
            assert hits.distance[ray] > 44.9


def test_depth_is_along_the_optical_axis() -> None:
    camera = np.eye(4)
    camera[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    camera[:3, 3] = (2, 0, 1.5)
    intrinsics = np.array([[20.0, 0, 16], [0, 20, 12], [0, 0, 1]])
    picture, depth = look(ONE_BOX, camera, intrinsics, height=24, width=32)
    assert picture.shape == (24, 32, 3)
    # The face at x = 10 is square to the axis: 8 m everywhere, from y = 3 (7.5 pixels to the left) to y = -2.
    assert depth[11, 9:21] == pytest.approx(np.full(12, 8.0))
    assert np.isinf(depth[11, 7])
    assert np.isinf(depth[11, 21])
    red = picture[11, 12].astype(int)
    assert red[0] > 2 * red[1]


def test_a_pose_comes_back_from_its_quaternion() -> None:
    for seed in range(5):
        rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
        rotation *= np.linalg.det(rotation)
        again = pose_matrix(to_quaternion(rotation), [1, 2, 3])
        assert np.allclose(again[:3, :3], rotation)
        assert again[:3, 3].tolist() == [1, 2, 3]


def test_points_lie_where_the_cameras_see_something(folder: Path) -> None:
    """Points of three sweeps, moved by six poses, projected: as deep as the exact pictures, but where edges are."""
    tables = StreetTables(folder)
    for number in (0, 4):
        moment, exact = tables.moment(number), tables.exact_depth(number)
        assert len(moment.points) > 4000
        compared, agreed = 0, 0
        for camera in range(4):
            back = np.linalg.inv(moment.poses[camera])
            seen = moment.points[:, :3] @ back[:3, :3].T + back[:3, 3]
            ahead = seen[seen[:, 2] > 1]
            pixels = (ahead / ahead[:, 2:]) @ moment.intrinsics[camera].T
            column, row = np.floor(pixels[:, :2]).astype(int).T
            inside = (column >= 0) & (column < 48) & (row >= 0) & (row < 32)
            there = exact[camera][row[inside], column[inside]]
            agreed += (np.abs(there - ahead[inside, 2]) < 0.15 * ahead[inside, 2]).sum()
            compared += inside.sum()
        assert compared > 500
        assert agreed / compared > 0.85


def test_sweeps_before_the_first_are_none(folder: Path) -> None:
    tables = StreetTables(folder)
    alone, more = tables.moment(0, sweeps=0), tables.moment(0, sweeps=9)
    assert 2 * len(alone.points) < len(more.points) < 4 * len(alone.points)


def test_nothing_of_it_is_pickled(folder: Path) -> None:
    endings = {"".join(path.suffixes) for path in folder.rglob("*") if path.is_file()}
    assert endings == {".json", ".png", ".npy", ".pcd.bin"}
    rows = json.loads((folder / "v1.0-synthetic" / "sample.json").read_text())
    assert len(rows) == 6
    assert sum(row["prev"] == "" for row in rows) == 2


def test_is_the_same_of_the_same_seed(folder: Path, tmp_path: Path) -> None:
    write_synthetic_streets(tmp_path / "again", scenes=1, samples=1, height=32, width=48)
    other = StreetTables(tmp_path / "again")
    again, same = other.moment(0), StreetTables(folder).moment(StreetTables(folder).tokens.index(other.tokens[0]))
    assert np.array_equal(same.images, again.images)
    assert np.array_equal(same.points, again.points)
    with pytest.raises(StoreError, match="there is something already"):
        write_synthetic_streets(tmp_path / "again")


def test_batches_hold_each_sample_once_and_standardised(folder: Path) -> None:
    streets = open_streets(folder)
    loader = streets.make_loader(settings(), rank=0, world_size=1, device=torch.device("cpu"))
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert sorted(torch.cat([batch.tiles for batch in batches]).tolist()) == list(range(6))
    pictures = torch.cat([batch.fields["camera"].values for batch in batches])
    assert pictures.shape == (6, 4, 3, 32, 48)
    assert torch.allclose(pictures.mean((0, 1, 3, 4)), torch.zeros(3), atol=1e-3)
    assert torch.allclose(pictures.std((0, 1, 3, 4)), torch.ones(3), atol=1e-3)
    points = batches[0].fields["points"]
    moment = streets.tables.moment(int(batches[0].tiles[0]))
    assert torch.allclose(points.values[0, : len(moment.points)], torch.from_numpy(moment.points).float())
    assert points.valid[0, :, 0].sum() == len(moment.points)
    assert batches[0].fields["camera_pose"].values.shape == (2, 4, 4, 4)
    assert list(streets.modalities) == [CAMERA.name]


def test_processes_share_a_batch_and_a_state_resumes(folder: Path) -> None:
    streets, cpu = open_streets(folder), torch.device("cpu")
    whole = [batch.tiles.tolist() for batch in streets.make_loader(settings(), rank=0, world_size=1, device=cpu)]
    shares = [
        [batch.tiles.tolist() for batch in streets.make_loader(settings(), rank=rank, world_size=2, device=cpu)]
        for rank in (0, 1)
    ]
    assert [one + other for one, other in zip(*shares, strict=True)] == whole
    loader = StreetLoader(streets, settings(), rank=0, world_size=1, device=cpu)
    first = next(iter(loader))
    again = StreetLoader(streets, settings(), rank=0, world_size=1, device=cpu)
    again.load_state_dict(loader.state_dict())
    assert [first.tiles.tolist(), *(batch.tiles.tolist() for batch in again)] == whole
    assert [batch.tiles.tolist() for batch in again] != whole  # the next epoch
    with pytest.raises(InputError, match="batches was 3 and is now 1"):
        StreetLoader(streets, settings(batch_size=4), rank=0, world_size=1, device=cpu).load_state_dict(
            loader.state_dict()
        )
    with pytest.raises(InputError, match="cannot be shared evenly"):
        StreetLoader(streets, settings(), rank=0, world_size=3, device=cpu)


def test_points_that_are_not_finite_are_none(tmp_path: Path) -> None:
    write_synthetic_streets(tmp_path / "data", scenes=1, samples=1, height=16, width=16)
    tables = StreetTables(tmp_path / "data")
    before = tables.moment(0).points
    cloud = next((tmp_path / "data" / "samples" / "LIDAR_TOP").iterdir())
    numbers = np.fromfile(cloud, np.float32).reshape(-1, 5)
    numbers[3, 0], numbers[7, 3] = np.nan, np.inf
    numbers.tofile(cloud)
    np.testing.assert_array_equal(tables.moment(0).points, np.delete(before, [3, 7], 0))


def test_sweeps_and_poses_that_the_tables_lack_are_named_at_once(tmp_path: Path) -> None:
    write_synthetic_streets(tmp_path / "data", scenes=1, samples=1, height=16, width=16)
    for table, row in (("ego_pose", 0), ("sample_data", 0)):
        file = tmp_path / "data" / "v1.0-synthetic" / f"{table}.json"
        rows = json.loads(file.read_text())
        file.write_text(json.dumps(rows[:row] + rows[row + 1 :]))
        with pytest.raises(CorruptError, match="rows do not fit together"):
            StreetTables(tmp_path / "data")
        file.write_text(json.dumps(rows))


def test_damage_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there are 0 folders of tables"):
        StreetTables(tmp_path)
    write_synthetic_streets(tmp_path / "data", scenes=1, samples=1, height=16, width=16)
    tables = StreetTables(tmp_path / "data")
    cloud = next((tmp_path / "data" / "samples" / "LIDAR_TOP").iterdir())
    cloud.write_bytes(cloud.read_bytes()[:-4])
    with pytest.raises(CorruptError, match="are no points of 5"):
        tables.moment(0)
    picture = next((tmp_path / "data" / "samples" / "CAM_FRONT").iterdir())
    picture.write_bytes(b"no picture")
    with pytest.raises(CorruptError, match="is no picture"):
        tables.images(0)
    file = tmp_path / "data" / "v1.0-synthetic" / "sensor.json"
    rows = json.loads(file.read_text())
    file.write_text(json.dumps([row for row in rows if row["modality"] == "camera"]))
    with pytest.raises(CorruptError, match="rows do not fit together"):
        StreetTables(tmp_path / "data")
    file.write_text("{")
    with pytest.raises(CorruptError, match="is no table"):
        StreetTables(tmp_path / "data")
    data = tmp_path / "data" / "v1.0-synthetic" / "sample_data.json"
    file.write_text(json.dumps(rows))
    records = json.loads(data.read_text())
    data.write_text(json.dumps([row for row in records if "LIDAR" not in row["filename"]]))
    with pytest.raises(InputError, match="lack a camera or LiDAR"):
        StreetTables(tmp_path / "data")
