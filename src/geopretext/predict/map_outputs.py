"""What maps of fine-tuned heads have in common: how a scene is run for them, and what their files say of themselves."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from geopretext.predict.head_network import HeadSource
from geopretext.predict.open_scene import SceneSource
from geopretext.predict.scene_crew import SceneOpener
from geopretext.predict.scene_outputs import Output, parts_folder
from geopretext.predict.scene_run import Looked, Progress, RunOptions, SceneRun, run_scene

OBSERVED = 0.5
"""Share of a pixel that must have been observed; there is none between 0 and 1 but by rounding."""


@contextmanager
def run_head(
    scene: SceneOpener | str | Path,
    head: HeadSource,
    outputs: Sequence[Output],
    options: RunOptions | None,
    *,
    progress: Progress | None,
    looked: Looked | None,
) -> Iterator[SceneRun]:
    """``run_scene``, with windows that suit the decoder; finished strips are kept beside the first output."""
    options = options or RunOptions()
    if options.window is None:
        margin = head.margin if options.margin is None else options.margin
        options = replace(options, window=max(head.window, 3 * margin + 2 * head.patch))
    source = SceneSource(str(scene)) if isinstance(scene, str | Path) else scene
    parts = parts_folder(outputs[0].path)
    with run_scene(source, head, parts, options, outputs=outputs, progress=progress, looked=looked) as run:
        yield run


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
