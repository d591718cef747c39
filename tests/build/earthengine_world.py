"""A small Earth that computes the expressions that the Earth Engine client sends.

Written from the service's documentation of each function, independently of the code under test, for the functions that
it uses: what is not known here fails the test. An image is a mapping of bands to fields of eastings and northings; a
pixel that is masked is NaN. Nothing is interpolated: ``resample`` and ``Terrain.slope`` only leave a trace that the
tests look for.
"""

# ruff: noqa: A002 - arguments are named as the service names them

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import shapely

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Picture:
    """An image."""

    id: str = ""
    bands: Mapping[str, Field] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    footprint: Any = None
    """degrees (shapely); None: everywhere"""
    crs: str = "EPSG:4326"
    cast: str = ""


class Unknown(Exception):
    """What the service answers with status 400."""


class World:
    """Images by asset id.

    Args:
        pictures: an image whose id is ``COLLECTION/INDEX`` is part of a collection too.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures = {picture.id: picture for picture in pictures}
        self.region: Any = None
        """of the last rectangle, metres"""
        self.called: list[str] = []
        """functions, in the order in which they were computed"""

    def value(self, expression: Mapping[str, Any]) -> Any:
        """The result of a serialised expression."""
        nodes = expression["values"]
        return self._node(nodes[expression["result"]], nodes, {})

    def pixels(self, body: Mapping[str, Any]) -> np.ndarray:
        """The records that ``image:computePixels`` answers with: masked pixels are 0."""
        picture = self.value(body["expression"])
        grid, affine = body["grid"]["dimensions"], body["grid"]["affineTransform"]
        x = affine["translateX"] + affine["scaleX"] * (np.arange(grid["width"]) + 0.5)
        y = affine["translateY"] + affine["scaleY"] * (np.arange(grid["height"]) + 0.5)
        eastings, northings = np.meshgrid(x, y)
        dtype = {"float": "<f4", "double": "<f8"}[picture.cast]
        records = np.zeros(eastings.shape, [(name, dtype) for name in body["bandIds"]])
        for name in body["bandIds"]:
            records[name] = np.nan_to_num(picture.bands[name](eastings, northings), nan=0.0)
        return records

    def _node(self, node: Any, nodes: Mapping[str, Any], scope: Mapping[str, Any]) -> Any:
        ((kind, value),) = node.items()
        if kind == "constantValue":
            return value
        if kind == "integerValue":
            return int(value)
        if kind == "valueReference":
            return self._node(nodes[value], nodes, scope)
        if kind == "argumentReference":
            return scope[value]
        if kind == "arrayValue":
            return [self._node(entry, nodes, scope) for entry in value["values"]]
        if kind == "functionDefinitionValue":
            (name,) = value["argumentNames"]
            return lambda argument: self._node(nodes[value["body"]], nodes, {**scope, name: argument})
        assert kind == "functionInvocationValue", kind
        arguments = {name: self._node(entry, nodes, scope) for name, entry in value["arguments"].items()}
        self.called.append(value["functionName"])
        return getattr(self, "_" + value["functionName"].replace(".", "_"))(**arguments)

    def _Image_load(self, id: str) -> Picture:
        if id not in self.pictures:
            raise Unknown(f"Image.load: Image asset '{id}' not found (does not exist or caller does not have access).")
        return self.pictures[id]

    def _ImageCollection_load(self, id: str) -> list[Picture]:
        return [picture for name, picture in self.pictures.items() if name.rpartition("/")[0] == id]

    def _ImageCollection_fromImages(self, images: list[Picture]) -> list[Picture]:
        return images

    def _ImageCollection_merge(self, collection1: list[Picture], collection2: list[Picture]) -> list[Picture]:
        return collection1 + collection2

    def _Collection_first(self, collection: list[Picture]) -> Picture:
        return collection[0]

    def _Collection_map(self, collection: list[Any], baseAlgorithm: Callable[[Any], Any]) -> list[Any]:
        return [baseAlgorithm(entry) for entry in collection]

    def _Collection_filter(self, collection: list[Picture], filter: Callable[[Picture], bool]) -> list[Picture]:
        return [picture for picture in collection if filter(picture)]

    def _Collection_reduceColumns(self, collection: list[Any], reducer: Any, selectors: list[str]) -> dict[str, Any]:
        size, optional = reducer
        assert size == len(selectors)
        rows = [[_property(entry, name) for name in selectors] for entry in collection]
        return {"list": [row for row in rows if None not in row[: size - optional]]}

    def _Reducer_toList(self, tupleSize: int, numOptional: int) -> tuple[int, int]:
        return tupleSize, numOptional

    def _Reducer_mean(self) -> str:
        return "mean"

    def _Dictionary_get(self, dictionary: dict[str, Any], key: str) -> Any:
        return dictionary[key]

    def _Filter_equals(self, leftField: str, rightValue: Any) -> Callable[[Picture], bool]:
        return lambda picture: _property(picture, leftField) == rightValue

    def _Filter_listContains(self, leftValue: list[Any], rightField: str) -> Callable[[Picture], bool]:
        return lambda picture: _property(picture, rightField) in leftValue

    def _Filter_dateRangeContains(self, leftValue: Any, rightField: str) -> Callable[[Picture], bool]:
        start, end = leftValue
        return lambda picture: start <= _property(picture, rightField) < end

    def _DateRange(self, start: str, end: str) -> tuple[int, int]:
        return _milliseconds(start), _milliseconds(end)

    def _Filter_intersects(self, leftField: str, rightValue: Any) -> Callable[[Picture], bool]:
        assert leftField == ".all"
        return lambda picture: (
            picture.footprint is None or rightValue is None or shapely.intersects(picture.footprint, rightValue)
        )

    def _Filter_contains(self, leftField: str, rightValue: Any, maxError: Any) -> Callable[[Picture], bool]:
        assert leftField == ".geo"
        return lambda picture: picture.footprint is None or shapely.contains(picture.footprint, rightValue)

    def _ErrorMargin(self, value: float) -> float:
        return value

    def _Feature(self, geometry: Any = None, metadata: Any = None) -> Any:
        return geometry if metadata is None else Picture(properties=metadata)

    def _GeometryConstructors_Polygon(self, coordinates: Any, geodesic: bool) -> Any:
        assert geodesic is False
        return shapely.Polygon(coordinates[0])

    def _GeometryConstructors_Rectangle(self, coordinates: Any, crs: str, geodesic: bool) -> Any:
        """In metres of a projection; this world knows degrees only, and lets it meet everything."""
        assert crs.startswith("EPSG:32")
        assert geodesic is False
        self.region = shapely.box(*coordinates)

    def _Projection(self, crs: str) -> str:
        return crs

    def _Element_set(self, object: Picture, key: str, value: Any) -> Picture:
        return replace(object, properties={**object.properties, key: value})

    def _Image_projection(self, image: Picture) -> str:
        return image.crs

    def _Projection_crs(self, projection: str) -> str:
        return projection

    def _Image_date(self, image: Picture) -> int:
        return int(_property(image, "system:time_start"))

    def _Date_format(self, date: int, format: str) -> str:
        assert format == "YYYY-MM"
        return str(np.datetime64(date, "ms").astype("datetime64[M]"))

    def _Image_select(self, input: Picture, bandSelectors: list[Any], newNames: list[str] | None = None) -> Picture:
        there = list(input.bands)
        names = [there[name] if isinstance(name, int) else name for name in bandSelectors]
        for name in names:
            if name not in input.bands:
                raise Unknown(f"Image.select: Band pattern '{name}' did not match any bands. Available bands: {there}")
        return replace(
            input, bands={new: input.bands[name] for new, name in zip(newNames or names, names, strict=True)}
        )

    def _Image_rename(self, input: Picture, names: list[str]) -> Picture:
        return replace(input, bands=dict(zip(names, input.bands.values(), strict=True)))

    def _Image_addBands(self, dstImg: Picture, srcImg: Picture) -> Picture:
        bands = dict(dstImg.bands)
        for name, values in srcImg.bands.items():
            bands[name if name not in bands else f"{name}_1"] = values
        return replace(dstImg, bands=bands)

    def _Image_constant(self, value: Any) -> Picture:
        numbers = value if isinstance(value, list) else [value]
        return Picture(
            bands={
                f"constant_{i}" if i else "constant": lambda x, y, number=number: np.full(x.shape, float(number))
                for i, number in enumerate(numbers)
            }
        )

    def _Image_selfMask(self, image: Picture) -> Picture:
        return _each(image, lambda values: np.where(values == 0, np.nan, values))

    def _Image_unmask(self, input: Picture, value: Picture, sameFootprint: bool) -> Picture:
        assert sameFootprint is False
        (fill,) = (band(np.zeros(1), np.zeros(1))[0] for band in value.bands.values())
        return _each(input, lambda values: np.where(np.isnan(values), fill, values))

    def _Image_add(self, image1: Picture, image2: Picture) -> Picture:
        return _each(image1, lambda values: values + _constant(image2))

    def _Image_multiply(self, image1: Picture, image2: Picture) -> Picture:
        return _each(image1, lambda values: values * _constant(image2))

    def _Image_toFloat(self, value: Picture) -> Picture:
        return replace(value, cast="float")

    def _Image_toDouble(self, value: Picture) -> Picture:
        return replace(value, cast="double")

    def _Image_resample(self, image: Picture, mode: str) -> Picture:
        self.called.append(f"resample {mode}")
        return image

    def _Terrain_slope(self, input: Picture) -> Picture:
        (band,) = input.bands.values()
        return replace(input, bands={"slope": _then(band, lambda values: values / 100)})

    def _reduce_mode(self, collection: list[Picture]) -> Picture:
        def mode(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            stack = np.stack([next(iter(picture.bands.values()))(x, y) for picture in collection])
            result = np.full(x.shape, np.nan)
            for index in np.ndindex(x.shape):
                seen = stack[(slice(None), *index)]
                numbers, counts = np.unique(seen[~np.isnan(seen)], return_counts=True)
                if numbers.size:
                    result[index] = numbers[counts.argmax()]
            return result

        return Picture(bands={next(iter(collection[0].bands)): mode})

    def _Image_reduceRegion(self, image: Picture, reducer: str, geometry: Any, scale: float, crs: str) -> Any:
        assert reducer == "mean"
        left, bottom, right, top = self.region.bounds
        x, y = np.meshgrid(np.arange(left + scale / 2, right, scale), np.arange(bottom + scale / 2, top, scale))
        means = {}
        for name, band in image.bands.items():
            values = band(x, y)
            known = values[~np.isnan(values)]
            means[name] = float(known.mean()) if known.size else None
        return means


def _each(image: Picture, change: Callable[[np.ndarray], np.ndarray]) -> Picture:
    return replace(image, bands={name: _then(band, change) for name, band in image.bands.items()})


def _then(band: Field, change: Callable[[np.ndarray], np.ndarray]) -> Field:
    return lambda x, y: change(band(x, y))


def _constant(image: Picture) -> float:
    (band,) = image.bands.values()
    return float(band(np.zeros(1), np.zeros(1))[0])


def _property(entry: Picture, name: str) -> Any:
    return entry.id.rpartition("/")[2] if name == "system:index" else entry.properties.get(name)


def _milliseconds(date: str) -> int:
    return int(np.datetime64(date, "ms").astype(np.int64))
