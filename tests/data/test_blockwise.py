import numpy as np
import pytest
import torch

from geopretext.data.blockwise import Blockwise
from geopretext.data.normalise import Decoder, Normaliser
from geopretext.modality import PUBLISHED, Band, ClassLabel, Kind, Modality

CLASSES = tuple(ClassLabel(code, f"class {code}") for code in (3, 40, 41, 250))
MAPS = {
    "uint16": PUBLISHED["sentinel2"],
    "float32": PUBLISHED["sentinel1"],
    "int16": PUBLISHED["aster"],
    "uint8": PUBLISHED["canopy_height_eth"],
    "int8": Modality("small", Kind.CONTINUOUS_MAP, (Band("a", "1", -7.5, 99.5), Band("b", "1")), "int8", (-128, 5)),
    "int32": Modality("wide", Kind.CONTINUOUS_MAP, (Band("a", "1", 0), Band("b", "1")), "int32", (16_777_217,)),
    "uint32": Modality("big", Kind.CONTINUOUS_MAP, (Band("a", "1", None, 3e9),), "uint32", (4_000_000_000, 7)),
    "no range": Modality("open", Kind.CONTINUOUS_MAP, (Band("a"), Band("b")), "float32", (-9999.0,)),
    "beyond": Modality("beyond", Kind.CONTINUOUS_MAP, (Band("a", "1", 300, 400), Band("b", "1")), "uint8", (0,)),
    "classes": Modality("codes", Kind.CATEGORICAL_MAP, (Band("a"),), "uint8", (0, 255), CLASSES),
    "signed classes": Modality("signed", Kind.CATEGORICAL_MAP, (Band("a"),), "int16", (-5,), CLASSES),
}


def stored_numbers(modality: Modality, count: int, size: int) -> np.ndarray:
    random = np.random.default_rng(1)
    shape = (count, len(modality.bands), size, size)
    if modality.kind.is_categorical:
        return random.choice([*modality.class_index, *modality.missing], shape).astype(modality.dtype)
    if modality.dtype == "float32":
        numbers = random.normal(-20, 30, shape).astype(np.float32)
        special = [np.nan, np.inf, -np.inf, np.finfo(np.float32).max, *modality.missing]
        return np.where(random.random(shape) < 0.1, random.choice(special, shape), numbers).astype(np.float32)
    info = np.iinfo(modality.dtype)
    numbers = random.integers(info.min, info.max, shape, endpoint=True)
    near = [number + step for number in (*modality.missing, 16_777_217) for step in (-1, 0, 1)]
    limits = [b.valid_min for b in modality.bands if b.valid_min is not None]
    limits += [b.valid_max for b in modality.bands if b.valid_max is not None]
    chosen = random.choice(np.clip([*near, *limits, info.min, info.max, 0, 1], info.min, info.max), shape)
    return np.where(random.random(shape) < 0.5, chosen, numbers).astype(modality.dtype)


@pytest.mark.parametrize("crop", [None, 5])
@pytest.mark.parametrize("standardised", [True, False])
@pytest.mark.parametrize("which", MAPS)
def test_blockwise_gives_the_numbers_of_the_whole_batch_bit_for_bit(
    which: str, standardised: bool, crop: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geopretext.data.blockwise._BLOCK", 200)  # several blocks, the last one short
    stored = MAPS[which]
    bands = stored.band_names[:-3:2] + stored.band_names[-2:] if len(stored.bands) > 3 else stored.band_names[::-1]
    modality, count, size = stored.select(bands), 7, 8
    raw = stored_numbers(stored, count, size)
    levels = np.arange(count) % 3 - 1
    normaliser = None
    if standardised:
        rows = [*modality.levels, "all"]
        scales = {
            level: ([row + 0.3 * i for i in range(len(bands))], [row + 1.7] * len(bands))
            for row, level in enumerate(rows)
        }
        levels = levels if modality.levels else np.full(count, -1)
        normaliser = Normaliser(modality, scales if modality.kind.is_continuous else {})
    windows = np.stack([np.arange(count) % 4, 3 - np.arange(count) % 4], axis=1)
    found = Blockwise(modality, stored.band_indices(bands), normaliser)(
        raw, levels, None if crop is None else windows, crop
    )

    picked = raw[:, list(stored.band_indices(bands))]
    if crop is not None:
        picked = np.stack(
            [tile[:, y : y + crop, x : x + crop] for tile, (y, x) in zip(picked, windows.tolist(), strict=True)]
        )
    expected = Decoder(modality).unfilled(torch.from_numpy(picked))
    if normaliser is None:
        expected.values.masked_fill_(~expected.valid, 0)
    else:
        expected = normaliser.standardise_(expected, torch.from_numpy(levels))
    assert torch.equal(found.valid, expected.valid)
    assert torch.equal(found.values, expected.values)
    assert found.values.dtype == expected.values.dtype
    assert found.valid.any() or which == "beyond"
    assert not found.valid.all()
