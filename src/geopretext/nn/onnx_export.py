"""An encoder as one ONNX file, for runtimes without Python or torch.

========================= ============================================================================================
input ``image``           float32 (batch, C, 8 * rows, 8 * columns) for patches of 8: any number of images, any multiple
                          of the patch size. In the bands' units if the graph standardises, otherwise standardised.
output ``grid``           float32 (batch, D, grid_rows, grid_columns): ``Encoder.forward``
output ``pooled_mean``    float32 (batch, D): ``Encoder.features(image, "mean")``
output ``pooled_stages``  float32 (batch, 2 (D1 + D2 + D3 + D4)): ``Encoder.features(image, "stages")``
========================= ============================================================================================

The metadata of the file hold the bands, their units and statistics, and what the graph expects: keys of ``metadata``.
Opset 18 is what torch's exporter writes without converting.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geopretext import __version__
from geopretext.errors import BundleError, GridError
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_statistics import scales_to_plain
from geopretext.nn.convnextv2 import as_convnextv2
from geopretext.nn.export import Exported, check_settings, compare, on_trial, trial_images
from geopretext.nn.export_files import new_file
from geopretext.nn.families import settings_to_plain
from geopretext.nn.optional import missing
from geopretext.nn.plain import PlainEncoder
from geopretext.nn.standardise import Standardise, scale_of

OPSET = 18
OUTPUTS = ("grid", "pooled_mean", "pooled_stages")
_LIMIT = 2**31
"""bytes that a file of protocol buffers, which ONNX is, may have"""


def export_onnx(
    encoder: Encoder,
    out: str | Path,
    *,
    normalise: bool = True,
    level: str | None = None,
    size: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write the graph described above, run it in onnxruntime, and keep it if it gives the encoder's features.

    Args:
        encoder: what is written; on the CPU.
        out: the file.
        normalise: the graph takes numbers in the bands' units, missing ones as the modality stores them or as NaN, and
            standardises them itself; false: it takes what ``Encoder.forward`` takes.
        level: processing level whose statistics the graph standardises with, see ``standardise.scale_of``.
        size: height and width in pixels, if the graph is to take these only; None leaves them open.
        overwrite: replace a file.

    Raises:
        MissingLibraryError: onnx, onnxruntime or onnxscript is not installed.
        InputError: ``out`` exists, or there are no statistics of the level.
        GridError: ``size`` is not a multiple of the patch size.
        BundleError: the encoder is too large for one file, or the graph gives other features.
    """
    onnx = _require()
    check_settings(as_convnextv2(encoder.network, "an ONNX file").settings, "onnx")
    patch = encoder.settings.patch_size
    if size is not None and (size < patch or size % patch):
        raise GridError(f"size {size} is not a multiple of the patch size", hint=f"a multiple of {patch} pixels")
    weights = sum(parameter.numel() * 4 for parameter in encoder.parameters())
    if weights >= _LIMIT:
        raise BundleError(
            f"an ONNX file holds less than 2 GiB, the weights of a {encoder.settings.title} are {weights / 2**30:.1f}",
            hint="export to timm or hub",
        )
    standardise, chosen = None, None
    if normalise:
        chosen, mean, std = scale_of(encoder, level)
        standardise = Standardise(encoder.modality, mean, std)
    with new_file(Path(out), overwrite=overwrite) as path, on_trial(encoder) as images:
        model = _trace(encoder, images, standardise, size)
        _label(model, patch, size)
        onnx.helper.set_model_props(model, metadata(encoder, chosen, standardise))
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())
        difference = max(
            _difference(encoder, path, some, standardise, out) for some in _trials(encoder, images, standardise, size)
        )
        written = path.stat().st_size
    facts = {
        "opset": OPSET,
        "image": f"(batch, {len(encoder.bands)}, {size or f'{patch} * rows'}, {size or f'{patch} * columns'})",
        "image_holds": encoder.unit if normalise else "standardised numbers",
        "level": chosen,
        "outputs": list(OUTPUTS),
    }
    use = (
        f'import onnxruntime\nsession = onnxruntime.InferenceSession("{out}")\n'
        'grid, pooled_mean, pooled_stages = session.run(None, {"image": image})'
    )
    return Exported(Path(out), written, facts, use, difference)


def metadata(encoder: Encoder, level: str | None, standardise: Standardise | None) -> dict[str, str]:
    """What the file says of itself: texts, lists and mappings as JSON."""
    bands = encoder.modality.bands
    described: dict[str, Any] = {
        "geopretext_version": __version__,
        "licence": encoder.licence,
        "modality": encoder.modality.name,
        "bands": [band.name for band in bands],
        "units": [band.unit for band in bands],
        "missing": list(encoder.modality.missing),
        "standardised_by": "caller" if standardise is None else "graph",
        "level": level,
        "mean": None if standardise is None else standardise.mean.flatten().tolist(),
        "std": None if standardise is None else standardise.std.flatten().tolist(),
        "statistics": scales_to_plain(encoder.statistics),
        "encoder": settings_to_plain(encoder.settings),
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in described.items()}


def _require() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401 -- here so that the user learns what is missing before the graph is traced
        import onnxscript  # noqa: F401 -- torch's exporter imports it
    except ImportError as error:
        raise missing(error, "onnx", extra="export", purpose="write ONNX files") from error
    return onnx


def _trace(encoder: Encoder, images: Tensor, standardise: nn.Module | None, size: int | None) -> Any:
    patch = encoder.settings.patch_size
    batch, rows, columns = (torch.export.Dim(name, min=1, max=2**16) for name in ("batch", "rows", "columns"))
    shape = {0: batch} if size else {0: batch, 2: patch * rows, 3: patch * columns}
    if size:
        images = trial_images(encoder, height=size // patch, width=size // patch)
    with _quiet():
        program = torch.onnx.export(
            PlainEncoder(as_convnextv2(encoder.network, "an ONNX file"), standardise).eval(),
            (images,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_shapes=(shape,),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _label(model: Any, patch: int, size: int | None) -> None:
    """Name the sizes of ``grid``, which come out numbered, and drop the exporter's notes, which quote local paths."""
    graph = model.graph
    for entry in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        entry.ClearField("metadata_props")
    model.producer_name, model.producer_version = "geopretext", __version__
    _, _, rows, columns = graph.output[0].type.tensor_type.shape.dim
    if not size:
        rows.dim_param, columns.dim_param = "grid_rows", "grid_columns"
    graph.input[0].doc_string = f"height and width are multiples of {patch} pixels"


def _trials(encoder: Encoder, images: Tensor, standardise: Standardise | None, size: int | None) -> Iterator[Tensor]:
    """Images as the graph takes them: like those that it was traced with, and another number of another size."""
    patches = size // encoder.settings.patch_size if size else 4
    one = trial_images(encoder, height=patches, width=patches)[:1]
    for some in (one,) if size else (images, one):
        if standardise is None:
            yield some
            continue
        raw = some * standardise.std + standardise.mean
        for column, number in enumerate((torch.nan, *encoder.modality.missing)):
            raw[:, :, 0, column] = number
        yield raw


def _difference(
    encoder: Encoder, path: Path, images: Tensor, standardise: Standardise | None, out: str | Path
) -> float:
    """The largest of any output, as onnxruntime gives it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(list(OUTPUTS), {"image": images.numpy()})
    seen = images if standardise is None else standardise(images)
    wanted = encoder(seen), encoder.features(seen, "mean"), encoder.features(seen, "stages")
    return max(compare(torch.from_numpy(g), w, out) for g, w in zip(outputs, wanted, strict=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about libraries that do not matter here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
