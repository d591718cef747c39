"""Writes folders of exactly the layout of GEO-Bench v1, with objects of its classes in the pickles."""

import json
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np

S2 = {
    "01 - Coastal aerosol": 0.443,
    "02 - Blue": 0.49,
    "03 - Green": 0.56,
    "04 - Red": 0.665,
    "05 - Vegetation Red Edge": 0.705,
    "06 - Vegetation Red Edge": 0.74,
    "07 - Vegetation Red Edge": 0.783,
    "08 - NIR": 0.842,
    "08A - Vegetation Red Edge": 0.865,
    "09 - Water vapour": 0.945,
    "10 - SWIR - Cirrus": 1.375,
    "11 - SWIR": 1.61,
    "12 - SWIR": 2.19,
}
"""the thirteen bands as the package names them"""
S1 = ("01 - VH.Real", "02 - VH.Imaginary", "03 - VV.Real", "04 - VV.Imaginary")
LANDSAT = ("02 - Blue", "03 - Green", "04 - Red", "05 - NIR")

_CLASSES = {
    "dataset": ("Sentinel1", "Sentinel2", "Landsat8", "SpectralBand", "CloudProbability", "SegmentationClasses"),
    "label": ("Classification", "MultiLabelClassification", "SemanticSegmentation"),
    "task": ("TaskSpecifications",),
}


@contextmanager
def package(root: str = "geobench") -> Iterator[Mapping[str, type]]:
    """Classes that pickle as those of GEO-Bench do; the modules exist inside the block only."""
    made: dict[str, type] = {}
    parts = root.split(".")
    modules = [".".join(parts[: n + 1]) for n in range(len(parts))]
    for name in modules:
        sys.modules[name] = ModuleType(name)
    for file, names in _CLASSES.items():
        module = ModuleType(f"{root}.{file}")
        for name in names:
            made[name] = type(name, (), {"__module__": module.__name__})
            setattr(module, name, made[name])
        modules.append(module.__name__)
        sys.modules[module.__name__] = module
    try:
        yield made
    finally:
        for name in modules:
            del sys.modules[name]


def make(kind: type, **state: Any) -> Any:
    made = kind()
    vars(made).update(state)
    return made


def write_sample(
    path: Path,
    bands: Mapping[str, np.ndarray],
    *,
    kinds: Mapping[str, str] | None = None,
    label: Any = None,
    label_map: np.ndarray | None = None,
    classes: int = 0,
    date: Any = None,
    root: str = "geobench",
    protocol: int = 4,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """One HDF5 file as ``write_sample_hdf5`` of the package writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain: dict[str, Any] = {} if label is None else {"label": label}
    with package(root) as classes_of, h5py.File(path, "w") as file:
        for name, values in bands.items():
            kind = (kinds or {}).get(name, "Sentinel2")
            state = {"name": name, "alt_names": (name[:2],), "spatial_resolution": 10}
            if kind in ("Sentinel2", "Landsat8"):
                state["wavelength"] = S2.get(name, 0.5)
            stored = name if date is None else f"{name}_{date}"
            file.create_dataset(stored, data=values)
            plain[stored] = _entry(make(classes_of[kind], **state), date)
        if label_map is not None:
            file.create_dataset("label", data=label_map)
            info = make(classes_of["SegmentationClasses"], name="label", n_classes=classes, _class_names=None)
            plain["label"] = _entry(info, None)
        plain["bands_order"] = list(plain)
        file.attrs["pickle"] = str(pickle.dumps({**plain, **(extra or {})}, protocol=protocol))
    return path


def _entry(info: Any, date: Any) -> dict[str, Any]:
    return {"date": date, "date_id": date, "spatial_resolution": 10, "band_info": info, "meta_info": None}


def write_partition(folder: Path, name: str = "default", **splits: Sequence[str]) -> None:
    (folder / f"{name}_partition.json").write_text(json.dumps(splits, indent=2))


def write_specs(folder: Path, kind: str, classes: int, names: Sequence[str] | None, root: str = "geobench") -> None:
    """``task_specs.pkl`` with the type of the labels."""
    field = "class_name" if kind == "MultiLabelClassification" else "_class_names"
    with package(root) as classes_of:
        label_type = make(classes_of[kind], n_classes=classes, **{field: names})
        specs = make(classes_of["TaskSpecifications"], dataset_name=folder.name, label_type=label_type)
        (folder / "task_specs.pkl").write_bytes(pickle.dumps(specs, protocol=4))


def sentinel2(seed: int, names: Sequence[str] = tuple(S2), size: int = 16, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Bands whose numbers tell them apart: the n-th of the thirteen is about 100 n."""
    generator = np.random.default_rng(seed)
    order = list(S2)
    return {n: (100 * (order.index(n) + 1) + generator.random((size, size))) * scale for n in names}
