"""What MinkowskiEngine computes with a published checkpoint, from the definition of its sparse layers.

Sites have coordinates in pixels and a tensor stride; a layer looks its neighbours up by coordinate. Weights are used in
the layout of the file: a kernel is (offsets, Cin, Cout) or (offsets, C), and its offsets count the first spatial axis
(rows) fastest; they are centred for odd sizes and start at 0 for even ones. In double precision; it shares nothing with
the package.
"""

import numpy as np
import torch

Coordinates = list[tuple[int, int, int]]  # tile, row, column


class Sparse:
    """Features at sites."""

    def __init__(self, coordinates: Coordinates, features: np.ndarray, stride: int = 1) -> None:
        self.coordinates, self.features, self.stride = coordinates, features, stride

    def put(self, features: np.ndarray) -> "Sparse":
        return Sparse(self.coordinates, features, self.stride)


def to_sparse(images: np.ndarray) -> Sparse:
    """(B, C, H, W): pixels whose absolute values do not sum to 0."""
    active = np.argwhere(np.abs(images).sum(1) != 0)
    return Sparse([tuple(c) for c in active.tolist()], images.transpose(0, 2, 3, 1)[tuple(active.T)])


def hide(images: np.ndarray, visible: np.ndarray, patch: int) -> np.ndarray:
    """Pixels of hidden patches set to 0; visible is (B, rows, columns)."""
    return images * visible.repeat(patch, 1).repeat(patch, 2)[:, None]


