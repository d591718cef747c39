"""Places on the Earth: where tiles are to be."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError


@dataclass(frozen=True)
class Places:
    """``n`` places in columns of length n, as ``places.parquet`` holds them.

    Raises:
        InputError: columns differ in length, an id is doubled, or a position is none on the Earth.
    """

    place_id: npt.NDArray[np.str_]
    """unique; becomes the tile's id"""
    lat: npt.NDArray[np.float64]
    """degrees north (WGS 84)"""
    lon: npt.NDArray[np.float64]
    """degrees east, -180 to 180"""
    biome: npt.NDArray[np.int16]
    """MMEarth's class number, -1 if unknown"""
    ecoregion: npt.NDArray[np.int16]
    """MMEarth's class number, -1 if unknown"""

    def __post_init__(self) -> None:
        for name in ("lat", "lon", "biome", "ecoregion"):
            if len(getattr(self, name)) != len(self):
                raise InputError(f"column {name!r} has {len(getattr(self, name))} entries for {len(self)} places")
        ids, counts = np.unique(self.place_id, return_counts=True)
        if (counts > 1).any():
            raise InputError(f"place id {str(ids[counts > 1][0])!r} is doubled", hint="each place has its own id")
        off = ~((np.abs(self.lat) <= 90) & (np.abs(self.lon) <= 180))
        if off.any():
            first = int(np.flatnonzero(off)[0])
            raise InputError(
                f"lat {self.lat[first]:g}, lon {self.lon[first]:g} is no position on the Earth",
                where=f"place {self.place_id[first]}",
                hint="degrees; are lat and lon swapped?",
            )

    def __len__(self) -> int:
        return len(self.place_id)

    def take(self, numbers: npt.NDArray[np.int64] | slice) -> "Places":
        """Some of the places, in the order asked for."""
        return Places(
            place_id=self.place_id[numbers],
            lat=self.lat[numbers],
            lon=self.lon[numbers],
            biome=self.biome[numbers],
            ecoregion=self.ecoregion[numbers],
        )
