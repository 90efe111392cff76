"""Quantized linear layers: codes, error, gradients, memory, and which layers become ones."""

from typing import Any

import pytest
import torch
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

from dreambooth_trainer.models.quantization import (
    BLOCK,
    LEVELS,
    Int8Linear,
    Nf4Linear,
    QuantizedLinear,
    held_weights,
    quantize,
)

CPU = torch.device("cpu")
FORMATS = [torch.float32, torch.bfloat16, torch.float16]
KINDS = [Int8Linear, Nf4Linear]
ERRORS = {Int8Linear: 0.012, Nf4Linear: 0.12}
"""Largest relative error of the weights: 127 steps up to the largest of a row of normal numbers are .7 % of most, and the
sixteen quantiles of NF4 differ from normal numbers by 9 %."""


def layer(rows: int = 70, columns: int = 100, *, bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    """A frozen layer with normally distributed weights, which don't fill whole blocks."""
    made = nn.Linear(columns, rows, bias=bias).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return made.to(dtype)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_differ_little(kind: type[QuantizedLinear], dtype: torch.dtype) -> None:
    exact = layer(dtype=dtype)
    quantized = kind(exact, dtype, CPU)
    assert (quantized.dequantize().dtype, quantized.dequantize().shape) == (dtype, exact.weight.shape)
    assert relative(quantized.dequantize(), exact.weight) < ERRORS[kind]


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_codes_of_8_bits_are_the_nearest_ones(dtype: torch.dtype) -> None:
    exact = layer(dtype=dtype)
    quantized = Int8Linear(exact, dtype, CPU)
    apart = (quantized.codes_OI.float() * quantized.scale.float() - exact.weight.float()).abs()
    # The largest weight of a row may lie a little beyond the last code: scales are rounded.
    assert bool((apart <= quantized.scale.float() * 1.01 / 2).all())
    assert int(quantized.codes_OI.abs().max()) == 127


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_codes_of_4_bits_are_the_nearest_ones(dtype: torch.dtype) -> None:
    exact = layer(rows=64, columns=BLOCK, dtype=dtype)
    quantized = Nf4Linear(exact, dtype, CPU)
    levels = torch.tensor(LEVELS) * quantized.scale.float()
    nearest = (exact.weight.float()[:, :, None] - levels[:, None]).abs().argmin(-1)
    pairs = torch.stack([quantized.codes // 16, quantized.codes % 16], -1).view(64, BLOCK)
    assert bool((pairs.long() == nearest).all())
    wanted = torch.tensor(LEVELS).to(dtype)[nearest] * quantized.scale
    assert torch.equal(quantized.dequantize(), wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_pass_is_that_of_a_layer_with_the_converted_weights(kind: type[QuantizedLinear], bias: bool) -> None:
    exact = layer(bias=bias)
    quantized = kind(exact, torch.float32, CPU)
    plain = layer(bias=bias)
    plain.weight.copy_(quantized.dequantize())
    x = torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(1), requires_grad=True)
    outputs = [one(x) for one in (quantized, plain)]
    assert torch.equal(*outputs)
    first, second = (torch.autograd.grad(output.square().sum(), x)[0] for output in outputs)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_autograd_keeps_no_converted_weights(kind: type[QuantizedLinear]) -> None:
    quantized, kept = kind(layer(), torch.float32, CPU), []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    x = torch.randn(3, 100, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        quantized(x).sum().backward()
    assert kept == [] and x.grad is not None


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_chooses_the_format_of_the_arithmetic(kind: type[QuantizedLinear]) -> None:
    quantized = kind(layer(dtype=torch.bfloat16), torch.bfloat16, CPU)
    x = torch.randn(3, 100, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = quantized(x)
    assert output.dtype == torch.bfloat16
    output.sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_zeros_stay_zeros(kind: type[QuantizedLinear], dtype: torch.dtype) -> None:
    exact = layer(dtype=dtype)
    exact.weight[: len(exact.weight) // 2] = 0
    weights = kind(exact, dtype, CPU).dequantize()
    assert bool(weights.isfinite().all()) and not weights[: len(weights) // 2 - 1].any() and bool(weights.any())


@pytest.mark.parametrize(("kind", "bits"), [(Int8Linear, 8 + 16 / 1024), (Nf4Linear, 4 + 16 / 64)])
def test_a_weight_takes_a_byte_or_about_half_a_byte(kind: type[QuantizedLinear], bits: float) -> None:
    quantized = kind(layer(512, 1024, bias=False, dtype=torch.bfloat16), torch.bfloat16, CPU)
    held = sum(tensor.nbytes for _, tensor in held_weights(quantized))
    table = 256 * 4 if kind is Nf4Linear else 0
    assert held == 512 * 1024 * bits / 8 + table


def test_conversions_of_a_module_leave_codes_alone() -> None:
    """As DeepSpeed converts it."""
    for kind in KINDS:
        quantized = kind(layer(dtype=torch.bfloat16), torch.bfloat16, CPU)
        before = quantized.dequantize()
        assert torch.equal(quantized.bfloat16().dequantize(), before)
        assert not list(quantized.parameters()) or [name for name, _ in quantized.named_parameters()] == ["bias"]


@pytest.mark.parametrize("kind", KINDS)
def test_libraries_see_shape_and_format_but_no_wrong_weights(kind: type[QuantizedLinear]) -> None:
    quantized = kind(layer(dtype=torch.bfloat16), torch.bfloat16, CPU)
    assert (quantized.weight.shape, quantized.weight.dtype) == ((70, 100), torch.bfloat16)
    assert bool(quantized.weight.isnan().all()) and quantized.weight.untyped_storage().nbytes() == 2
    assert torch.equal(dequantize_module_weight(quantized), quantized.dequantize())


class Network(nn.Module):
    """As in diffusers: layers in lists of blocks, and layers outside of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
        self.blocks = nn.ModuleList(nn.ModuleDict({"to_q": nn.Linear(8, 8), "norm": nn.LayerNorm(8)}) for _ in range(2))
        self.proj_out = nn.Linear(8, 8)


def test_only_layers_in_blocks_are_quantized() -> None:
    network = Network().requires_grad_(False)
    quantize(network, Nf4Linear, torch.float32, CPU)
    found = [name for name, module in network.named_modules() if isinstance(module, QuantizedLinear)]
    assert found == ["blocks.0.to_q", "blocks.1.to_q"]


def test_layers_that_stay_in_float32_are_not_quantized() -> None:
    network: Any = Network().requires_grad_(False)
    network._keep_in_fp32_modules_strict = ["to_q"]
    quantize(network, Nf4Linear, torch.bfloat16, CPU)
    assert not any(isinstance(module, QuantizedLinear) for module in network.modules())
