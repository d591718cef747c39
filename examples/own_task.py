"""A task of one's own: how bright is a picture.

Run it with

    BRIGHTNESS_IMAGES=EuroSAT/2750 geopretext evaluate probe BUNDLE --task examples/own_task.py:make_task --out runs/own

The function may read labels from anywhere; it returns what kind of task it is, where the inputs are, the labels and the
split.
"""

import os
from pathlib import Path

import numpy as np

from geopretext.evaluate.inputs import ImageInputs
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.task import Task
from geopretext.predict.images import RGB_BANDS, ImageFiles


def make_task() -> Task:
    """Pictures with their mean over all pixels and colours as the quantity to predict."""
    folder = Path(os.environ.get("BRIGHTNESS_IMAGES", "images"))
    images = ImageFiles.open(sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png")))
    numbers = np.arange(len(images))
    brightness = [float(images.read(numbers[i : i + 1], RGB_BANDS)[0].mean()) for i in numbers]
    fifth = numbers % 5  # by number, so that the split is the same on every machine
    return Task(
        name="brightness",
        kind=TaskKind.REGRESSION,
        classes=("brightness",),
        inputs=ImageInputs(images),
        samples=numbers,
        labels=np.array(brightness)[:, None],
        train=numbers[fifth < 3],
        val=numbers[fifth == 3],
        test=numbers[fifth == 4],
        left_out={},
    )
