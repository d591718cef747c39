"""``geopretext embed SCENE --also RADAR.tif``: two files of one place through an encoder of both."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.apps.cli import main
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_statistics import Scales
from geopretext.nn.families import make_encoder
from geopretext.nn.fused_settings import FusedSettings

rasterio = pytest.importorskip("rasterio")

OPTICAL, RADAR = ("B2", "B3", "B4"), ("asc_VV", "asc_VH")
INPUTS = {"sentinel2": OPTICAL, "sentinel1": RADAR}
OPTICAL_SCALE, RADAR_SCALE = (1000.0, 500.0), (-12.0, 4.0)
SIDE = 32


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    torch.manual_seed(0)
    network = make_encoder(FusedSettings(size="micro", inputs=INPUTS, patch_size=8, image_size=SIDE))
    mean, std = ((OPTICAL_SCALE[n],) * 3 + (RADAR_SCALE[n],) * 2 for n in (0, 1))
    statistics: Scales = {"L2A": (mean, std), "all": (mean, std)}
    return Encoder(network, [PUBLISHED[name].select(bands) for name, bands in INPUTS.items()], statistics=statistics)


@pytest.fixture(scope="module")
def bundle(fused: Encoder, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("fused")
    fused.save_pretrained(folder)
    return str(folder)


Write = Callable[..., str]
Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, values: np.ndarray, bands: tuple[str, ...], *, east: float = 0.0) -> str:
        path = tmp_path / name
        height, width = values.shape[1:]
        with rasterio.open(
            path, "w", driver="GTiff", height=height, width=width, count=len(bands), dtype=values.dtype,
            crs="EPSG:32632", transform=rasterio.Affine(10, 0, 5e5 + east, 0, -10, 5e6),
        ) as file:  # fmt: skip
            file.write(values)
            file.descriptions = bands
        return str(path)

    return write


def optical() -> np.ndarray:
    return np.random.default_rng(0).integers(200, 3000, (3, SIDE, SIDE)).astype(np.uint16)


def radar() -> np.ndarray:
    return np.random.default_rng(1).normal(-12, 4, (2, SIDE, SIDE)).astype(np.float32)


SAID = ("--unit", "reflectance x 10000", "--level", "L2A", "--dtype", "float32")


def test_both_files_are_seen(fused: Encoder, bundle: str, write: Write, tmp_path: Path, capsys: Capsys) -> None:
    one, two = write("s2.tif", optical(), OPTICAL), write("s1.tif", radar(), ("VV", "VH"))
    out = tmp_path / "both.tif"
    also = f"{two}?bands=asc_VV,asc_VH&unit=dB"
    assert main(["embed", bundle, one, *SAID, "--also", also, "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["input"]["inputs"] == {"used": ["sentinel2", "sentinel1"], "absent": []}
    image = np.concatenate(
        [(values - mean) / std for values, (mean, std) in ((optical(), OPTICAL_SCALE), (radar(), RADAR_SCALE))]
    )
    with torch.inference_mode():
        expected = fused.eval()(torch.from_numpy(image.astype(np.float32))[None])[0].numpy()
    with rasterio.open(out) as file:
        np.testing.assert_allclose(file.read(), expected, rtol=1e-3, atol=1e-4)


def test_radar_that_lies_elsewhere_or_is_not_used_is_refused(
    bundle: str, write: Write, tmp_path: Path, capsys: Capsys
) -> None:
    one, out = write("s2.tif", optical(), OPTICAL), str(tmp_path / "out.tif")
    shifted = write("shifted.tif", radar(), RADAR, east=5.0)
    assert main(["embed", bundle, one, *SAID, "--also", f"{shifted}?unit=dB", "--out", out]) == 1
    assert "shifted.tif: has its pixels at" in capsys.readouterr().err
    smaller = write("smaller.tif", radar()[:, :16], RADAR)
    assert main(["embed", bundle, one, *SAID, "--also", f"{smaller}?unit=dB", "--out", out]) == 1
    assert "smaller.tif: has 16 x 32 pixels" in capsys.readouterr().err
    unnamed = write("unnamed.tif", radar(), ("VV", "VH"))
    assert main(["embed", bundle, one, *SAID, "--also", f"{unnamed}?unit=dB", "--out", out]) == 1
    said = capsys.readouterr().err
    assert "unnamed.tif: has the bands VV, VH, none of which is used" in said
    assert "asc_VV, asc_VH" in said
    assert not Path(out).exists()
