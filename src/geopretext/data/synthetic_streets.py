"""Streets that do not exist, seen by the cameras and the LiDAR of a car: exact colours, depths and points.

A street runs along x, with ground at z = 0, houses at both sides, and cars and walls before them, all of them boxes. A
car drives along it. Each pixel is one ray through its centre, and so is each point of a sweep, so that colour, depth
and points are exact. ``data.streets`` reads what is written here, in the layout of nuScenes (arXiv 1903.11027).

Axes: of the world and the car, x ahead, y left, z up, metres; of a camera, x right, y down, z ahead.
Letters: ``R`` rays, ``n`` boxes, ``H W`` pixels.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geopretext.data.street_tables import VERSION, image_library, pose_matrix, to_quaternion
from geopretext.errors import StoreError

Floats = npt.NDArray[np.float64]

CAMERAS = {"CAM_FRONT": 0.0, "CAM_LEFT": 90.0, "CAM_BACK": 180.0, "CAM_RIGHT": 270.0}
"""Heading of each camera, degrees from ahead to the left."""
LIDAR = "LIDAR_TOP"
RANGE = 40.0
"""metres that the LiDAR sees"""

_SUN = np.array([0.4, 0.3, 0.866])
_SKY, _ROAD, _VERGE = np.array([0.55, 0.7, 0.9]), np.array([0.35, 0.35, 0.37]), np.array([0.35, 0.5, 0.25])
_CAMERA_AXES = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""columns: a camera's right, down and ahead in the car's axes, looking ahead"""
_STEP, _SWEEPS = 2.0, 2


class Hits(NamedTuple):
    """Where rays end."""

    distance: Floats
    """(R,), in lengths of the direction; infinite in the sky"""
    what: npt.NDArray[np.int64]
    """(R,): number of a box; -1 the ground, -2 the sky"""
    normal: Floats
    """(R, 3) of the surface; 0 in the sky"""


@dataclass(frozen=True)
class Street:
    """Boxes on flat ground."""

    low: Floats
    """(n, 3)"""
    high: Floats
    """(n, 3)"""
    colour: Floats
    """(n, 3), 0 to 1"""


def make_street(seed: int, length: float = 60.0) -> Street:
    """Houses, cars and walls along x from -30 to ``length`` + 30."""
    generator = np.random.default_rng([11, seed])
    low, high = [], []
    for side in (-1, 1):
        x = -30.0
        while x < length + 30:  # houses
            width, depth, height = generator.uniform((6, 5, 3), (14, 9, 12))
            near = generator.uniform(8, 11)
            low.append((x, near if side > 0 else -near - depth, 0))
            high.append((x + width, near + depth if side > 0 else -near, height))
            x += width + generator.uniform(0, 5)
        x = -30.0
        while x < length + 30:  # cars, and now and then a wall
            wall = generator.random() < 0.25
            size = (
                generator.uniform((4, 0.3, 1.0), (9, 0.4, 2.5))
                if wall
                else generator.uniform((3.6, 1.6, 1.3), (5, 2, 2.4))
            )
            near = 6.0 if wall else 3.2
            low.append((x, near if side > 0 else -near - size[1], 0))
            high.append((x + size[0], near + size[1] if side > 0 else -near, size[2]))
            x += size[0] + generator.uniform(2, 10)
    return Street(np.array(low), np.array(high), generator.uniform(0.15, 0.95, (len(low), 3)))


def cast(street: Street, origins: Floats, directions: Floats) -> Hits:
    """Where rays first meet something, exactly: boxes by their slabs (Kay and Kajiya 1986), the ground by its plane.

    Args:
        street: what there is.
        origins: (R, 3), outside of all boxes and above the ground.
        directions: (R, 3), of any length.
    """
    safe = np.where(np.abs(directions) < 1e-12, 1e-12, directions)
    one = (street.low - origins[:, None]) / safe[:, None]
    other = (street.high - origins[:, None]) / safe[:, None]
    enter, leave = np.minimum(one, other), np.maximum(one, other).min(-1)  # (R, n, 3), (R, n)
    first = enter.max(-1)
    met = np.where((first <= leave) & (first > 0), first, np.inf)
    what = met.argmin(1)
    rays = np.arange(len(origins))
    distance = met[rays, what]
    axis = enter[rays, what].argmax(-1)
    normal = np.zeros_like(directions)
    normal[rays, axis] = -np.sign(safe[rays, axis])
    ground = np.where(safe[:, 2] < 0, -origins[:, 2] / safe[:, 2], np.inf)
    on_ground = ground < distance
    what, distance = np.where(on_ground, -1, what), np.minimum(ground, distance)
    normal[on_ground] = (0, 0, 1)
    sky = ~np.isfinite(distance)
    normal[sky] = 0
    return Hits(distance, np.where(sky, -2, what), normal)


