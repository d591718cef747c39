"""Settings of NS-MAE for cameras and LiDAR; no torch."""

from dataclasses import dataclass
from typing import Literal

from geopretext.errors import RecipeError


@dataclass(frozen=True)
class StreetSettings:
    """NS-MAE as published, at a size that can be chosen: the volume around a car, and how it is trained."""

    near: float = 1.0
    """metres along the optical axis, above 0: where a camera's bins begin"""
    far: float = 31.0
    """metres: where they end"""
    depth_bins: int = 30
    """bins of equal length between near and far, at least 2; NS-MAE has 118 over 1 to 60 m"""
    reach: float = 20.0
    """metres, above 0, ahead, behind and to both sides: half a side of the grid of voxels; NS-MAE has 54"""
    bottom: float = -1.0
    """metres: lower end of the grid; the car's axes begin on the ground"""
    top: float = 7.0
    """metres: its upper end"""
    voxel: float = 1.0
    """metres on a side of a voxel, above 0; divides 2 reach. NS-MAE has 0.075"""
    voxel_height: float = 0.5
    """metres, above 0; divides top - bottom. NS-MAE has 0.2"""
    camera_dim: int = 24
    """features of a bin of a camera, at least 1; NS-MAE has 80"""
    lidar_dim: int = 48
    """features of a column of voxels, at least 1; NS-MAE has 256"""
    mask_ratio: float = 0.5
    """share of the patches of a picture that is hidden, above 0 and below 1; the number shown is rounded down"""
    voxel_mask_ratio: float = 0.9
    """share of the voxels that hold points that is hidden, at least 0, below 1; the number shown is rounded up"""
    weighting: Literal["uncertainty", "equal"] = "uncertainty"
    """"uncertainty": each task has a learned weight; "equal": the plain sum of the tasks' losses"""

    def __post_init__(self) -> None:
        for name, least in {"depth_bins": 2, "camera_dim": 1, "lidar_dim": 1}.items():
            if not getattr(self, name) >= least:
                raise RecipeError(f"pretext.{name} is {getattr(self, name)}", hint=f"at least {least}")
        for name in ("near", "reach", "voxel", "voxel_height"):
            if not 0 < getattr(self, name) < float("inf"):
                raise RecipeError(f"pretext.{name} is {getattr(self, name)}", hint="metres, above 0")
        for low, high in (("near", "far"), ("bottom", "top")):
            if not getattr(self, low) < getattr(self, high):
                raise RecipeError(f"pretext.{low} {getattr(self, low)} is not below {high} {getattr(self, high)}")
        for extent, size in ((2 * self.reach, "voxel"), (self.top - self.bottom, "voxel_height")):
            count = extent / getattr(self, size)
            if abs(count - round(count)) > 1e-6:
                raise RecipeError(f"pretext.{size} {getattr(self, size)} does not divide {extent:g} m")
        if not 0 < self.mask_ratio < 1:
            raise RecipeError(f"pretext.mask_ratio is {self.mask_ratio}", hint="above 0, below 1; NS-MAE has 0.5")
        if not 0 <= self.voxel_mask_ratio < 1:
            raise RecipeError(
                f"pretext.voxel_mask_ratio is {self.voxel_mask_ratio}", hint="at least 0, below 1; NS-MAE has 0.9"
            )
        if self.weighting not in ("uncertainty", "equal"):
            raise RecipeError(f"pretext.weighting is {self.weighting!r}", hint="one of uncertainty, equal")

    @property
    def side(self) -> int:
        """Voxels along x, and along y."""
        return round(2 * self.reach / self.voxel)

    @property
    def layers(self) -> int:
        """Voxels along z."""
        return round((self.top - self.bottom) / self.voxel_height)
