"""An encoder on sets of active sites, written site by site from the published definition of sparse convolution.

Slow, in double precision, and independent of the package: it shares nothing with it but the names of the weights.
"""

import math

import numpy as np

Site = tuple[int, int, int]  # tile, y, x
Sites = dict[Site, np.ndarray]


def encode(weights: dict[str, np.ndarray], images: np.ndarray, visible: np.ndarray, patch: int, depths, scope) -> Sites:
    """The encoder's output: features by (tile, row of patches, column of patches)."""
    _, _, height, width = images.shape
    columns = width // patch
    sites: Sites = {
        (tile, y, x): images[tile, :, y, x]
        for tile in range(len(images))
        for y in range(height)
        for x in range(width)
        if visible[tile, (y // patch) * columns + x // patch]
    }
    w = {key: value.astype(np.float64) for key, value in weights.items()}
    if "initial_conv.0.weight" in w:
        sites = neighbours(sites, w["initial_conv.0.weight"], w["initial_conv.0.bias"])
        sites = {s: gelu(v) for s, v in layer_norm(sites, w, "initial_conv.1").items()}
        sites = strided_depthwise(sites, w["stem.0.weight"], w["stem.0.bias"])
        sites = layer_norm(sites, w, "stem.1")
    else:
        sites = strided(sites, w["stem_orig.0.weight"], w["stem_orig.0.bias"])
        sites = layer_norm(sites, w, "stem_orig.1")
    return encode_stages(sites, w, depths, scope)


def encode_stages(sites: Sites, w: dict[str, np.ndarray], depths, scope: str) -> Sites:
    """From the cells of the first stage to the output."""
    for stage, depth in enumerate(depths):
        if stage:
            sites = layer_norm(sites, w, f"downsample_layers.{stage - 1}.0")
            name = f"downsample_layers.{stage - 1}.1"
            sites = strided(sites, w[f"{name}.weight"], w[f"{name}.bias"])
        for number in range(depth):
            sites = block(sites, w, f"stages.{stage}.{number}", scope)
    return sites


def block(sites: Sites, w, name: str, scope: str) -> Sites:
    y = depthwise_neighbours(sites, w[f"{name}.dwconv.weight"], w[f"{name}.dwconv.bias"])
    y = layer_norm(y, w, f"{name}.norm")
    y = {s: gelu(w[f"{name}.pwconv1.weight"] @ v + w[f"{name}.pwconv1.bias"]) for s, v in y.items()}
    y = response_norm(y, w[f"{name}.grn.gamma"].ravel(), w[f"{name}.grn.beta"].ravel(), scope)
    return {s: sites[s] + w[f"{name}.pwconv2.weight"] @ v + w[f"{name}.pwconv2.bias"] for s, v in y.items()}


def neighbours(sites: Sites, kernel: np.ndarray, bias: np.ndarray) -> Sites:
    half = kernel.shape[-1] // 2
    output = {}
    for tile, y, x in sites:
        total = bias.copy()
        for row in range(kernel.shape[2]):
            for column in range(kernel.shape[3]):
                near = sites.get((tile, y + row - half, x + column - half))
                if near is not None:
                    total += kernel[:, :, row, column] @ near
        output[tile, y, x] = total
    return output


def depthwise_neighbours(sites: Sites, kernel: np.ndarray, bias: np.ndarray) -> Sites:
    half = kernel.shape[-1] // 2
    output = {}
    for tile, y, x in sites:
        total = bias.copy()
        for row in range(kernel.shape[2]):
            for column in range(kernel.shape[3]):
                near = sites.get((tile, y + row - half, x + column - half))
                if near is not None:
                    total += kernel[:, 0, row, column] * near
        output[tile, y, x] = total
    return output


def strided(sites: Sites, kernel: np.ndarray, bias: np.ndarray) -> Sites:
    size = kernel.shape[-1]
    output: Sites = {}
    for (tile, y, x), value in sites.items():
        place = tile, y // size, x // size
        output[place] = output.get(place, bias) + kernel[:, :, y % size, x % size] @ value
    return output


def strided_depthwise(sites: Sites, kernel: np.ndarray, bias: np.ndarray) -> Sites:
    size = kernel.shape[-1]
    output: Sites = {}
    for (tile, y, x), value in sites.items():
        place = tile, y // size, x // size
        output[place] = output.get(place, bias) + kernel[:, 0, y % size, x % size] * value
    return output


def layer_norm(sites: Sites, w, name: str) -> Sites:
    return {
        s: (v - v.mean()) / math.sqrt(v.var() + 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]
        for s, v in sites.items()
    }


def gelu(v: np.ndarray) -> np.ndarray:
    return 0.5 * v * (1 + np.array([math.erf(value / math.sqrt(2)) for value in v]))


def response_norm(sites: Sites, gamma: np.ndarray, beta: np.ndarray, scope: str) -> Sites:
    squares: dict[int, np.ndarray] = {}
    for (tile, _, _), value in sites.items():
        key = tile if scope == "sample" else 0
        squares[key] = squares.get(key, 0) + value**2
    output = {}
    for site, value in sites.items():
        strength = np.sqrt(squares[site[0] if scope == "sample" else 0])
        output[site] = gamma * (value * strength / (strength.mean() + 1e-6)) + beta + value
    return output