def shade(street: Street, points: Floats, hits: Hits) -> Floats:
    """Colour of each hit, (R, 3), 0 to 1: matt surfaces in the sun, with stripes of windows and of the road."""
    colour = np.where(hits.what[:, None] >= 0, street.colour[hits.what.clip(min=0)], _VERGE)
    x, y, z = points.T
    windows = (hits.what >= 0) & (z % 3 > 1.2) & (z % 3 < 2.2) & ((x + y) % 2.5 < 1.2)
    colour = np.where(windows[:, None], colour * 0.5, colour)
    ground = hits.what == -1
    colour = np.where((ground & (np.abs(y) < 5))[:, None], _ROAD, colour)
    colour = np.where((ground & (np.abs(y) < 0.15) & (x % 4 < 2))[:, None], 0.9, colour)
    lit = 0.55 + 0.45 * np.maximum(hits.normal @ _SUN, 0)
    return np.where((hits.what == -2)[:, None], _SKY, colour * lit[:, None])


def look(
    street: Street, camera_to_world: Floats, intrinsics: Floats, *, height: int, width: int
) -> tuple[npt.NDArray[np.uint8], Floats]:
    """A picture (H, W, 3), and the depth of each pixel along the optical axis (H, W), infinite in the sky."""
    v, u = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    rays = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3) @ np.linalg.inv(intrinsics).T
    directions = rays @ camera_to_world[:3, :3].T  # of depth 1, so that distances are depths
    origins = np.broadcast_to(camera_to_world[:3, 3], directions.shape)
    hits = cast(street, origins, directions)
    points = origins + directions * np.where(np.isfinite(hits.distance), hits.distance, 0)[:, None]
    picture = np.rint(shade(street, points, hits) * 255).astype(np.uint8)
    return picture.reshape(height, width, 3), hits.distance.reshape(height, width)


def sweep(street: Street, lidar_to_world: Floats, generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """One turn of a LiDAR: (M, 5): x, y, z in its axes, intensity 0 to 255, ring. One ray in ten has no answer."""
    elevation, azimuth = np.meshgrid(np.radians(np.linspace(-28, 6, 20)), np.radians(np.arange(0, 360, 2.0)))
    rays = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1)
    rays = rays.reshape(-1, 3)
    directions = rays @ lidar_to_world[:3, :3].T
    origins = np.broadcast_to(lidar_to_world[:3, 3], directions.shape)
    hits = cast(street, origins, directions)
    answered = (hits.distance < RANGE) & (generator.random(len(rays)) > 0.1)
    at, rays = hits.distance[answered, None], rays[answered]
    seen = Hits(hits.distance[answered], hits.what[answered], hits.normal[answered])
    strength = shade(street, origins[answered] + directions[answered] * at, seen).mean(1) * 255
    ring = np.tile(np.arange(20), 180)[answered]
    return np.column_stack([rays * at, strength, ring]).astype(np.float32)


def write_synthetic_streets(
    path: str | Path, *, scenes: int = 16, samples: int = 4, height: int = 64, width: int = 96, seed: int = 0
) -> None:
    """Write a data set of streets in the layout of nuScenes.

    Beside what nuScenes has, ``exact/CHANNEL/TOKEN.npy`` holds the depth of each pixel, float32, for tests.

    Args:
        path: a new or empty folder.
        scenes: streets, one drive each.
        samples: moments of a drive at which all cameras look; two sweeps of the LiDAR lie before each.
        height: of pictures, pixels.
        width: likewise; their horizontal field of view is a right angle.
        seed: of everything.

    Raises:
        StoreError: there is something already.
        MissingLibraryError: Pillow is missing.
    """
    folder = Path(path)
    if folder.exists() and any(folder.iterdir()):
        raise StoreError("there is something already", where=str(folder), hint="name a new folder")
    writer = _Writer(folder, height, width)
    for scene in range(scenes):
        writer.drive(scene, samples, seed)
    writer.finish()


