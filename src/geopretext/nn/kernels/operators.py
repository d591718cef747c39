"""The kernels as operators of torch, which autograd and ``torch.compile`` know: ``torch.ops.geopretext``.

For each operator there are: what it computes, its shape (what ``torch.compile`` calls on tensors without numbers), and,
for those that have a gradient, what autograd keeps and does with it. What they mean is in ``nn.kernels``.
"""

from typing import Any

import torch
from torch import Tensor

from geopretext.errors import ClassError, GridError, InputError
from geopretext.nn.kernels.compiler import call, has_mlp

LANES = 16
"""floats of a vector in the C files"""
GROUPS = 64
"""largest number of parts that sums over tiles are made in"""
_MLP_GROUPS = 16
"""likewise of whole weights, so that they stay in the cache"""


def _is_half(x: Tensor) -> bool:
    return x.dtype == torch.bfloat16


def _numbers(*parameters: Tensor) -> list[Tensor]:
    """Parameters as kernels read them."""
    return [parameter.detach().float().contiguous() for parameter in parameters]


def _where(place: Tensor, length: int, height: int, width: int) -> tuple[Any, ...]:
    rows = place.shape[1]
    return place.contiguous(), rows if len(place) > 1 else 0, rows, length, height, width


def _blocks(features: int) -> int:
    return -(-features // LANES)


def _sum_groups(sums: Tensor, like: Tensor) -> Tensor:
    """(groups, ..., blocks * LANES) -> the gradient of a vector of parameters, or (..., D) with like of D features."""
    return sums.sum(0)[..., : like.shape[0]].to(like.dtype)


def _as_parameter(gradient: Tensor, parameter: Tensor) -> Tensor:
    """In the shape and the strides of a parameter: several processes exchange gradients as they lie in memory."""
    return gradient.reshape(parameter.shape).clone(memory_format=torch.contiguous_format)


def _conv_norm(
    x: Tensor,
    place: Tensor,
    length: int,
    height: int,
    width: int,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor,
    beta: Tensor,
    epsilon: float,
    dtype: torch.dtype,
) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x, dtype=dtype)
    address, step, *shape = _where(place, length, height, width)
    numbers = _numbers(weight, bias, gamma, beta)
    sizes = step, len(x), *shape, x.shape[-1]
    call("conv_norm_forward", out, x, address, *sizes, *numbers, epsilon, _is_half(x), _is_half(out))
    return out


def _conv_norm_backward(
    by_out: Tensor,
    x: Tensor,
    place: Tensor,
    length: int,
    height: int,
    width: int,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor,
    epsilon: float,
) -> tuple[Tensor, ...]:
    x, by_out = x.contiguous(), by_out.contiguous()
    groups, blocks = min(len(x), GROUPS), _blocks(x.shape[-1])
    by_x, taps = torch.empty_like(x), torch.zeros(groups, blocks, 49, LANES)
    vectors = [torch.zeros(groups, blocks * LANES) for _ in range(3)]
    address, step, *shape = _where(place, length, height, width)
    sizes = step, len(x), groups, *shape, x.shape[-1]
    numbers, halves = _numbers(weight, bias, gamma), (_is_half(x), _is_half(by_out))
    call("conv_norm_backward", by_x, taps, *vectors, by_out, x, address, *sizes, *numbers, epsilon, *halves)
    by_weight = _as_parameter(_sum_groups(taps.permute(0, 2, 1, 3).flatten(2), weight).T, weight)
    return by_x, by_weight, *(_sum_groups(sums, bias) for sums in vectors)


def _gelu_response(
    h: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, epsilon: float, over_batch: bool
) -> tuple[Tensor, Tensor]:
    h = h.contiguous()
    if h.shape[-1] % LANES:
        raise InputError(f"{h.shape[-1]} features are no multiple of {LANES}", hint="use plain torch for such a width")
    z, strength = torch.empty_like(h), torch.empty(1 if over_batch else len(h), h.shape[-1])
    sizes = len(h), h[0, ..., 0].numel(), h.shape[-1]
    call("response_forward", z, strength, h, *_numbers(bias, gamma, beta), *sizes, epsilon, over_batch, _is_half(h))
    return z, strength


