"""The tables of nuScenes: which sensor saw what, when, and from where. JSON and images; nothing is unpickled.

Only the published schema is relied upon (scene, sample, sample_data, ego_pose, calibrated_sensor, sensor); it has been
tried on ``data.synthetic_streets`` only, not on nuScenes itself.

Axes: of the car, x ahead, y left, z up, metres. A pose is a 4 x 4 matrix that leads from a sensor's or car's own axes
to those of the car or the world.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geopretext.errors import CorruptError, InputError, MissingLibraryError, StoreError

Floats = npt.NDArray[np.float64]

VERSION = "v1.0-synthetic"
"""folder of the tables that ``data.synthetic_streets`` writes; others are called alike"""

_TABLES = ("sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor")


class Moment(NamedTuple):
    """What a car saw at one time, in its axes at that time."""

    images: npt.NDArray[np.uint8]
    """(N, H, W, 3)"""
    intrinsics: Floats
    """(N, 3, 3), pixels"""
    poses: Floats
    """(N, 4, 4): from each camera's axes to the car's"""
    points: Floats
    """(M, 4): x, y, z, and intensity 0 to 1, of the sample's sweep and of some before it"""


class StreetTables:
    """The samples of a data set.

    Args:
        path: a folder that holds one folder of tables, ``v1.0-...``.

    Raises:
        StoreError: it does not.
        CorruptError: a table cannot be read, or rows do not fit together.
        InputError: cameras differ in the size of their pictures, or there is no camera or LiDAR.
    """

    def __init__(self, path: str | Path) -> None:
        self.folder = Path(path)
        found = sorted(self.folder.glob("v1.0-*/sample_data.json"))
        if len(found) != 1:
            raise StoreError(
                f"there are {len(found)} folders of tables (v1.0-*/sample_data.json), not one",
                where=str(path),
                hint="a folder in the layout of nuScenes; `write_synthetic_streets` makes one",
            )
        self._rows = {name: _by_token(found[0].with_name(f"{name}.json")) for name in _TABLES}
        try:
            self._sort()
        except KeyError as error:
            raise CorruptError(f"rows do not fit together: no {error}", where=str(found[0].parent)) from error

    def _sort(self) -> None:
        """Cameras and LiDAR of each sample."""
        self.tokens: tuple[str, ...] = tuple(sorted(self._rows["sample"], key=self._when))
        cameras: dict[str, dict[str, Any]] = {token: {} for token in self.tokens}
        self._lidar: dict[str, Any] = {}
        sizes = set()
        for row in self._rows["sample_data"].values():
            _ = self._rows["ego_pose"][row["ego_pose_token"]], row["prev"] and self._rows["sample_data"][row["prev"]]
            if not row["is_key_frame"]:
                continue
            sensor = self._rows["sensor"][self._calibration(row)["sensor_token"]]
            if sensor["modality"] == "camera":
                cameras[row["sample_token"]][sensor["channel"]] = row
                sizes.add((row["height"], row["width"]))
            elif sensor["modality"] == "lidar":
                self._lidar[row["sample_token"]] = row
        channels = {tuple(sorted(found)) for found in cameras.values()}
        if len(channels) != 1 or not next(iter(channels)) or set(self._lidar) != set(self.tokens):
            raise InputError("samples differ in their cameras, or lack a camera or LiDAR", where=str(self.folder))
        if len(sizes) != 1:
            raise InputError(f"pictures differ in size: {sorted(sizes)}", where=str(self.folder))
        self.channels: tuple[str, ...] = next(iter(channels))
        self.height, self.width = sizes.pop()
        self._cameras = cameras

    def __len__(self) -> int:
        return len(self.tokens)

    def images(self, number: int) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) of a sample."""
        rows = self._cameras[self.tokens[number]]
        return np.stack([self._picture(rows[channel]) for channel in self.channels])

    def moment(self, number: int, sweeps: int = 2) -> Moment:
        """All of a sample.

        Args:
            number: of the sample.
            sweeps: of the LiDAR before that of the sample, as far as there are any.

        Raises:
            CorruptError: a file is missing or damaged.
        """
        token = self.tokens[number]
        here = self._lidar[token]
        from_world = np.linalg.inv(self._ego(here))
        rows = [self._cameras[token][channel] for channel in self.channels]
        intrinsics = np.stack([np.array(self._calibration(row)["camera_intrinsic"], float) for row in rows])
        poses = np.stack([from_world @ self._sensor_to_world(row) for row in rows])
        clouds, row = [], here
        for _ in range(sweeps + 1):
            cloud = self._cloud(row)
            move = from_world @ self._sensor_to_world(row)
            clouds.append(np.column_stack([cloud[:, :3] @ move[:3, :3].T + move[:3, 3], cloud[:, 3] / 255]))
            if not row["prev"]:
                break
            row = self._rows["sample_data"][row["prev"]]
        return Moment(self.images(number), intrinsics, poses, np.concatenate(clouds))

    def exact_depth(self, number: int) -> Floats:
        """(N, H, W) of a sample of ``data.synthetic_streets``: along each optical axis, infinite in the sky."""
        rows = self._cameras[self.tokens[number]]
        files = [self.folder / "exact" / channel / f"{rows[channel]['token']}.npy" for channel in self.channels]
        return np.stack([np.load(file, allow_pickle=False) for file in files]).astype(np.float64)

    def _when(self, token: str) -> tuple[str, int]:
        row = self._rows["sample"][token]
        return row["scene_token"], row["timestamp"]

    def _calibration(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._rows["calibrated_sensor"][row["calibrated_sensor_token"]]

    def _ego(self, row: Mapping[str, Any]) -> Floats:
        pose = self._rows["ego_pose"][row["ego_pose_token"]]
        return pose_matrix(pose["rotation"], pose["translation"])

    def _sensor_to_world(self, row: Mapping[str, Any]) -> Floats:
        sensor = self._calibration(row)
        return self._ego(row) @ pose_matrix(sensor["rotation"], sensor["translation"])

    def _picture(self, row: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
        path = self.folder / row["filename"]
        try:
            with image_library().open(path) as image:
                picture = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise CorruptError(f"is no picture: {error}", where=str(path)) from error
        if picture.shape != (self.height, self.width, 3):
            raise CorruptError(f"is {picture.shape[:2]}, not {(self.height, self.width)}", where=str(path))
        return picture

    def _cloud(self, row: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        """(M, 5): x, y, z, intensity, ring; points that are not finite are none."""
        path = self.folder / row["filename"]
        try:
            numbers = np.fromfile(path, np.float32)
        except OSError as error:
            raise CorruptError(f"cannot be read: {error}", where=str(path)) from error
        if len(numbers) % 5:
            raise CorruptError(f"{len(numbers)} numbers are no points of 5", where=str(path))
        points = numbers.reshape(-1, 5)
        return points[np.isfinite(points).all(1)]


def pose_matrix(rotation: Sequence[float], translation: Sequence[float]) -> Floats:
    """4 x 4, of a unit quaternion (w, x, y, z) and a translation."""
    w, x, y, z = np.asarray(rotation, float) / np.linalg.norm(rotation)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = translation
    return matrix


def to_quaternion(rotation: Floats) -> list[float]:
    """(w, x, y, z) of a 3 x 3 rotation: the eigenvector of the largest eigenvalue (Bar-Itzhack 2000)."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    values, vectors = np.linalg.eigh(k)
    x, y, z, w = vectors[:, values.argmax()]
    return [float(part) for part in (w, x, y, z)]


def image_library() -> Any:
    """``PIL.Image``.

    Raises:
        MissingLibraryError: there is none.
    """
    try:
        from PIL import Image  # pictures of streets are all that training needs it for
    except ImportError as error:
        raise MissingLibraryError("pillow", extra="report", purpose="read and write pictures of streets") from error
    return Image


def _by_token(path: Path) -> dict[str, dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {row["token"]: row for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"is no table: {error}", where=str(path)) from error
