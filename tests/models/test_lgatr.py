"""L-GATr: its layers turn with their input, and the network is that of the authors' package with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from femtobarn.inputs import Inputs, make_batch
from femtobarn.models import LGATr
from femtobarn.models.lgatr import MultivectorBlock
from femtobarn.nn import PackedRows, append_global_token, key_padding_bias, tokens
from femtobarn.nn.multivectors import (
    EquivariantLinear,
    MultivectorChannels,
    component_signs,
    concat_components,
    group_product,
    multivector_norm,
    norm_and_gate,
    split_components,
)
from femtobarn.physics import geometric_algebra as ga
from femtobarn.physics.geometric_algebra import Multivectors, components
from femtobarn.physics.lorentz import METRIC
from tests.support.jets import jet_events
from tests.support.sample import make_events
from tests.support.symmetries import TRANSFORMATIONS, boost, of_multivectors, rotation

ROWS, C, S = 7, 3, 5
CHANNELS = MultivectorChannels(C, S)


def some(channels: MultivectorChannels = CHANNELS, rows: int = ROWS, seed: int = 0) -> Multivectors:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((rows, channels.invariant), (4, rows, channels.pairs), (3, rows, channels.pairs))
    return Multivectors(*(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes))


def same(found: Multivectors, expected: Multivectors) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


def turned(moved: Callable[[Multivectors], Multivectors], x: Multivectors, groups: int = 1) -> Multivectors:
    """Every group of multivectors in another frame."""
    vectors, bivectors = [], []
    for v, b in zip(x.vectors.chunk(groups, -1), x.bivectors.chunk(groups, -1), strict=True):
        each = moved(Multivectors(x.scalars, v, b))
        vectors.append(each.vectors)
        bivectors.append(each.bivectors)
    return Multivectors(x.scalars, torch.cat(vectors, -1), torch.cat(bivectors, -1))


def linear(before: MultivectorChannels, after: MultivectorChannels) -> EquivariantLinear:
    torch.manual_seed(1)
    return EquivariantLinear(before, after).double()


#: A layer with the groups of its input and output.
LAYERS: dict[str, tuple[MultivectorChannels, Callable[[Multivectors], Multivectors], int]] = {
    "linear": (CHANNELS, linear(CHANNELS, MultivectorChannels(4, 2)), 1),
    "linear of heads": (
        MultivectorChannels(2, 3, groups=2),
        linear(MultivectorChannels(2, 3, groups=2), MultivectorChannels(1, 2, groups=3)),
        3,
    ),
    "norm": (CHANNELS, lambda x: multivector_norm(x, CHANNELS), 1),
    "gate": (CHANNELS, lambda x: norm_and_gate(x, CHANNELS), 1),
    "product": (MultivectorChannels(C, 0, groups=2), group_product, 1),
}


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_turn_with_their_input(layer, transformation):
    channels, function, groups = LAYERS[layer]
    moved = of_multivectors(TRANSFORMATIONS[transformation])
    x = some(channels)
    other = turned(moved, x, channels.groups)
    assert not torch.allclose(other.bivectors, x.bivectors)
    same(function(other), turned(moved, function(x), groups))


@pytest.mark.parametrize("transformation", ["rotation", "gamma 2", "boost and rotation"])
@pytest.mark.parametrize("kind", [0, 1, 2], ids=["first", "middle", "last"])
def test_blocks_turn_with_their_input(kind, transformation):
    torch.manual_seed(2)
    network = LGATr(Inputs().sizes(2), multivectors=C, scalars=S, blocks=3, heads=2, references=()).double()
    block = network.blocks[kind]
    mask = torch.tensor([[True, True, True, True], [True, False, True, True]])
    rows, bias = PackedRows(mask), key_padding_bias(mask, torch.float64).expand(2, 2, 1, 4)
    x = some()
    if kind == 0:
        x = x._replace(bivectors=x.bivectors[..., :0])
    moved = of_multivectors(TRANSFORMATIONS[transformation])
    found, expected = block(turned(moved, x), rows, bias, 3), block(x, rows, bias, 3)
    if kind == 2:
        assert len(found.scalars) == 2
        torch.testing.assert_close(found.scalars, expected.scalars, rtol=1e-7, atol=1e-7)
    else:
        same(found, turned(moved, expected))


def test_linear_maps_are_all_there_are():
    """Ten coefficients for two channels: as many as there are maps that commute with all transformations."""
    layer = EquivariantLinear(MultivectorChannels(1, 0), MultivectorChannels(1, 0), bias=False)
    assert sum(p.numel() for p in layer.parameters()) == 10
    one = torch.eye(16, dtype=torch.float64)
    unit = ga.from_components(one[..., None])  # basis elements as rows
    commute = []
    for seed in range(3):
        fast, slow = boost(2.0, seed), rotation(seed)
        moved = of_multivectors(lambda p, fast=fast, slow=slow: fast(slow(p)))  # type: ignore[misc]
        turn = components(moved(unit))[..., 0]
        commute.append(
            torch.kron(turn.contiguous(), one) - torch.kron(one, turn.T.contiguous())
        )  # T W - W T, with W row by row
    assert 256 - torch.linalg.matrix_rank(torch.cat(commute), rtol=1e-9) == 10


def test_invariant_products_are_plain_ones_with_signs():
    channels = MultivectorChannels(2, 3, groups=4)
    x, y = some(channels), some(channels, seed=1)
    a, b = concat_components(x, channels), concat_components(y, channels)
    found = (a * component_signs(channels) * b).sum(-1)
    for group in range(4):
        own, others = slice(group * 7, group * 7 + 3), slice(group * 7 + 3, group * 7 + 7)
        pairs = slice(group * 4, group * 4 + 4)
        parts = [Multivectors(m.scalars[:, others], m.vectors[..., pairs], m.bivectors[..., pairs]) for m in (x, y)]
        expected = (x.scalars[:, own] * y.scalars[:, own]).sum(-1) + ga.inner(*parts).sum(-1)
        torch.testing.assert_close(found[:, group], expected)
    same(split_components(a, channels), x)


def test_gradients_of_products_are_those_of_finite_differences():
    x = [part.requires_grad_() for part in some(MultivectorChannels(2, 0, groups=2), rows=2)]
    assert torch.autograd.gradcheck(lambda *parts: tuple(group_product(Multivectors(*parts))), x)


def test_events_come_to_rest_and_are_followed_by_a_token():
    inputs = Inputs().double()
    sizes, encoded = inputs.sizes(2), inputs(make_batch(make_events(9), 12, torch.float64))
    plain = tokens(encoded, sizes, ("beam", "time"))
    found = append_global_token(plain, encoded)
    assert torch.equal(found.mask, torch.nn.functional.pad(plain.mask, (0, 1), value=True))
    assert found.scalars[0, :, -1].tolist() == [0.0] * 16 + [1.0]
    assert torch.equal(found.scalars[:, :-1, :-1], plain.scalars)
    assert not found.momenta[:, -1].any()
    torch.testing.assert_close(found.momenta[:, :13, :3].sum(1), torch.zeros(9, 3).double(), atol=1e-9, rtol=0)
    sign = torch.tensor(METRIC).double()
    products = [torch.einsum("btm,m,bum->btu", p, sign, p) for p in (found.momenta[:, :-1], plain.momenta)]
    torch.testing.assert_close(products[0], products[1])


@pytest.mark.parametrize("momenta", [[], [[0.0, 0, 9, 9]], [[3.0, 0, 4, 5], [6.0, 0, 8, 10]]])
def test_events_without_a_rest_frame(momenta):
    inputs = Inputs(features="kin").double()
    batch = make_batch(jet_events(1, max_particles=3), 4, torch.float64)
    p = torch.tensor([*momenta, *[[0.0] * 4] * (4 - len(momenta))], dtype=torch.float64)[None]
    encoded = inputs(batch.replace(momenta=p, mask=torch.arange(4)[None] < len(momenta)))
    found = append_global_token(tokens(encoded, inputs.sizes(2), ("time",)), encoded).momenta[:, 4]
    torch.testing.assert_close(found[:, 3] ** 2 - found[:, :3].square().sum(-1), torch.ones(1).double())
    assert LGATr(inputs.sizes(2), multivectors=2, scalars=4, blocks=2, heads=2).double()(encoded).isfinite().all()


lgatr = pytest.importorskip("lgatr", reason="the authors' package: pip install --no-deps lgatr==2.0.0")


def change_of_basis() -> Tensor:
    """Our components, as rows, in theirs."""
    unit, e = torch.eye(16, dtype=torch.float64), [torch.eye(16, dtype=torch.float64)[k] for k in (2, 3, 4, 1)]
    elements = [unit[0], *(their_product(e[i], e[3]) for i in range(3)), *e]
    return torch.stack([each for one in elements for each in (one, their_product(unit[15], one))])


def their_product(x: Tensor, y: Tensor) -> Tensor:
    from lgatr.primitives.bilinear import geometric_product
    from lgatr.primitives.config import PrimitivesConfig

    found: Tensor = geometric_product(x, y, config=PrimitivesConfig())
    return found


def theirs_of(x: Multivectors) -> Tensor:
    return torch.einsum("krc,kj->rcj", components(x), change_of_basis())


def pairs_only(x: Multivectors) -> Multivectors:
    return x._replace(scalars=x.scalars[:, -2 * C :])


def test_products_norms_and_gates_are_theirs():
    from lgatr.layers.layer_norm import EquiLayerNorm
    from lgatr.layers.mlp.nonlinearities import ScalarGatedNonlinearity
    from lgatr.primitives.invariants import inner_product

    x, y = (pairs_only(some(seed=seed)) for seed in (1, 2))
    torch.testing.assert_close(theirs_of(ga.product(x, y)), their_product(theirs_of(x), theirs_of(y)))
    torch.testing.assert_close(ga.inner(x, y), inner_product(theirs_of(x), theirs_of(y))[..., 0])
    x = some()
    own, norm = x.scalars[:, :S], EquiLayerNorm().double()
    multivectors, scalars = norm(theirs_of(pairs_only(x)), own)
    found = multivector_norm(x, CHANNELS)
    torch.testing.assert_close(theirs_of(pairs_only(found)), multivectors)
    torch.testing.assert_close(found.scalars[:, :S], scalars)
    multivectors, scalars = ScalarGatedNonlinearity()(multivectors, scalars)
    found = norm_and_gate(x, CHANNELS)
    torch.testing.assert_close(theirs_of(pairs_only(found)), multivectors)
    torch.testing.assert_close(found.scalars[:, :S], scalars)


def copy(theirs: Any, ours: EquivariantLinear, order: Tensor | None = None, own: Tensor | None = None) -> None:
    """Their weights for ours; the order of their outputs may be another one."""
    from lgatr.primitives.linear import _compute_pin_equi_linear_basis

    basis = change_of_basis()
    maps = torch.einsum("ki,aij,lj->akl", basis, _compute_pin_equi_linear_basis(dtype=torch.float64), basis)
    weight = torch.einsum("yxa,akl->yxkl", theirs.weight.double(), maps)
    from_own = theirs.s2mvs.weight.double().unflatten(0, (-1, 2)) if theirs.s2mvs is not None else None
    shift = (
        theirs.s2mvs.bias.double().unflatten(0, (-1, 2))
        if theirs.s2mvs is not None and theirs.s2mvs.bias is not None
        else None
    )
    if order is not None:
        weight = weight[order]
        from_own = from_own[order] if from_own is not None else None
    before, after = ours.before, ours.after
    g, c, s, h, d, t = (
        after.groups,
        after.multivectors,
        after.scalars,
        before.groups,
        before.multivectors,
        before.scalars,
    )
    pairs = torch.unflatten(torch.unflatten(weight, 0, (g, c)), 2, (h, d))  # (g, c, h, d, 16, 16)
    block = torch.zeros(g, s + 2 * c, h, t + 2 * d, dtype=torch.float64)
    block[:, s:, :, t:] = pairs[..., :2, :2].permute(0, 4, 1, 2, 5, 3).reshape(g, 2 * c, h, 2 * d)
    assert from_own is not None
    block[:, s:, :, :t] = (
        torch.unflatten(torch.unflatten(from_own, 0, (g, c)), -1, (h, t)).transpose(1, 2).flatten(1, 2)
    )
    bias = torch.zeros(g, s + 2 * c, dtype=torch.float64)
    if shift is not None:
        bias[:, s:] = shift.unflatten(0, (g, c)).transpose(1, 2).flatten(1)
    if s:
        to_own, between = theirs.mvs2s.weight.double(), theirs.s2s.weight.double()
        if own is not None:
            to_own, between = to_own[own], between[own]
        block[:, :s, :, t:] = to_own.view(g, s, h, d, 2).transpose(3, 4).flatten(3)
        block[:, :s, :, :t] = between.view(g, s, h, t)
        if theirs.mvs2s.bias is not None:
            bias[:, :s] = theirs.mvs2s.bias.double().view(g, s)
    with torch.no_grad():
        ours.scalars.weight.copy_(block.flatten(2).flatten(0, 1))
        if ours.scalars.bias is not None:
            ours.scalars.bias.copy_(bias.flatten())
        if ours.vectors is not None:
            vectors = pairs[..., 8:10, 8:10]
            ours.vectors.copy_(vectors.permute(0, 4, 1, 2, 5, 3).reshape(2 * g * c, 2 * h * d))
        if ours.bivectors is not None:
            real, imaginary = pairs[..., 2, 2], pairs[..., 3, 2]
            ours.bivectors.copy_(torch.stack([real, imaginary]).reshape(2, g * c, h * d))


class Both:
    """Linear layers of theirs side by side, as our one."""

    def __init__(self, *layers: Any) -> None:
        self.weight = torch.cat([layer.weight for layer in layers])
        self.s2mvs = torch.nn.Linear(layers[0].s2mvs.in_features, sum(layer.s2mvs.out_features for layer in layers))
        self.s2mvs.weight.data = torch.cat([layer.s2mvs.weight.data for layer in layers])
        self.s2mvs.bias.data = torch.cat([layer.s2mvs.bias.data for layer in layers])


def copy_block(theirs: Any, ours: MultivectorBlock) -> None:
    heads, asked = ours.heads, ours.qkv_channels
    # theirs counts queries, keys, values, then channels, then heads
    order = torch.arange(3 * asked.multivectors * heads).view(3, asked.multivectors, heads).transpose(1, 2).flatten()
    own = torch.arange(3 * asked.scalars * heads).view(3, asked.scalars, heads).transpose(1, 2).flatten()
    copy(theirs.attention.qkv_module.in_linear, ours.project, order, own)
    copy(theirs.attention.out_linear, ours.collect)
    bilinear = theirs.mlp.layers[0]
    copy(Both(bilinear.linear_left, bilinear.linear_right), ours.factors)
    copy(bilinear.linear_out, ours.combine)
    copy(theirs.mlp.layers[2], ours.contract)


@pytest.mark.parametrize("heads", [1, 2])
def test_the_network_is_theirs_with_the_same_weights(heads):
    """In every frame, of which theirs sees one and ours that of the event."""
    torch.manual_seed(4)
    inputs = Inputs().double()
    batch = make_batch(make_events(9), 12, torch.float64)
    encoded, sizes = inputs(batch), inputs.sizes(3)
    ours = LGATr(sizes, multivectors=4, scalars=8, blocks=3, heads=heads).double()
    found = append_global_token(tokens(encoded, sizes, ours.references, ours.scale), encoded)
    theirs = lgatr.LGATr(
        num_blocks=3,
        in_mv_channels=1,
        out_mv_channels=3,
        hidden_mv_channels=4,
        in_s_channels=found.scalars.shape[-1],
        out_s_channels=0,
        hidden_s_channels=8,
        attention={"num_heads": heads, "attn_ratio": 2},
        mlp={"mlp_ratio": 2},
    ).double()
    for one, other in zip(theirs.blocks, ours.blocks, strict=True):
        assert isinstance(other, MultivectorBlock)
        copy_block(one, other)
    with torch.no_grad():
        first, last = theirs.linear_in, theirs.linear_out
        whole = EquivariantLinear(MultivectorChannels(1, found.scalars.shape[-1]), MultivectorChannels(4, 8)).double()
        copy(first, whole)
        ours.embed.weight.copy_(whole.scalars.weight[:, :-2])
        ours.embed.bias.copy_(whole.scalars.bias)
        assert whole.vectors is not None
        ours.embed_momenta.weight.copy_(whole.vectors[:, :1])
        end = EquivariantLinear(MultivectorChannels(4, 8), MultivectorChannels(3, 0)).double()
        copy(last, end)
        ours.head.weight.copy_(end.scalars.weight[:3])
        ours.head.bias.copy_(end.scalars.bias[:3])
    momenta = torch.nn.functional.pad(tokens(encoded, sizes, ours.references, ours.scale).momenta, (0, 0, 0, 1))
    multivectors = torch.zeros(9, momenta.shape[1], 1, 16, dtype=torch.float64)
    multivectors[..., 0, 1:5] = momenta[..., [3, 0, 1, 2]]
    shut = key_padding_bias(found.mask, torch.float64)[:, None]
    expected, _ = theirs(multivectors, found.scalars, attn_mask=shut)
    torch.testing.assert_close(ours(encoded), expected[:, -1, :, 0], rtol=1e-7, atol=1e-7)