class _Writer:
    """Collects the tables while pictures and points are written."""

    def __init__(self, folder: Path, height: int, width: int) -> None:
        self.folder, self.height, self.width = folder, height, width
        names = ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor")
        self.tables: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        self.sensors: dict[str, Floats] = {}
        self.intrinsics = np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1.0]])
        for channel, heading in CAMERAS.items():
            angle = np.radians(heading)
            turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
            self._sensor(channel, turn @ _CAMERA_AXES, turn @ np.array([0.8, 0, 0]) + (0, 0, 1.5), self.intrinsics)
        self._sensor(LIDAR, np.eye(3), np.array([0, 0, 1.9]), None)

    def _sensor(self, channel: str, rotation: Floats, translation: Floats, intrinsics: Floats | None) -> None:
        kind = "lidar" if intrinsics is None else "camera"
        self.tables["sensor"].append({"token": _token("sensor", channel), "channel": channel, "modality": kind})
        self.tables["calibrated_sensor"].append(
            {
                "token": _token("calibrated", channel),
                "sensor_token": _token("sensor", channel),
                "translation": translation.tolist(),
                "rotation": to_quaternion(rotation),
                "camera_intrinsic": [] if intrinsics is None else intrinsics.tolist(),
            }
        )
        self.sensors[channel] = pose_matrix(to_quaternion(rotation), translation.tolist())

    def drive(self, scene: int, samples: int, seed: int) -> None:
        """One street."""
        generator = np.random.default_rng([12, seed, scene])
        street = make_street(int(generator.integers(2**31)))
        tokens = [_token("sample", scene, number) for number in range(samples)]
        before = ""
        for number, token in enumerate(tokens):
            time = 500_000 * number
            for back in range(_SWEEPS, -1, -1):  # sweeps lead up to the sample
                moment = number - back / (_SWEEPS + 1)
                yaw = 0.05 * np.sin(moment + scene)
                pose: dict[str, Any] = {
                    "token": _token("ego", scene, number, back),
                    "timestamp": time - 50_000 * back,
                    "rotation": [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))],
                    "translation": [_STEP * moment * 2, 0.3 * float(np.sin(0.7 * moment)), 0.0],
                }
                self.tables["ego_pose"].append(pose)
                to_world = pose_matrix(pose["rotation"], pose["translation"])
                data = _token("data", scene, number, LIDAR, back)
                self._points(data, before, token, pose, sweep(street, to_world @ self.sensors[LIDAR], generator), back)
                before = data
            for channel in CAMERAS:
                view = look(
                    street, to_world @ self.sensors[channel], self.intrinsics, height=self.height, width=self.width
                )
                self._picture(_token("data", scene, number, channel), token, pose, channel, view)
            self.tables["sample"].append(
                {
                    "token": token,
                    "timestamp": time,
                    "prev": tokens[number - 1] if number else "",
                    "next": tokens[number + 1] if number + 1 < samples else "",
                    "scene_token": _token("scene", scene),
                }
            )
        self.tables["scene"].append(
            {
                "token": _token("scene", scene),
                "name": f"scene-{scene:04d}",
                "nbr_samples": samples,
                "first_sample_token": tokens[0],
                "last_sample_token": tokens[-1],
            }
        )

    def _points(
        self, token: str, before: str, sample: str, pose: dict[str, Any], points: npt.NDArray[np.float32], back: int
    ) -> None:
        file = f"{'sweeps' if back else 'samples'}/{LIDAR}/{token}.pcd.bin"
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        points.tofile(self.folder / file)
        self._record(token, before, sample, pose, LIDAR, file, key=not back)

    def _picture(
        self, token: str, sample: str, pose: dict[str, Any], channel: str, view: tuple[npt.NDArray[np.uint8], Floats]
    ) -> None:
        file, exact = f"samples/{channel}/{token}.png", self.folder / "exact" / channel / f"{token}.npy"
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        exact.parent.mkdir(parents=True, exist_ok=True)
        image_library().fromarray(view[0]).save(self.folder / file)
        np.save(exact, view[1].astype(np.float32))
        self._record(token, "", sample, pose, channel, file, key=True)

    def _record(
        self, token: str, before: str, sample: str, pose: dict[str, Any], channel: str, file: str, *, key: bool
    ) -> None:
        camera = channel != LIDAR
        self.tables["sample_data"].append(
            {
                "token": token,
                "sample_token": sample,
                "ego_pose_token": pose["token"],
                "calibrated_sensor_token": _token("calibrated", channel),
                "timestamp": pose["timestamp"],
                "fileformat": "png" if camera else "pcd",
                "is_key_frame": key,
                "height": self.height if camera else 0,
                "width": self.width if camera else 0,
                "filename": file,
                "prev": before,
                "next": "",
            }
        )

    def finish(self) -> None:
        """Write the tables, whose presence says that all else is there."""
        following = {row["prev"]: row["token"] for row in self.tables["sample_data"] if row["prev"]}
        for row in self.tables["sample_data"]:
            row["next"] = following.get(row["token"], "")
        folder = self.folder / VERSION
        folder.mkdir(parents=True)
        for name, rows in self.tables.items():
            (folder / f"{name}.json").write_text(json.dumps(rows, indent=0))


def _token(*parts: object) -> str:
    """32 hexadecimal digits, the same for the same parts."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()
