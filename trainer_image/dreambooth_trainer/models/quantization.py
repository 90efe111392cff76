"""Frozen linear layers whose weights take 8 or 4 bits: `training.quantization`.

A layer converts its weights for the arithmetic in each pass, and again in the backward pass: autograd keeps no converted ones.
The operations are PyTorch's own, with fixed shapes and no look at a value, so a CUDA graph can record them and a plan can count
their bytes. Adapters, which are added later, see a linear layer like any other.
"""

import re
from collections.abc import Iterator
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from dreambooth_trainer.models.base import exact_weights

LARGEST = 127
"""Largest code of 8 bits; -128 is not used."""

BLOCK = 64
"""Weights with a common scale in NF4."""

LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""The values of NF4: quantiles of a normal distribution (Dettmers et al., arXiv:2305.14314, appendix E)."""

PAIRS_IN = {2: torch.int32, 4: torch.int64}
"""Integers that hold two numbers of a format, by its bytes."""


class QuantizedLinear(nn.Linear):
    """A frozen linear layer with quantized weights.

    Codes and scales are buffers: the optimizer, DeepSpeed and conversions of number formats leave buffers of integers alone.
    """

    number_format: ClassVar[str]
    """The value of `training.quantization`."""
    scale: Tensor
    """Scales of rows or blocks, in the number format of the arithmetic. Codes are made for the rounded scales."""

    def __init__(self, layer: nn.Linear, arithmetic: torch.dtype, device: torch.device) -> None:
        """Quantizes the weights of a layer.

        Args:
            layer: the layer, whose device the new one has.
            arithmetic: number format of the arithmetic.
            device: device that computes the codes.
        """
        nn.Module.__init__(self)  # That of a linear layer would make weights.
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.bias = layer.bias
        weights_OI = layer.weight.detach().to(device).float()
        for name, tensor in self._stored(weights_OI, arithmetic).items():
            self.register_buffer(name, tensor.to(layer.weight.device))

    def _stored(self, weights_OI: Tensor, arithmetic: torch.dtype) -> dict[str, Tensor]:
        """What the layer has instead of weights: `scale` and other tensors."""
        raise NotImplementedError

    def dequantize(self) -> Tensor:
        """The weights in the number format of the arithmetic, [out, in]. peft calls it for DoRA."""
        raise NotImplementedError

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """Stands for the weights where libraries ask for their number format, device or shape, as peft does some twenty times
        for each layer. The values are NaN."""
        return self.scale.new_full((1, 1), torch.nan).expand(self.out_features, self.in_features)

    @property
    def W_q(self) -> Tensor:
        """The codes, under the name by which peft knows that a layer has `dequantize`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """The product with the weights, in the number format of the arithmetic."""
        return cast(Tensor, _Product.apply(x.to(self.scale.dtype), self))


class _Product(torch.autograd.Function):
    """The pass through a layer, which keeps nothing for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        return functional.linear(x, layer.dequantize(), layer.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.dequantize(), None


class Int8Linear(QuantizedLinear):
    """A layer with codes of 8 bits and one scale for each row of weights."""

    number_format = "int8"
    codes_OI: Tensor

    def _stored(self, weights_OI: Tensor, arithmetic: torch.dtype) -> dict[str, Tensor]:
        scale_O1 = _scale(weights_OI.abs().amax(1, keepdim=True) / LARGEST, arithmetic)
        codes_OI = (weights_OI / scale_O1.float()).round().clamp(-LARGEST, LARGEST).to(torch.int8)
        return {"codes_OI": codes_OI, "scale": scale_O1}

    def dequantize(self) -> Tensor:
        """The weights in the number format of the arithmetic, [out, in]."""
        return self.codes_OI * self.scale

    @property
    def W_q(self) -> Tensor:
        """The codes."""
        return self.codes_OI


class Nf4Linear(QuantizedLinear):
    """A layer with two codes of 4 bits in each byte and one scale for each block of weights.

    Scales have two bytes instead of being quantized themselves, as in the paper, which would save .12 of 4.25 bits for each
    weight.
    """

    number_format = "nf4"
    codes: Tensor
    """Bytes of two codes, of the weights row by row, filled up to a whole block."""
    pairs: Tensor
    """The two values of each byte, as one integer [256]: looking up an integer is faster than looking up a row."""

    def _stored(self, weights_OI: Tensor, arithmetic: torch.dtype) -> dict[str, Tensor]:
        flat = weights_OI.flatten()
        blocks = functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
        scale = _scale(blocks.abs().amax(1, keepdim=True), arithmetic)
        levels = torch.tensor(LEVELS, device=flat.device)
        nearest = torch.bucketize((blocks / scale.float()).flatten(), (levels[1:] + levels[:-1]) / 2, out_int32=True)
        codes = nearest.to(torch.uint8).view(-1, 2)
        pairs = torch.cartesian_prod(levels, levels).to(arithmetic).view(PAIRS_IN[arithmetic.itemsize]).flatten()
        return {"codes": codes[:, 0] * 16 + codes[:, 1], "pairs": pairs, "scale": scale}

    def dequantize(self) -> Tensor:
        """The weights in the number format of the arithmetic, [out, in]."""
        values = self.pairs.index_select(0, self.codes.int()).view(self.scale.dtype)
        flat = values.view(-1, BLOCK).mul_(self.scale).flatten()
        return flat[: self.out_features * self.in_features].view(self.out_features, self.in_features)

    @property
    def W_q(self) -> Tensor:
        """The codes."""
        return self.codes


LAYERS: dict[str, type[QuantizedLinear]] = {kind.number_format: kind for kind in (Int8Linear, Nf4Linear)}
"""Kinds of layers by the values of `training.quantization`."""


def quantize(module: nn.Module, kind: type[QuantizedLinear], arithmetic: torch.dtype, device: torch.device) -> None:
    """Quantizes the linear layers in the blocks of a module, one after the other.

    Layers outside of the blocks, such as embeddings of timestep and text and the last projection, have few weights, and all
    predictions depend on them. They stay as they are, and so do weights that libraries keep in float32.

    Args:
        module: the module, which is frozen and stays on its device.
        kind: kind of the layers.
        arithmetic: number format of the arithmetic.
        device: device that computes the codes; it holds one layer at a time.
    """
    exact = exact_weights(module, arithmetic)
    for path, layer in list(module.named_modules()):
        if type(layer) is nn.Linear and _is_in_block(path) and f"{path}.weight" not in exact:
            module.set_submodule(path, kind(layer, arithmetic, device))


def held_weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters of a module, and what its quantized layers have instead, each after its number format."""
    for parameter in module.parameters():
        yield str(parameter.dtype).removeprefix("torch."), parameter
    for layer in module.modules():
        if isinstance(layer, QuantizedLinear):
            for stored in layer.buffers(recurse=False):
                yield layer.number_format, stored


def _scale(exact: Tensor, arithmetic: torch.dtype) -> Tensor:
    """Scales in the number format of the arithmetic; 1 for weights that are all zero."""
    scale = exact.to(arithmetic)
    return scale.masked_fill(scale == 0, 1)


def _is_in_block(path: str) -> bool:
    """Whether a path goes through an element of a list of modules."""
    return re.search(r"\.\d+\.", path) is not None
