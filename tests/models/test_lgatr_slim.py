"""L-GATr-slim: its layers turn with their input, and the network is that of the authors' package with its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from femtobarn.inputs import Features, Inputs, make_batch
from femtobarn.inputs.feature_batch import Sizes
from femtobarn.models import LGATrSlim
from femtobarn.models.lgatr_slim import ScalarsVectors, ScalarVectorLinear, SlimChannels, gate, rms_norm
from femtobarn.nn import PackedRows, append_global_token, key_padding_bias, tokens
from tests.support.sample import make_events
from tests.support.symmetries import TRANSFORMATIONS

ROWS, S, V = 7, 6, 3


def some(scalars: int = S, vectors: int = V, rows: int = ROWS, seed: int = 0) -> ScalarsVectors:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((rows, scalars), (4, rows, vectors))
    return ScalarsVectors(*(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes))


def moved(transformation: str, x: ScalarsVectors) -> ScalarsVectors:
    """All vectors in another frame."""
    there = TRANSFORMATIONS[transformation](x.vectors.permute(1, 2, 0))
    return x._replace(vectors=there.permute(2, 0, 1))


def same(found: ScalarsVectors, expected: ScalarsVectors) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


LAYERS: dict[str, Callable[[ScalarsVectors], ScalarsVectors]] = {
    "linear": ScalarVectorLinear(SlimChannels(S, V), SlimChannels(4, 2)).double(),
    "norm": rms_norm,
    "norm of heads": lambda x: rms_norm(x, 3),
    "gates": gate,
}


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_turn_with_their_input(layer, transformation):
    function, x = LAYERS[layer], some()
    other = moved(transformation, x)
    assert not torch.allclose(other.vectors, x.vectors)
    same(function(other), moved(transformation, function(x)))


@pytest.mark.parametrize("transformation", ["rotation", "gamma 2", "boost and rotation"])
@pytest.mark.parametrize("last", [False, True])
def test_blocks_turn_with_their_input(last, transformation):
    torch.manual_seed(2)
    network = LGATrSlim(Inputs().sizes(2), vectors=V, scalars=S, blocks=2, heads=2, references=()).double()
    mask = torch.tensor([[True, True, True, True], [True, False, True, True]])
    rows, bias, x = PackedRows(mask), key_padding_bias(mask, torch.float64).expand(2, 2, 1, 4), some()
    block = network.blocks[last]
    found, expected = block(moved(transformation, x), rows, bias, 3), block(x, rows, bias, 3)
    assert len(found.scalars) == (2 if last else ROWS)
    same(found, expected if last else moved(transformation, expected))


@pytest.mark.parametrize("layer", ["norm", "norm of heads", "gates"])
def test_gradients_are_those_of_finite_differences(layer):
    x = [part.requires_grad_() for part in some(rows=3)]
    assert torch.autograd.gradcheck(lambda *parts: tuple(LAYERS[layer](ScalarsVectors(*parts))), x)


lgatr = pytest.importorskip("lgatr", reason="the authors' package: pip install --no-deps lgatr==2.0.0")


def their_network(ours: Any, sizes: Sizes) -> Any:
    """A network of the package of the size of ours, an `LGATrSlim` of two blocks at least, with its own weights."""
    block = ours.blocks[0]
    return lgatr.LGATrSlim(
        num_blocks=len(ours.blocks),
        in_v_channels=1,
        out_v_channels=0,
        hidden_v_channels=ours.embed.vectors.shape[0],
        in_s_channels=ours.embed.scalars.in_features,
        out_s_channels=sizes.outputs,
        hidden_s_channels=ours.embed.scalars.out_features,
        num_heads=ours.heads,
        mlp_ratio=block.contract.vectors.shape[1] // block.contract.vectors.shape[0],
        attn_ratio=block.collect.vectors.shape[1] // block.collect.vectors.shape[0],
    )


def their_input(ours: LGATrSlim, sizes: Sizes, encoded: Features) -> tuple[Tensor, Tensor, Tensor]:
    """Four-vectors, scalars and what is added to the logits of the attention, which is `attn_mask`."""
    found = append_global_token(tokens(encoded, sizes, ours.references, ours.scale), encoded)
    dtype = found.scalars.dtype
    vectors = found.momenta[..., None, [3, 0, 1, 2]].to(dtype)
    return vectors, found.scalars, key_padding_bias(found.mask, dtype)[:, None]


@torch.no_grad()
def copy(theirs: Any, ours: LGATrSlim) -> None:
    """Their weights for ours: gains of norms go into the maps behind them, and heads count before channels."""
    put(theirs.linear_in, ours.embed)
    for one, other in zip(theirs.blocks, ours.blocks, strict=True):
        put(one.attention.linear_in, other.project, one.norm1, heads=ours.heads)
        put(one.attention.linear_out, other.collect)
        put(one.mlp.layers[0].linear, other.gates, one.norm2)
        put(one.mlp.layers[1], other.contract)
    ours.head.load_state_dict(theirs.linear_out.linear_s.state_dict())


def put(theirs: Any, ours: Any, gains: Any = None, heads: int = 1) -> None:
    for weight, mine, gain in (
        (theirs.linear_s.weight, ours.scalars.weight, gains and gains.weight_s),
        (theirs.weight_v, ours.vectors, gains and gains.weight_v),
    ):
        if mine is not None:
            weight = weight if gain is None else weight * gain
            mine.copy_(weight.unflatten(0, (3, -1, heads)).transpose(1, 2).flatten(0, 2) if heads > 1 else weight)
    if ours.scalars.bias is not None:
        ours.scalars.bias.copy_(theirs.linear_s.bias)


@pytest.mark.parametrize("settings", [{"heads": 1}, {"heads": 2, "ratio": 2}, {"heads": 4, "attention_ratio": 2}])
def test_the_network_is_theirs_with_the_same_weights(settings):
    torch.manual_seed(4)
    inputs = Inputs().double()
    encoded, sizes = inputs(make_batch(make_events(9), 12, torch.float64)), inputs.sizes(3)
    ours = LGATrSlim(sizes, vectors=8, scalars=16, blocks=3, **settings).double()
    theirs = their_network(ours, sizes).double()
    for parameter in theirs.parameters():  # gains and biases as if trained
        torch.nn.init.normal_(parameter, std=0.4)
    copy(theirs, ours)
    vectors, scalars, shut = their_input(ours, sizes, encoded)
    _, expected = theirs(vectors, scalars, attn_mask=shut)
    assert expected[:, -1].std(0).min() > 1e-3
    torch.testing.assert_close(ours(encoded), expected[:, -1], rtol=1e-9, atol=1e-9)


def test_the_network_is_of_their_size():
    """But for the gains, and for the vectors that nobody sees after the last gates."""
    sizes = Inputs().sizes(1)
    ours = LGATrSlim(sizes)
    theirs = their_network(ours, sizes)
    gains = 12 * 2 * (96 + 32)
    last = 32 * 384 + 128 * 32
    assert count(ours) == count(theirs) - gains - last


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
