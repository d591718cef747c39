"""What is written of a scene, looked at before anything is computed.

What would fail, or destroy what is read, after hours of work is refused at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from geopretext.errors import InputError
from geopretext.predict.scene import Scene


@dataclass(frozen=True)
class Output:
    """A file that is written of a scene."""

    path: Path
    cell_bytes: float = 0.0
    """room on the disk that it takes for each cell while it is written, at most"""
    placed: bool = False
    """whether it can be written only of a scene that says where it lies"""


def parts_folder(out: Path) -> Path:
    """Where the finished strips of an output are kept until it stands."""
    return out.with_name(f"{out.name}.parts")


def check_outputs(outputs: Sequence[Path], suffixes: Sequence[Sequence[str]]) -> None:
    """Refuse files that could not be written.

    Args:
        outputs: the files; parts are kept beside the first.
        suffixes: those that each may have.

    Raises:
        InputError: a name ends otherwise, its folder is not there, a folder stands in its place, two outputs are one,
            or one lies among the parts, which are deleted.
    """
    for path, endings in zip(outputs, suffixes, strict=True):
        if path.suffix.lower() not in endings:
            raise InputError(
                "cannot be written by its name", where=str(path), hint=f"it ends with {', '.join(endings)}"
            )
        if not path.parent.is_dir():
            raise InputError("no such folder", where=str(path.parent), hint="make it first")
        if path.is_dir():
            raise InputError("is a folder", where=str(path), hint="name a file")
    parts = parts_folder(outputs[0])
    for number, path in enumerate(outputs):
        if any(_same(path, other) for other in outputs[:number]):
            raise InputError("two outputs are one file", where=str(path))
        if parts.resolve() in path.resolve().parents:
            raise InputError("lies in a folder that is deleted at the end", where=str(path), hint="name another folder")


def check_scene(scene: Scene, path: str | None, outputs: Sequence[Output]) -> None:
    """Refuse files that cannot be written of a scene, or would take the place of what it is read from.

    Args:
        scene: as it was opened.
        path: of the source, if it has one.
        outputs: of it.

    Raises:
        InputError: an output is one of the scene's files, or needs a place that the scene does not say.
    """
    check_apart(list(_files(scene, path)), outputs)
    for each in outputs:
        if each.placed and not scene.georeference.crs:
            raise InputError(
                f"{each.path.name} cannot be written, since the scene does not say where it lies",
                where=scene.where,
                hint="leave it out, or give the scene a coordinate reference system",
            )


def check_apart(read: Sequence[Path], outputs: Sequence[Output]) -> None:
    """Refuse outputs that would take the place of what is read.

    Args:
        read: files that are read.
        outputs: files that are written.

    Raises:
        InputError: a file is both.
    """
    for each in outputs:
        if any(_same(each.path, file) for file in read):
            raise InputError(
                "is read from and would be written to", where=str(each.path), hint="name another file for the output"
            )


def _same(one: Path, other: Path) -> bool:
    """Also through links."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def _files(scene: Scene, path: str | None) -> Iterator[Path]:
    """What is read, as far as it is on this machine."""
    if path is not None:
        yield from _with_sources(Path(path))
    # "local" is empty if a part of the scene is elsewhere; "files" lacks a scene classification that is not used
    bands = getattr(scene, "files", {}).values()
    for file in {*getattr(scene, "local", ()), *(Path(band.href) for band in bands)}:
        yield from _with_sources(file)


def _with_sources(path: Path) -> Iterator[Path]:
    """A file, and those that it stands for."""
    yield path
    if path.suffix.lower() == ".vrt" and path.is_file():
        import rasterio  # here, since it is optional

        with rasterio.open(path) as dataset:
            yield from map(Path, dataset.files)