def _local_gelu_response(
    h: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, block: int, span: int, epsilon: float
) -> None:
    tiles, height, width, features = h.shape
    divide = not (features % LANES or height % block or width % block) and block > 0 and span > 0
    if not (divide and h.is_contiguous()):
        raise InputError(
            f"{height} x {width} cells of {features} features, in blocks of {block}",
            hint=f"contiguous, and multiples of a block and of {LANES} features; use plain torch for others",
        )
    sizes = tiles, height, width, features, block, span
    call("local_response_forward", h, *_numbers(bias, gamma, beta), *sizes, epsilon, _is_half(h))


def _gelu_response_backward(
    by_z: Tensor,
    h: Tensor,
    z: Tensor,
    strength: Tensor,
    bias: Tensor,
    gamma: Tensor,
    beta: Tensor,
    epsilon: float,
    over_batch: bool,
) -> tuple[Tensor, ...]:
    h, z, by_z = h.contiguous(), z.contiguous(), by_z.contiguous()
    groups = min(len(h), GROUPS)
    by_h, sums = torch.empty_like(h), [torch.zeros(groups, h.shape[-1]) for _ in range(3)]
    sizes = len(h), groups, h[0, ..., 0].numel(), h.shape[-1]
    numbers, flags = _numbers(bias, gamma, beta), (epsilon, over_batch, _is_half(h))
    call("response_backward", by_h, *sums, by_z, h, z, strength, *numbers, *sizes, *flags)
    return by_h, *(_sum_groups(each, bias) for each in sums)


def _mlp(
    y: Tensor,
    residual: Tensor | None,
    w1: Tensor,
    b1: Tensor,
    gamma: Tensor,
    beta: Tensor,
    w2: Tensor,
    b2: Tensor,
    epsilon: float,
) -> tuple[Tensor, Tensor]:
    width = y.shape[-1]
    like = residual is None or (residual.shape, residual.dtype) == (y.shape, y.dtype)
    if not (like and w1.shape == (4 * width, width) == w2.shape[::-1] and has_mlp(width)):
        raise InputError(
            f"layers {tuple(w1.shape)} and {tuple(w2.shape)} have no kernel for features {tuple(y.shape)}",
            hint="use plain torch where mlp_fits says no",
        )
    y, residual = y.contiguous(), None if residual is None else residual.contiguous()
    out, strength = torch.empty_like(y), torch.empty(len(y), w1.shape[0])
    sizes = len(y), y[0, ..., 0].numel(), width
    numbers, flags = _numbers(w1, b1, gamma, beta, w2, b2), (epsilon, _is_half(y))
    call("mlp_forward", out, strength, y, residual, *numbers, *sizes, *flags)
    return out, strength


def _mlp_backward(
    by_out: Tensor,
    y: Tensor,
    strength: Tensor,
    w1: Tensor,
    b1: Tensor,
    gamma: Tensor,
    beta: Tensor,
    w2: Tensor,
    epsilon: float,
) -> tuple[Tensor, ...]:
    y, by_out = y.contiguous(), by_out.to(y.dtype).contiguous()
    wide, width = w1.shape
    groups = min(len(y), _MLP_GROUPS)
    by_y, vectors = torch.empty_like(y), [torch.zeros(groups, wide) for _ in range(3)]
    by_w1, by_w2 = (torch.zeros(groups, width, wide) for _ in range(2))
    by_b2 = torch.zeros(groups, width)
    sizes = len(y), groups, y[0, ..., 0].numel(), width
    sums, numbers, flags = (by_w1, *vectors, by_w2, by_b2), _numbers(w1, b1, gamma, beta, w2), (epsilon, _is_half(y))
    call("mlp_backward", by_y, *sums, by_out, y, strength, *numbers, *sizes, *flags)
    like = w1.T, b1, gamma, beta, w2, w2[:, 0]
    by_first, *others = (each.sum(0).to(one.dtype) for each, one in zip(sums, like, strict=True))
    return by_y, _as_parameter(by_first.T, w1), *others


