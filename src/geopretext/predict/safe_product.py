"""What the metadata of a Sentinel-2 product say: level, date, files of the bands, scale, offsets.

``MTD_MSIL1C.xml`` and ``MTD_MSIL2A.xml`` of the Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD, 14.9),
in the compact layout that all products have since December 2016. Names of elements and the meaning of ``band_id``
(which ``Spectral_Information`` resolves: 8 is B8A) were compared with how GDAL's driver reads them
(frmts/sentinel2/sentinel2dataset.cpp). Never tried on a downloaded product.

    reflectance = (number + RADIO_ADD_OFFSET or BOA_ADD_OFFSET) / QUANTIFICATION_VALUE

Offsets are there since processing baseline 04.00.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

# entities are refused before they are defined, see _NoDoctype
from xml.etree import ElementTree

import numpy as np

from geopretext.errors import CorruptError, InputError, UnitError
from geopretext.predict.band_files import Sighting, band_in, choose
from geopretext.predict.open_datasets import no_such_file
from geopretext.predict.raster_facts import read_date

NAMED_BY = "the product's metadata"
"""who says which files there are, for messages"""
_LEVELS = {"Level-1C": "L1C", "Level-2A": "L2A"}
_MOST_BYTES = 64 * 2**20
"""of metadata; real ones have some 50 kB"""
_MISSING = ("NODATA", "SATURATED")
"""special values that are no measurements"""


@dataclass(frozen=True)
class SafeProduct:
    """A product's metadata."""

    name: str
    level: str
    """L1C or L2A"""
    baseline: str
    """processing baseline, as ``05.11``"""
    time: np.datetime64 | None
    """start of the datatake, UTC"""
    files: Mapping[str, str]
    """path of each band in the product, and of ``SCL``"""
    quantification: float
    """number that is reflectance 1"""
    offsets: Mapping[str, float]
    """what is to be added to a band's numbers; empty before baseline 04.00"""
    missing: tuple[float, ...]
    """numbers that are no measurements"""


def read_product(path: Path) -> tuple[SafeProduct, str]:
    """A product's metadata, and what GDAL calls the folder that the files' paths start from.

    Args:
        path: folder ``*.SAFE``, its zip, or the metadata file in either folder.

    Raises:
        InputError: it is no product, or one of a kind that is not read; or an image of it is not in the zip.
        CorruptError: it cannot be decoded.
    """
    if path.suffix.lower() == ".zip":
        return _read_zip(path)
    found = [path] if path.is_file() else sorted(path.glob("MTD_MSIL*.xml"))
    if not found:
        raise _no_product(path)
    if found[0].stat().st_size > _MOST_BYTES:
        raise _too_large(str(found[0]))
    return parse(found[0].read_bytes(), where=str(found[0])), str(found[0].parent)


def _read_zip(path: Path) -> tuple[SafeProduct, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            found = [info for info in archive.infolist() if PurePosixPath(info.filename).match("*.SAFE/MTD_MSIL*.xml")]
            if not found:
                raise _no_product(path)
            if found[0].file_size > _MOST_BYTES:
                raise _too_large(f"{path}/{found[0].filename}")
            content, names = archive.read(found[0]), set(archive.namelist())
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise CorruptError(f"cannot be unpacked: {error}", where=str(path), hint="download it again") from error
    folder = PurePosixPath(found[0].filename).parent
    product = parse(content, where=f"{path}/{found[0].filename}")
    for file in product.files.values():
        if f"{folder}/{file}" not in names:
            raise no_such_file(f"{path}/{folder}/{file}", NAMED_BY)
    name = str(path.absolute())
    # Braces keep GDAL from looking for the end of the zip's name; names that have some would end too early.
    inside = name if set("{}") & set(name) else f"{{{name}}}"
    return product, f"/vsizip/{inside}/{folder}"


def parse(content: bytes, *, where: str) -> SafeProduct:
    """The metadata in an XML file.

    Raises:
        InputError: it is not of a product that is read.
        CorruptError: it is no XML, or has a document type, which no product has.
        UnitError: scale or offsets are no numbers.
    """
    try:
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoDoctype()))  # noqa: S314
    except (ElementTree.ParseError, _DoctypeError, LookupError, ValueError) as error:
        raise CorruptError(f"is no XML of a product: {error}", where=where, hint="download it again") from error
    level = _LEVELS.get(_text(root, "PROCESSING_LEVEL")[:8])
    if level is None:
        raise InputError(
            f"is of level {_text(root, 'PROCESSING_LEVEL') or 'unknown'}", where=where, hint="L1C and L2A are read"
        )
    granules = root.findall(".//Granule")
    if len(granules) != 1:
        raise InputError(
            f"has {len(granules)} granules",
            where=where,
            hint="products have one since December 2016; of an older one give the folder of a granule's bands",
        )
    surface = level == "L2A"
    bands = {info.get("bandId"): info.get("physicalBand") or "" for info in root.iter("Spectral_Information")}
    offsets: dict[str, float] = {}
    for offset in root.iter("BOA_ADD_OFFSET" if surface else "RADIO_ADD_OFFSET"):
        if offset.get("band_id") not in bands:
            raise UnitError(f"an offset is of band {offset.get('band_id')!r}, which it does not know", where=where)
        offsets[bands[offset.get("band_id")]] = _number(offset.text, where=where)
    special = {
        _text(value, "SPECIAL_VALUE_TEXT"): _text(value, "SPECIAL_VALUE_INDEX") for value in root.iter("Special_Values")
    }
    started = _text(root, "PRODUCT_START_TIME")
    return SafeProduct(
        name=_text(root, "PRODUCT_URI") or PurePosixPath(where).parent.name,
        level=level,
        baseline=_text(root, "PROCESSING_BASELINE"),
        time=read_date(started, where=where) if started else None,
        files=_files(granules[0], where=where),
        quantification=_number(
            _text(root, "BOA_QUANTIFICATION_VALUE" if surface else "QUANTIFICATION_VALUE"), where=where
        ),
        offsets=offsets,
        missing=tuple(_number(special[text], where=where) for text in _MISSING if text in special) or (0.0,),
    )


def _files(granule: Any, *, where: str) -> dict[str, str]:
    sightings = []
    for image in granule.findall("IMAGE_FILE"):
        path = PurePosixPath((image.text or "").strip())
        if path.is_absolute() or ".." in path.parts or "{" in str(path):
            raise InputError(f"names a file outside of the product: {path}", where=where)
        found = band_in(path.name)
        if found is not None:
            sightings.append(Sighting(found[0], found[1], f"{path}.jp2"))
    return choose(sightings, where=where)


def _text(element: Any, tag: str) -> str:
    return (element.findtext(f".//{tag}") or "").strip()


def _number(text: str | None, *, where: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        raise UnitError(f"{text!r} is not a number: scale and offset are unknown", where=where) from None
    return number


def _no_product(path: Path) -> InputError:
    return InputError(
        "is no Sentinel-2 product: it holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml",
        where=str(path),
        hint="give the folder NAME.SAFE, or the zip with it",
    )


def _too_large(where: str) -> CorruptError:
    return CorruptError(f"has more than {_MOST_BYTES} bytes of metadata: no product has", where=where)


class _DoctypeError(Exception):
    """The document has a type."""


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type, before the entities that it defines could be expanded."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Called by the parser at the start of ``<!DOCTYPE``."""
        raise _DoctypeError(f"it has a document type ({name}, {pubid}, {system})")
