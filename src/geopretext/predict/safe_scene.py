"""A Sentinel-2 product as the Copernicus Data Space gives it, a ``.SAFE`` folder or its zip, as a scene."""

from pathlib import Path

from geopretext.data.units import REFLECTANCE
from geopretext.errors import BandError, InputError, UnitError
from geopretext.predict.band_files import join, look
from geopretext.predict.file_scene import BandFile, FileScene
from geopretext.predict.open_datasets import OpenDatasets
from geopretext.predict.open_scene import SceneSource
from geopretext.predict.safe_product import NAMED_BY, SafeProduct, read_product
from geopretext.predict.scene_clouds import SCENE_CLASSES, cloud_record

_FULL = 10_000
"""number that is reflectance 1 in the unit of scenes"""


def open_source(source: SceneSource) -> FileScene:
    """See ``open_scene.SceneSource.open``; what the product says of itself cannot be declared otherwise."""
    where, path = source.path, Path(source.path)
    product, folder = read_product(path)
    _check_declared(source, product)
    datasets = OpenDatasets()
    layers = {}
    for name, file in product.files.items():
        with datasets.lend(f"{folder}/{file}", plain=True, named_by=NAMED_BY) as dataset:
            layers[name] = look(dataset, _band_file(product, name, f"{folder}/{file}"), where=f"{folder}/{file}")
    return join(
        layers,
        where=where,
        unit=REFLECTANCE,
        level=product.level,
        time=product.time,
        mask_clouds=source.clouds == "mask",
        record={
            "kind": "Sentinel-2 product",
            "path": where,
            "product": product.name,
            "processing_baseline": product.baseline,
            "files": dict(product.files),
            "unit_known_from": "metadata of the product",
            "quantification_value": product.quantification,
            "offsets_undone": dict(product.offsets),
            "no_data": list(product.missing),
            "clouds": cloud_record(source.clouds, found=SCENE_CLASSES in product.files),
        },
        local=(path,)
        if path.suffix.lower() == ".zip"
        else tuple(Path(folder, file) for file in product.files.values()),
        datasets=datasets,
    )


def _band_file(product: SafeProduct, name: str, href: str) -> BandFile:
    if name == SCENE_CLASSES:
        return BandFile(href)
    scale = _FULL / product.quantification
    return BandFile(href, scale=scale, offset=product.offsets.get(name, 0.0) * scale, missing=product.missing)


def _check_declared(source: SceneSource, product: SafeProduct) -> None:
    """Refuse what is declared of a product that says it itself."""
    where = source.path
    if source.bands is not None:
        raise BandError("a product names its bands itself", where=where, hint="leave --bands out")
    if source.unit not in (None, REFLECTANCE):
        raise UnitError(
            f"its metadata give {REFLECTANCE!r}; declared is {source.unit!r}", where=where, hint="leave --unit out"
        )
    if source.level not in (None, product.level):
        raise InputError(f"is of level {product.level}, not {source.level}", where=where, hint="leave --level out")
