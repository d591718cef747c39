"""Every modality that a network was pretrained on, predicted for a whole scene from its optical image alone.

    found = reconstruct_scene("runs/first/bundle", "S2B_MSIL2A_20240830T100559.SAFE.zip", "reconstruction")
    found.maps["canopy_height_eth"].path          # a COG in metres, on the grid of the scene

Each map becomes a COG on the grid of the scene: quantities in their unit, classes with the modality's own codes, names
and colours. Quantities of the whole place (climate, month, biome) are averaged over windows spread over the scene.

A scene is cut into windows of the size that the network was trained on, which overlap and are blended; in each, every
patch is predicted in passes that show parts of the window (``predict.modality_maps``).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.data.local_file import replace_file
from geopretext.data.normalise import scales_of
from geopretext.data.statistics import POOLED, Statistics
from geopretext.data.tiles import Coordinates
from geopretext.errors import InputError
from geopretext.modality import Modality
from geopretext.nn.bundle_pretext import load_statistics
from geopretext.predict.cog import needed_bytes
from geopretext.predict.modality_maps import ModalityMaps, ModalityMapsSource
from geopretext.predict.open_scene import SceneSource
from geopretext.predict.predicted_map import MapLayout, PredictedMap, write_confidence, write_map
from geopretext.predict.scene import Scene
from geopretext.predict.scene_crew import SceneOpener
from geopretext.predict.scene_door import SceneDoor, open_scene_door
from geopretext.predict.scene_outputs import Output, check_apart
from geopretext.predict.scene_place import scene_coordinates
from geopretext.predict.scene_run import Looked, Progress, RunOptions, SceneRun, run_scene
from geopretext.predict.scene_truth import Comparison, TruthFile, compare
from geopretext.predict.scene_vectors import PredictedVector, predict_vectors

RECORD = "reconstruction.json"
_PARTS = ".parts"
_NOTE = "predicted from an optical image by a pretrained network; nothing of it was observed"
_LIKELIEST = 5
"""classes of the whole scene that are written down"""


@dataclass(frozen=True)
class SceneReconstruction:
    """What was predicted of a scene."""

    scene: Scene
    input: Modality
    """of the encoder, with its bands"""
    coordinates: Coordinates
    """of the one scene"""
    maps: Mapping[str, PredictedMap]
    """by modality, in the order of the network"""
    vectors: Mapping[str, PredictedVector]
    """by modality, in the order of the network"""
    left_out: Mapping[str, str]
    """maps and bands that are not predicted, and why"""
    compared: Mapping[str, Comparison]
    """by modality, where there was a real product to compare with"""
    record: Mapping[str, Any]
    """all of this but pixels, as in ``reconstruction.json``"""


def reconstruct_scene(
    bundle: str | Path,
    scene: str | Path | SceneOpener,
    folder: str | Path,
    *,
    options: RunOptions | None = None,
    confidence: bool = False,
    truth: Mapping[str, TruthFile] | None = None,
    progress: Progress | None = None,
    looked: Looked | None = None,
) -> SceneReconstruction:
    """Predict every modality for a scene, and write what was predicted.

    A run that was stopped goes on where it stopped when it is called again for the same folder. Where the image was not
    observed, or was under clouds, there is no data in the maps.

    Args:
        bundle: that pretraining wrote (a bundle of an encoder alone cannot predict modalities).
        scene: a path (see ``predict.open_scene``), or a ``SceneSource`` that says more about it.
        folder: for ``MODALITY.tif`` of each map and ``reconstruction.json``; made if it is not there.
        options: choices about input, devices and processes; windows are always those that the network was trained on.
        confidence: also write ``MODALITY_confidence.tif`` of land cover and other classes.
        truth: by modality, the real product on the grid of the scene, to compare with.
        progress: told how many windows are done.
        looked: told what is done to the input's numbers.

    Raises:
        BundleError: the bundle cannot be read, or holds an encoder only, or no statistics.
        BandError, UnitError, GridError, InputError: the scene is not for this bundle; a real product is none of its
            modalities, or not on the grid of the scene; the folder is a file, or a map would take the place of what the
            scene is read from.
        CorruptError: the scene cannot be decoded.
        StoreError: the disk is full, or has no room for the maps.
        MissingLibraryError: rasterio is not installed.
    """
    network = ModalityMapsSource.of(bundle)
    statistics = Statistics.from_dict(load_statistics(bundle))
    source = SceneSource(str(scene)) if isinstance(scene, str | Path) else scene
    options = options or RunOptions()
    if len(network.encoder().inputs) > 1:
        network = network.of_scene(source.open(), options.door)
    options = replace(options, window=network.extent, ramp=network.ramp, keep="float16")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file", where=str(folder), hint="name a folder")
    model = network.load("cpu")
    for name, real in (truth or {}).items():
        if name not in model.channels:
            raise InputError(f"the bundle predicts no map {name!r}", hint=f"it predicts {', '.join(model.channels)}")
        real.check(model.network.targets[name], source.open())
    outputs = _outputs(model, folder, confidence)
    check_apart([real.path for real in (truth or {}).values()], outputs)
    folder.mkdir(parents=True, exist_ok=True)
    with run_scene(source, network, folder / _PARTS, options, outputs=outputs, progress=progress, looked=looked) as run:
        door = open_scene_door(run.scene, network.encoder(), options.door)
        layouts, left_out = _layouts(model, door, statistics)
        maps = {name: _write(name, layout, run, model, folder, confidence) for name, layout in layouts.items()}
        compared = {name: compare(maps[name], real) for name, real in (truth or {}).items() if name in maps}
        coordinates = scene_coordinates(run.scene)
        vectors = predict_vectors(door, model, run.windows, statistics, coordinates)
        record = {
            "bundle": str(bundle),
            "scene": run.scene.where,
            "latitude": _known(coordinates.lat[0]),
            "longitude": _known(coordinates.lon[0]),
            "time": None if run.scene.time is None else str(run.scene.time),
            "maps": {name: _map_record(each) for name, each in maps.items()},
            "left_out": left_out,
            "compared": {name: each.to_dict() for name, each in compared.items()},
            "vectors": {name: _vector_record(each) for name, each in vectors.items()},
            "input": dict(run.record),
        }
        replace_file(folder / RECORD, json.dumps(record, indent=2).encode())
        run.discard()
    return SceneReconstruction(run.scene, model.inputs[0], coordinates, maps, vectors, left_out, compared, record)


def _outputs(model: ModalityMaps, folder: Path, confidence: bool) -> list[Output]:
    """The files that are written, at most: while one is, the others take the room that their numbers do."""
    sizes = {}
    for name in model.channels:
        target = model.network.targets[name]
        sizes[_map_path(folder, name)] = (len(target.bands), target.dtype if target.kind.is_categorical else "float32")
        if confidence and target.kind.is_categorical:
            sizes[_confidence_path(folder, name)] = (1, "uint8")
    beside = {path: count * np.dtype(dtype).itemsize for path, (count, dtype) in sizes.items()}
    largest = max(beside, key=beside.__getitem__, default=None)
    rooms = {path: needed_bytes(*sizes[path]) if path == largest else room for path, room in beside.items()}
    return [*(Output(path, room) for path, room in rooms.items()), Output(folder / RECORD)]


def _map_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.tif"


def _confidence_path(folder: Path, name: str) -> Path:
    return folder / f"{name}_confidence.tif"


def _layouts(
    model: ModalityMaps, door: SceneDoor, statistics: Statistics
) -> tuple[dict[str, MapLayout], dict[str, str]]:
    """Where each map is among the network's numbers, and what is left out."""
    layouts, left_out = {}, dict(model.left_out)
    for name, place in model.channels.items():
        target = model.network.targets[name]
        channels = np.arange(place.start, place.stop)
        if target.kind.is_categorical:
            layouts[name] = MapLayout(target, tuple(channels), np.empty(0), np.empty(0))
            continue
        known = statistics.modalities[name].bands[POOLED]
        observed = [known[band].count > 0 for band in target.band_names]
        never = [band for band, seen in zip(target.band_names, observed, strict=True) if not seen]
        if never:
            left_out[f"{name}: {', '.join(never)}"] = "never observed where the network was trained"
        if not any(observed):
            continue
        kept = target.select([band for band in target.band_names if band not in never])
        modality, mean, std = _scale(kept, door, statistics)
        layouts[name] = MapLayout(modality, tuple(channels[observed]), mean, std)
    return layouts, left_out


