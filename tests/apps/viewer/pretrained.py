"""A folder as pretraining leaves it: tiles, two runs whose networks can reconstruct, and an encoder that cannot."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from geopretext.data.store import Store
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.fused_settings import FusedSettings
from geopretext.nn.network import NetworkSettings
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.settings import MPMAESettings

TARGETS: dict[str, tuple[str, ...] | None] = {
    "sentinel2": ("B2", "B3", "B4", "B8"), "sentinel1": None, "dynamic_world": None, "era5": None, "biome": None,
}  # fmt: skip
ROWS = 40


def settings(**changes: object) -> MPMAESettings:
    return MPMAESettings(targets=TARGETS, decoder_dim=16, mask_ratio=0.5, **changes)


def write_runs(folder: Path, store: Path) -> Path:
    """``folder`` with ``tiles.zarr``, ``first`` (patches of 8), ``second`` (patches of 16) and ``encoder``."""
    shutil.copytree(store, folder / "tiles.zarr")
    reader = Store.open(store)
    for seed, (name, patch) in enumerate((("first", 8), ("second", 16))):
        run = folder / name
        run.mkdir()
        (run / "metrics.csv").write_text("".join(metrics(seed)))
        (run / "config.yaml").write_text(
            f"data:\n  path: {folder / 'tiles.zarr'}\nrecipe:\n  name: {name}\n  seed: {seed}\n  epochs: 10\n"
        )
        write_bundle(run / "bundle", reader, settings(predict_visible=name == "second"), patch=patch, seed=seed)
    Encoder.from_pretrained(folder / "first" / "bundle").save_pretrained(folder / "encoder")
    return folder


def write_bundle(
    folder: Path,
    reader: Store,
    chosen: MPMAESettings,
    *,
    patch: int,
    seed: int,
    inputs: dict[str, tuple[str, ...]] | None = None,
) -> None:
    """An untrained network as pretraining with these settings saves it; of several ``inputs``, a fused one."""
    assert reader.statistics is not None
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"size": "micro", "image_size": 32, "patch_size": patch}
    encoder: NetworkSettings = EncoderSettings(**sizes) if inputs is None else FusedSettings(**sizes, inputs=inputs)
    network = MaskedAutoencoder(
        encoder,
        chosen.autoencoder,
        inputs=[reader.modalities[name].select(bands) for name, bands in encoder.inputs.items()],
        targets={n: reader.modalities[n].select(b) if b else reader.modalities[n] for n, b in chosen.targets.items()},
    )
    folder.mkdir(parents=True)
    recipe = {"pretext": asdict(chosen)}
    save_bundle(folder, network, statistics=reader.statistics.to_dict(), recipe=recipe, metrics={})


def metrics(seed: int, first: int = 0, rows: int = ROWS) -> list[str]:
    """Lines of a ``metrics.csv``; the header only before row 0."""
    header = (
        "step,epoch,tiles,seconds,tiles_per_second,learning_rate,gradient_norm,loss,loss/sentinel2,weight/sentinel2\n"
    )
    lines = [
        f"{20 * n},{n / 4},{320 * n},{5 * n},{60 + n},{0.001 / n},{9 / n},{8 / n + seed},{1 / n + seed},1\n"
        for n in range(first + 1, first + rows + 1)
    ]
    return lines if first else [header, *lines]