def encode(w: dict[str, np.ndarray], images: np.ndarray, visible: np.ndarray, patch: int, depths) -> np.ndarray:
    """Features (B, D, rows, columns), zero where hidden. Response norms run over all sites of the batch."""
    if "encoder.downsample_layers.0.0.weight" in w:
        x, shift = dense_stem(w, images, visible), 1
    else:
        x, shift = to_sparse(hide(images, visible, patch)), 0
    if "encoder.initial_conv.0.kernel" in w:
        x = convolve(x, w, "encoder.initial_conv.0")
        x = x.put(gelu(layer_norm(x.features, w, "encoder.initial_conv.1.ln")))
        x = convolve(x, w, "encoder.stem.0", stride=patch // 8)
        x = x.put(layer_norm(x.features, w, "encoder.stem.1.ln"))
    elif not shift:
        x = convolve(x, w, "encoder.stem_orig.0", stride=patch // 8, ordinary=True)
        x = x.put(layer_norm(x.features, w, "encoder.stem_orig.1.ln"))
    for stage, depth in enumerate(depths):
        if stage:
            name = f"encoder.downsample_layers.{stage - 1 + shift}"
            x = x.put(layer_norm(x.features, w, f"{name}.0.ln"))
            x = convolve(x, w, f"{name}.1", stride=2)
        for number in range(depth):
            x = block(x, w, f"encoder.stages.{stage}.{number}")
    output = np.zeros((len(images), x.features.shape[1], *visible.shape[1:]))
    for (tile, row, column), features in zip(x.coordinates, x.features, strict=True):
        output[tile, :, row // patch, column // patch] = features
    return output


def dense_stem(w: dict[str, np.ndarray], images: np.ndarray, visible: np.ndarray) -> Sparse:
    """The stem of ConvNeXt V2 sees the whole image; hidden cells are dropped after it."""
    kernel, bias = w["encoder.downsample_layers.0.0.weight"], w["encoder.downsample_layers.0.0.bias"]
    batch, bands, height, width = images.shape
    side = kernel.shape[-1]
    cells = images.reshape(batch, bands, height // side, side, width // side, side)
    x = np.einsum("bcyixj,dcij->byxd", cells, kernel) + bias
    x = layer_norm(x, w, "encoder.downsample_layers.0.1")
    shown = np.argwhere(visible.repeat(8, 1).repeat(8, 2))
    return Sparse([(b, y * side, x * side) for b, y, x in shown.tolist()], x[tuple(shown.T)], side)


def block(x: Sparse, w: dict[str, np.ndarray], name: str) -> Sparse:
    y = convolve(x, w, f"{name}.dwconv").features
    y = layer_norm(y, w, f"{name}.norm.ln")
    y = gelu(y @ w[f"{name}.pwconv1.linear.weight"].T + w[f"{name}.pwconv1.linear.bias"])
    strength = np.sqrt((y**2).sum(0))
    share = strength / (strength.mean() + 1e-6)
    y = w[f"{name}.grn.gamma"] * (y * share) + w[f"{name}.grn.beta"] + y
    return x.put(x.features + y @ w[f"{name}.pwconv2.linear.weight"].T + w[f"{name}.pwconv2.linear.bias"])


def convolve(x: Sparse, w: dict[str, np.ndarray], name: str, *, stride: int = 1, ordinary: bool = False) -> Sparse:
    """A sparse convolution; depthwise if its kernel has two axes, unless it is an ordinary one of a single offset."""
    kernel = w[f"{name}.kernel"]
    if ordinary and kernel.ndim == 2:
        kernel = kernel[None]
    side = round(len(kernel) ** 0.5)
    reach = x.stride * stride
    sites = list(dict.fromkeys((b, r // reach * reach, c // reach * reach) for b, r, c in x.coordinates))
    index = {site: number for number, site in enumerate(x.coordinates)}
    start = side // 2 if side % 2 else 0
    output = np.tile(w[f"{name}.bias"], (len(sites), 1))
    for number, weights in enumerate(kernel):
        row, column = number % side - start, number // side - start
        near = [index.get((b, r + row * x.stride, c + column * x.stride), -1) for b, r, c in sites]
        there = np.flatnonzero(np.array(near) >= 0)
        features = x.features[np.array(near)[there]]
        output[there] += features @ weights if weights.ndim == 2 else features * weights
    return Sparse(sites, output, reach)


def decode(w: dict[str, np.ndarray], cells: np.ndarray, visible: np.ndarray, name: str, epsilon: float) -> np.ndarray:
    """Cells (B, D, rows, columns) of the encoder through projection, mask token and one dense decoder block."""
    x = np.einsum("bdyx,ed->byxe", cells, w["proj.weight"][:, :, 0, 0]) + w["proj.bias"]
    x = np.where(visible[..., None], x, w["mask_token"].reshape(-1))
    kernel = w[f"{name}.dwconv.weight"][:, 0]
    rows, columns = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)))
    y = w[f"{name}.dwconv.bias"] + sum(
        padded[:, i : i + rows, j : j + columns] * kernel[:, i, j] for i in range(7) for j in range(7)
    )
    y = layer_norm(y, w, f"{name}.norm")
    y = gelu(y @ w[f"{name}.pwconv1.weight"].T + w[f"{name}.pwconv1.bias"])
    strength = np.sqrt((y**2).sum((1, 2), keepdims=True))
    share = strength / (strength.mean(-1, keepdims=True) + epsilon)
    y = w[f"{name}.grn.gamma"].ravel() * (y * share) + w[f"{name}.grn.beta"].ravel() + y
    return x + y @ w[f"{name}.pwconv2.weight"].T + w[f"{name}.pwconv2.bias"]


def predict(w: dict[str, np.ndarray], decoded: np.ndarray, head: str) -> np.ndarray:
    """Decoded cells (B, rows, columns, D) through a head: (B, P, N) of maps, (B, N) of vectors."""
    kernel, bias = w[f"{head}.weight"], w[f"{head}.bias"]
    if kernel.ndim == 4:
        return decoded.reshape(len(decoded), -1, decoded.shape[-1]) @ kernel[:, :, 0, 0].T + bias
    return layer_norm(decoded, w, "layer_norm_tmp").mean((1, 2)) @ kernel.T + bias


def layer_norm(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + torch.erf(torch.from_numpy(x) / 2**0.5).numpy())
