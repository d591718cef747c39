"""What maps of fine-tuned heads have in common: how a scene is run for them, and what their files say of themselves."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from geopretext.errors import InputError
from geopretext.predict.embedding_map import parts_folder
from geopretext.predict.head_network import HeadSource
from geopretext.predict.open_scene import SceneSource
from geopretext.predict.scene_crew import SceneOpener
from geopretext.predict.scene_run import Looked, Progress, RunOptions, SceneRun, run_scene

RASTERS = (".tif", ".tiff")
OBSERVED = 0.5
"""Share of a pixel that must have been observed; there is none between 0 and 1 but by rounding."""


@contextmanager
def run_head(
    scene: SceneOpener | str | Path,
    head: HeadSource,
    out: Path,
    options: RunOptions | None,
    *,
    progress: Progress | None,
    looked: Looked | None,
) -> Iterator[SceneRun]:
    """``run_scene``, with windows that suit the decoder; finished strips are in ``NAME.parts`` beside the output."""
    options = options or RunOptions()
    if options.window is None:
        margin = head.margin if options.margin is None else options.margin
        options = replace(options, window=max(head.window, 3 * margin + 2 * head.patch))
    source = SceneSource(str(scene)) if isinstance(scene, str | Path) else scene
    with run_scene(source, head, parts_folder(out), options, progress=progress, looked=looked) as run:
        yield run


def check_outputs(rasters: Sequence[Path], others: Sequence[Path] = (), *, suffixes: Sequence[str] = ()) -> None:
    """Refuse outputs that could not be written, before anything is computed.

    Args:
        rasters: GeoTIFFs.
        others: further files.
        suffixes: of those.

    Raises:
        InputError: a folder is not there, a name ends otherwise, or two outputs are one.
    """
    for path, endings in (*((each, RASTERS) for each in rasters), *((each, suffixes) for each in others)):
        if path.suffix.lower() not in endings:
            raise InputError(
                "cannot be written by its name", where=str(path), hint=f"it ends with {', '.join(endings)}"
            )
        if not path.parent.is_dir():
            raise InputError("no such folder", where=str(path.parent), hint="make it first")
    if len({path.resolve() for path in (*rasters, *others)}) < len(rasters) + len(others):
        raise InputError("two outputs have one name", where=str(rasters[0]))


def map_tags(head: HeadSource, run: SceneRun) -> dict[str, str]:
    """What a map's file says of where it comes from."""
    return {
        "geopretext_version": version("geopretext"),
        "bundle": str(head.folder),
        "bundle_fingerprint": head.fingerprint()[:16],
        "scene": run.scene.where,
        # without the report of the gate, which is longer than all else together
        "inputs": json.dumps({key: value for key, value in run.record.items() if key != "gate"}),
    }