def _stem(image: Tensor, place: Tensor, length: int, height: int, width: int, *rest: Any) -> Tensor:
    *parameters, epsilon, dtype = rest
    image = image.contiguous()
    address, step, *shape = _where(place, length, height, width)
    features, bands, stride = parameters[0].shape[0], image.shape[1], parameters[4].shape[-1]
    out = torch.empty(len(image), place.shape[1] * length // stride**2, features, dtype=dtype)
    sizes = step, len(image), *shape, features, bands, stride
    call("stem_forward", out, image, address, *sizes, *_numbers(*parameters), epsilon, _is_half(out))
    return out


def _stem_backward(
    by_out: Tensor, image: Tensor, place: Tensor, length: int, height: int, width: int, *rest: Any
) -> tuple[Tensor, ...]:
    *parameters, epsilon = rest
    near, deep = parameters[0], parameters[4]
    image, by_out = image.contiguous(), by_out.contiguous()
    features, bands, stride = near.shape[0], image.shape[1], deep.shape[-1]
    groups, wide = min(len(image), GROUPS), _blocks(features) * LANES
    sums = [torch.zeros(groups, wide) for _ in range(8)]
    sums[0], sums[4] = torch.zeros(groups, 9, bands, wide), torch.zeros(groups, stride**2, wide)
    address, step, *shape = _where(place, length, height, width)
    sizes = step, len(image), groups, *shape, features, bands, stride
    numbers = _numbers(*parameters)
    call("stem_backward", *sums, by_out, image, address, *sizes, *numbers, epsilon, _is_half(by_out))
    gradients = [_sum_groups(each, near) for each in sums]
    gradients[0] = _as_parameter(gradients[0].permute(2, 1, 0), near)
    gradients[4] = _as_parameter(gradients[4].T, deep)
    return tuple(gradients)


def _norm_fold(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
    x = x.contiguous()
    *outer, height, width, features = x.shape
    if height % 2 or width % 2:
        raise GridError(f"{height} x {width} sites cannot be halved", hint="an even number on each side")
    out = torch.empty(*outer, height // 2, width // 2, 4 * features, dtype=dtype)
    rows = x.shape.numel() // (width * features)
    call("fold_forward", out, x, rows, width, features, *_numbers(gamma, beta), epsilon, _is_half(x), _is_half(out))
    return out


def _norm_fold_backward(by_out: Tensor, x: Tensor, gamma: Tensor, epsilon: float) -> tuple[Tensor, ...]:
    x, by_out = x.contiguous(), by_out.contiguous()
    width, features = x.shape[-2:]
    rows = x.shape.numel() // (width * features)
    groups = min(rows, GROUPS)
    by_x, sums = torch.empty_like(x), [torch.zeros(groups, _blocks(features) * LANES) for _ in range(2)]
    sizes, halves = (rows, width, features, groups), (_is_half(x), _is_half(by_out))
    call("fold_backward", by_x, *sums, by_out, x, *sizes, *_numbers(gamma), epsilon, *halves)
    return by_x, *(_sum_groups(each, gamma) for each in sums)


def _loss(name: str, prediction: Tensor, values: Tensor, valid: Tensor, chosen: Tensor, *flags: Any) -> Any:
    """Call a loss kernel: with the gradient of the total as last flag the gradient, else total and count."""
    *rest, side, by_total = flags
    channels = prediction.shape[-1] // side**2
    _check_targets(prediction, values, valid, chosen, side, channels if name == "squared_error" else None)
    dtype = torch.float32 if name == "squared_error" else torch.int64
    targets = prediction.contiguous(), values.to(dtype).contiguous(), valid.bool().contiguous(), chosen.contiguous()
    gradient = None if by_total is None else torch.empty_like(targets[0])
    sums, counts = torch.empty(len(prediction)), torch.empty(len(prediction))
    factor = 0.0 if by_total is None else float(by_total)
    sizes = *chosen.shape, side, channels, *values.shape[-2:]
    if call(name, sums, counts, gradient, factor, *targets, *sizes, *rest, _is_half(prediction)):
        raise ClassError(f"a target has a class that is not from 0 to {channels - 1}", hint="mark it as not valid")
    return (sums.sum(), counts.sum()) if gradient is None else gradient


def _check_targets(
    prediction: Tensor, values: Tensor, valid: Tensor, chosen: Tensor, side: int, channels: int | None
) -> None:
    """Kernels read memory where they are told to: refuse what does not fit together."""
    height, width = values.shape[-2:]
    wanted = (len(prediction), *(() if channels is None else (channels,)), height, width)
    patches = (height // side) * (width // side)
    fit = tuple(values.shape) == wanted == tuple(valid.shape) and chosen.shape == prediction.shape[:2]
    if not fit or height % side or width % side or not ((chosen >= 0) & (chosen < patches)).all():
        raise GridError(
            f"targets {tuple(values.shape)}, valid {tuple(valid.shape)} and patches {tuple(chosen.shape)} do not fit"
            f" predictions {tuple(prediction.shape)} of patches of {side} x {side} pixels",
            hint="one map a tile, one prediction a chosen patch",
        )


def _squared_error(
    prediction: Tensor, values: Tensor, valid: Tensor, chosen: Tensor, side: int, standardise: bool
) -> tuple[Tensor, Tensor]:
    losses: tuple[Tensor, Tensor] = _loss("squared_error", prediction, values, valid, chosen, standardise, side, None)
    return losses


def _squared_error_backward(
    by_total: Tensor, prediction: Tensor, values: Tensor, valid: Tensor, chosen: Tensor, side: int, standardise: bool
) -> Tensor:
    gradient: Tensor = _loss("squared_error", prediction, values, valid, chosen, standardise, side, by_total)
    return gradient


def _cross_entropy(
    prediction: Tensor, values: Tensor, valid: Tensor, chosen: Tensor, side: int
) -> tuple[Tensor, Tensor]:
    losses: tuple[Tensor, Tensor] = _loss("cross_entropy", prediction, values, valid, chosen, side, None)
    return losses


def _cross_entropy_backward(
    by_total: Tensor, prediction: Tensor, values: Tensor, valid: Tensor, chosen: Tensor, side: int
) -> Tensor:
    gradient: Tensor = _loss("cross_entropy", prediction, values, valid, chosen, side, by_total)
    return gradient


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See ``nn.products``; no kernel of ours, but an operator, so that torch.compile leaves it as it is."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise.default(_in_order(x), _in_order(weight), bias, "none", [], "")
    return y


def _in_order(matrix: Tensor) -> Tensor:
    """By rows or by columns, as oneDNN is fast with.

    The gradient of a sum is one number that is read again and again: it would take 200 times as long.
    """
    down, along = matrix.stride()
    by_rows, by_columns = along == 1 and down >= matrix.shape[1], down == 1 and along >= matrix.shape[0]
    return matrix if by_rows or by_columns else matrix.contiguous()


# What the operators give, for torch.compile, which calls these on tensors without numbers.


def _like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)


def _conv_norm_shape(x: Tensor, *rest: Any) -> Tensor:
    return _like(x, rest[-1])


def _conv_norm_backward_shape(by_out: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, ...]:  # noqa: ARG001 -- torch passes it
    weight, bias, gamma = rest[4:7]
    return _like(x), _like(weight), _like(bias), _like(gamma), _like(gamma)


def _gelu_response_shape(h: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return _like(h), h.new_empty(1 if rest[-1] else h.shape[0], h.shape[-1], dtype=torch.float32)


def _gelu_response_backward_shape(by_z: Tensor, h: Tensor, *rest: Any) -> Any:  # noqa: ARG001
    return _like(h), *(_like(rest[2]) for _ in range(3))


def _local_gelu_response_shape(h: Tensor, *rest: Any) -> None:  # it writes where it reads
    pass


def _mlp_shape(y: Tensor, residual: Tensor | None, w1: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return _like(y), y.new_empty(y.shape[0], w1.shape[0], dtype=torch.float32)


def _mlp_backward_shape(by_out: Tensor, y: Tensor, strength: Tensor, *rest: Any) -> tuple[Tensor, ...]:  # noqa: ARG001
    w1, b1, gamma, beta, w2 = rest[:5]
    return *(_like(each) for each in (y, w1, b1, gamma, beta, w2)), w2.new_empty(w2.shape[0])


def _stem_shape(image: Tensor, place: Tensor, length: int, *rest: Any) -> Tensor:
    near, deep = rest[2], rest[6]
    cells = place.shape[1] * length // deep.shape[-1] ** 2
    return image.new_empty(image.shape[0], cells, near.shape[0], dtype=rest[-1])


def _stem_backward_shape(by_out: Tensor, image: Tensor, *rest: Any) -> tuple[Tensor, ...]:  # noqa: ARG001
    return tuple(_like(parameter) for parameter in rest[4:12])


def _norm_fold_shape(x: Tensor, *rest: Any) -> Tensor:
    *outer, height, width, features = x.shape
    return x.new_empty(*outer, height // 2, width // 2, 4 * features, dtype=rest[-1])


def _norm_fold_backward_shape(by_out: Tensor, x: Tensor, gamma: Tensor, epsilon: float) -> tuple[Tensor, ...]:  # noqa: ARG001
    return _like(x), _like(gamma), _like(gamma)


def _squared_error_shape(prediction: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return prediction.new_empty((), dtype=torch.float32), prediction.new_empty((), dtype=torch.float32)


def _squared_error_backward_shape(by_total: Tensor, prediction: Tensor, *rest: Any) -> Tensor:  # noqa: ARG001
    return _like(prediction)


def _multiply_shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG001
    return x.new_empty(len(x), len(weight))


_cross_entropy_shape, _cross_entropy_backward_shape = _squared_error_shape, _squared_error_backward_shape


# What autograd keeps, and does with it.


def _keep_conv_norm(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    x, place, *ctx.shape, weight, bias, gamma, _, ctx.epsilon, _ = inputs
    ctx.save_for_backward(x, place, weight, bias, gamma)


def _conv_norm_gradient(ctx: Any, by_out: Tensor) -> tuple[Tensor | None, ...]:
    x, place, *parameters = ctx.saved_tensors
    backward = torch.ops.geopretext.conv_norm_backward
    by_x, *others = backward(by_out, x, place, *ctx.shape, *parameters, ctx.epsilon)
    return by_x, None, None, None, None, *others, None, None


def _keep_gelu_response(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    h, bias, gamma, beta, ctx.epsilon, ctx.over_batch = inputs
    ctx.save_for_backward(h, *output, bias, gamma, beta)
    ctx.mark_non_differentiable(output[1])


def _gelu_response_gradient(ctx: Any, by_z: Tensor, by_strength: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ARG001
    backward = torch.ops.geopretext.gelu_response_backward
    return *backward(by_z, *ctx.saved_tensors, ctx.epsilon, ctx.over_batch), None, None


def _keep_mlp(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    y, _, w1, b1, gamma, beta, w2, _, ctx.epsilon = inputs
    ctx.save_for_backward(y, output[1], w1, b1, gamma, beta, w2)
    ctx.mark_non_differentiable(output[1])


def _mlp_gradient(ctx: Any, by_out: Tensor, by_strength: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ARG001
    by_y, *others = torch.ops.geopretext.mlp_backward(by_out, *ctx.saved_tensors, ctx.epsilon)
    return by_y, by_out if ctx.needs_input_grad[1] else None, *others, None


def _keep_stem(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    image, place, *ctx.shape = inputs[:5]
    ctx.save_for_backward(image, place, *inputs[5:13])
    ctx.epsilon = inputs[13]


def _stem_gradient(ctx: Any, by_out: Tensor) -> tuple[Tensor | None, ...]:
    image, place, *parameters = ctx.saved_tensors
    gradients = torch.ops.geopretext.stem_backward(by_out, image, place, *ctx.shape, *parameters, ctx.epsilon)
    return None, None, None, None, None, *gradients, None, None


def _keep_norm_fold(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    x, gamma, _, ctx.epsilon, _ = inputs
    ctx.save_for_backward(x, gamma)


def _norm_fold_gradient(ctx: Any, by_out: Tensor) -> tuple[Tensor | None, ...]:
    return *torch.ops.geopretext.norm_fold_backward(by_out, *ctx.saved_tensors, ctx.epsilon), None, None


def _keep_squared_error(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.flags = inputs[4:]
    ctx.mark_non_differentiable(output[1])


def _squared_error_gradient(ctx: Any, by_total: Tensor, by_count: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ARG001
    gradient = torch.ops.geopretext.squared_error_backward(by_total, *ctx.saved_tensors, *ctx.flags)
    return gradient, None, None, None, None, None


def _cross_entropy_gradient(ctx: Any, by_total: Tensor, by_count: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ARG001
    gradient = torch.ops.geopretext.cross_entropy_backward(by_total, *ctx.saved_tensors, *ctx.flags)
    return gradient, None, None, None, None


_keep_cross_entropy = _keep_squared_error

_PLACE = "Tensor place, int length, int height, int width"
_STEM = f"Tensor image, {_PLACE}, " + ", ".join(f"Tensor p{i}" for i in range(8)) + ", float epsilon"
_MLP = "Tensor w1, Tensor b1, Tensor gamma, Tensor beta, Tensor w2"
_LOSS = "Tensor prediction, Tensor values, Tensor valid, Tensor chosen, int side"
_SCHEMAS = {
    "conv_norm": f"(Tensor x, {_PLACE}, Tensor weight, Tensor bias, Tensor gamma, Tensor beta, float epsilon,"
    " ScalarType dtype) -> Tensor",
    "conv_norm_backward": f"(Tensor by_out, Tensor x, {_PLACE}, Tensor weight, Tensor bias, Tensor gamma,"
    " float epsilon) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "gelu_response": "(Tensor h, Tensor bias, Tensor gamma, Tensor beta, float epsilon, bool over_batch)"
    " -> (Tensor, Tensor)",
    "gelu_response_backward": "(Tensor by_z, Tensor h, Tensor z, Tensor strength, Tensor bias, Tensor gamma,"
    " Tensor beta, float epsilon, bool over_batch) -> (Tensor, Tensor, Tensor, Tensor)",
    "local_gelu_response": "(Tensor(a!) h, Tensor bias, Tensor gamma, Tensor beta, int block, int span,"
    " float epsilon) -> ()",
    "mlp": f"(Tensor y, Tensor? residual, {_MLP}, Tensor b2, float epsilon) -> (Tensor, Tensor)",
    "mlp_backward": f"(Tensor by_out, Tensor y, Tensor strength, {_MLP}, float epsilon)"
    f" -> ({', '.join(['Tensor'] * 7)})",
    "stem": f"({_STEM}, ScalarType dtype) -> Tensor",
    "stem_backward": f"(Tensor by_out, {_STEM}) -> ({', '.join(['Tensor'] * 8)})",
    "norm_fold": "(Tensor x, Tensor gamma, Tensor beta, float epsilon, ScalarType dtype) -> Tensor",
    "norm_fold_backward": "(Tensor by_out, Tensor x, Tensor gamma, float epsilon) -> (Tensor, Tensor, Tensor)",
    "squared_error": f"({_LOSS}, bool standardise) -> (Tensor, Tensor)",
    "squared_error_backward": f"(Tensor by_total, {_LOSS}, bool standardise) -> Tensor",
    "cross_entropy": f"({_LOSS}) -> (Tensor, Tensor)",
    "cross_entropy_backward": f"(Tensor by_total, {_LOSS}) -> Tensor",
    "multiply": "(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
}
_WITHOUT_GRADIENT = ("local_gelu_response", "multiply")
_operators = torch.library.Library("geopretext", "DEF")  # type: ignore[no-untyped-call]
for _name, _schema in _SCHEMAS.items():
    _operators.define(_name + _schema)  # type: ignore[no-untyped-call]
    _operators.impl(_name, globals()[f"_{_name}"], "CPU")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"geopretext::{_name}", globals()[f"_{_name}_shape"])
    if not _name.endswith("_backward") and _name not in _WITHOUT_GRADIENT:
        _gradient, _keep = globals()[f"_{_name}_gradient"], globals()[f"_keep_{_name}"]
        torch.library.register_autograd(f"geopretext::{_name}", _gradient, setup_context=_keep)
