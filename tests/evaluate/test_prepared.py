"""A prepared task gives the encoder's pixels and the labels of the same pixels, kept or read again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.evaluate.prepared import Prepared
from geopretext.evaluate.tasks import load_task
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings

RGB = ("B4", "B3", "B2")


@pytest.fixture
def encoder() -> Encoder:
    network = ConvNeXtV2(EncoderSettings(size="atto", patch_size=8, image_size=16, bands=RGB))
    return Encoder(network, PUBLISHED["sentinel2"].select(RGB))


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Pictures of 20 x 20 pixels, of which an encoder with patches of 8 sees the inner 16 x 16."""
    pillow = pytest.importorskip("PIL.Image")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    generator = np.random.default_rng(0)
    for number in range(10):
        picture = generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        pillow.fromarray(picture).save(tmp_path / "images" / f"{number}.png")
        pillow.fromarray((picture[:, :, 0] > 127).astype(np.uint8) + 1).save(tmp_path / "masks" / f"{number}.png")
    (tmp_path / "task.yaml").write_text("kind: segmentation\nclasses: {1: dark, 2: bright}\n")
    return tmp_path


@pytest.mark.parametrize("memory", [0, 1 << 30], ids=["read again", "kept"])
def test_labels_lie_on_the_pixels_that_the_encoder_sees(encoder: Encoder, masks: Path, memory: int) -> None:
    prepared = Prepared.open(load_task(str(masks)), encoder, memory=memory)
    assert prepared.shape == (3, 16, 16)
    for _ in range(2):
        images, labels = prepared.batch(np.array([3, 0, 7]))
        assert labels.labelled is not None
        assert labels.labelled.all()
        # a threshold on the standardised red band is one on the picture's
        red, bright = images[:, 0], labels.values == 1
        assert red[bright].min() > red[~bright].max()


def test_memory_is_not_exceeded_by_images_and_labels_together(encoder: Encoder, masks: Path) -> None:
    """A pixel has three bands of float32, a class of int64 and a bool: 21 bytes."""
    sample = 16 * 16 * 21
    small, large = (
        Prepared.open(load_task(str(masks)), encoder, memory=count * sample + sample // 2) for count in (6, 10)
    )
    for some in ([1, 2, 3, 4], [5, 6, 1, 2], [7], [8], [0, 9, 3]):
        images, labels = small.batch(np.array(some))
        expected = large.batch(np.array(some))
        assert torch.equal(images, expected[0])
        assert torch.equal(labels.values, expected[1].values)
    assert (small.kept_bytes, large.kept_bytes) == (6 * sample, 10 * sample)
    # another view of the same task with the same memory finds it full
    part = replace(small, task=replace(small.task, test=small.task.test[:1]))
    part.batch(np.array([7]))
    assert small.kept_bytes == 6 * sample


def test_a_sample_in_no_split_is_not_read(encoder: Encoder, masks: Path) -> None:
    task = load_task(str(masks))
    moved = {split: getattr(task, split) + 1 for split in ("train", "val", "test")}
    broken = replace(
        task, samples=np.append(999, task.samples), labels=np.append(task.labels[:1], task.labels, 0), **moved
    )
    assert Prepared.open(broken, encoder).shape == (3, 16, 16)


def test_batches_come_in_order(encoder: Encoder, masks: Path) -> None:
    prepared = Prepared.open(load_task(str(masks)), encoder)
    everything = prepared.batch(np.arange(10))
    for positions, images, labels in prepared.batches(np.arange(10)[::-1].copy(), 4):
        torch.testing.assert_close(images, everything[0][positions])
        torch.testing.assert_close(labels.values, everything[1].values[positions])