def _scale(modality: Modality, door: SceneDoor, statistics: Statistics) -> tuple[Modality, Any, Any]:
    """What the numbers of a continuous map mean: its modality, and the mean and deviation of its bands.

    The input was standardised by its door, which may have taken the scene's own unit and scale.
    """
    seen_inputs = {seen.name for seen in door.door.inputs}
    if modality.name in seen_inputs and set(modality.band_names) <= set(door.door.modality.band_names):
        rows = list(door.door.modality.band_indices(modality.band_names))
        seen = door.door.modality.select(modality.band_names)
        converted = seen.bands[0].unit == modality.bands[0].unit
        scale = door.door.scale
        return modality if converted else seen, np.asarray(scale[0])[rows], np.asarray(scale[1])[rows]
    scales = scales_of(modality, statistics)
    level = door.record["level"]
    scale = scales[level if level in scales else POOLED]
    return modality, np.asarray(scale[0]), np.asarray(scale[1])


def _write(
    name: str, layout: MapLayout, run: SceneRun, model: ModalityMaps, folder: Path, confidence: bool
) -> PredictedMap:
    tags = {"SOURCE": run.scene.where, "NOTE": _NOTE}
    path, certainty = _map_path(folder, name), None
    write_map(path, run, layout, tags)
    if confidence and layout.modality.kind.is_categorical:
        certainty = _confidence_path(folder, name)
        write_confidence(certainty, run, layout, tags)
    return PredictedMap(
        layout.modality,
        path,
        certainty,
        from_shown=model.network.predicts_visible(name),
        restored=name in model.network.settings.standardise_patches,
    )


def _map_record(found: PredictedMap) -> dict[str, Any]:
    modality = found.modality
    return {
        "file": found.path.name,
        "bands": list(modality.band_names),
        "units": [band.unit for band in modality.bands],
        "confidence": None if found.confidence is None else found.confidence.name,
        "patches_predicted": "from themselves and others" if found.from_shown else "from others only",
        "brightness": "of the input" if found.restored else "predicted",
    }


def _vector_record(found: PredictedVector) -> dict[str, Any]:
    """Numbers by band, or the likeliest classes."""
    modality = found.modality
    if modality.kind.is_categorical:
        order = np.argsort(-found.values, kind="stable")[:_LIKELIEST]
        likeliest = [{"class": modality.classes[n].name, "probability": _number(found.values[n])} for n in order]
        return {"windows": found.windows, "likeliest": likeliest}
    truth, valid = found.truth
    bands = {
        band.name: {
            "unit": band.unit,
            "predicted": _number(found.values[row]),
            "std_over_windows": _number(found.spread[row]),
            "true": _number(truth[row]) if valid[row] else None,
        }
        for row, band in enumerate(modality.bands)
    }
    return {"windows": found.windows, "bands": bands}


def _number(value: float) -> float:
    return float(f"{value:.6g}")


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
