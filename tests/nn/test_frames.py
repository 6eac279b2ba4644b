"""Frames and transport against the package of the papers' authors, lloca."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from femtobarn.nn import PackedRows, Transport, key_padding_bias
from femtobarn.nn.frames import FrameNet, inverse_lorentz, polar_frame, rotation_to_axes
from femtobarn.physics import lorentz

with warnings.catch_warnings(action="ignore"):  # of torch_geometric, about torch.jit
    lloca: Any = pytest.importorskip("lloca")
    from lloca.backbone.attention import LLoCaAttention
    from lloca.equivectors.mlp import MLPVectors
    from lloca.framesnet.frames import Frames
    from lloca.utils.orthogonalize_3d import orthogonalize_3d
    from lloca.utils.polar_decomposition import polar_decomposition, restframe_boost


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def massive(*shape: int, seed: int = 0) -> Tensor:
    space = random(*shape, 3, seed=seed)
    return torch.cat([space, (space.square().sum(-1, keepdim=True) + 0.3).sqrt()], -1)


def energy_first(momenta: Tensor) -> Tensor:
    return momenta.roll(1, -1)


def turned(frames: Tensor) -> Tensor:
    """Matrices with the energy first."""
    return frames.roll((1, 1), (-2, -1))


def test_the_boost_to_rest():
    momenta = massive(50)
    mine = lorentz.to_rest(momenta[..., :3] / lorentz.mass(momenta)[..., None])
    torch.testing.assert_close(turned(mine), restframe_boost(energy_first(momenta)))
    torch.testing.assert_close(mine @ momenta[..., None], lorentz.boost(momenta, -lorentz.velocity(momenta))[..., None])


def test_the_turn_is_gram_schmidt():
    first, second = random(50, 3), random(50, 3, seed=1)
    theirs = orthogonalize_3d(torch.stack([first, second], -2))
    torch.testing.assert_close(rotation_to_axes(first, second, first), theirs, rtol=1e-10, atol=1e-12)


def test_the_polar_decomposition():
    vectors = torch.stack([massive(50, seed=seed) for seed in range(3)], -2)
    theirs = polar_decomposition(energy_first(vectors[:, 0]), energy_first(vectors[:, 1:]))
    torch.testing.assert_close(turned(polar_frame(vectors, vectors[:, 0])), theirs, rtol=1e-9, atol=1e-10)


def frames_of(*shape: int) -> Tensor:
    vectors = torch.stack([massive(*shape, seed=seed) for seed in range(3)], -2)
    return polar_frame(vectors, vectors[..., 0, :])


def test_the_vectors():
    """The network with the same weights; a common factor is theirs to choose."""
    torch.manual_seed(0)
    objects, scalars = 6, 4
    mine = FrameNet(scalars, 1, 3, (8, 8), 0.0).double().eval()
    mine.norm.eps = mine.pair_norm.eps = 0.0
    theirs = MLPVectors(3, num_scalars=scalars + 1, hidden_channels=8, num_layers_mlp=2).double()
    first, second, last = (theirs.block.mlp.mlp[at] for at in (0, 2, 4))
    first.weight.data = torch.cat([mine.looking.weight, mine.seen.weight, mine.pair.weight], 1)
    first.bias.data, last.weight.data = mine.looking.bias.data, mine.weigh.weight.data
    second.load_state_dict(mine.hidden[0].state_dict())
    theirs.block.edge_inited.fill_(True)
    momenta, told, own = massive(5, objects), random(5, objects, scalars), random(5, objects, 1, seed=1)
    found = mine(momenta, told, own, torch.ones(5, objects, dtype=torch.bool))
    expected = theirs(energy_first(momenta), torch.cat([told, own], -1))
    norm = lorentz.mass2(found).sum(-1).sqrt()[..., None, None]
    torch.testing.assert_close(energy_first(found / norm), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("vectors", [1, 2])
def test_attention_between_frames(vectors):
    """Theirs, without their rescaling by the Lorentz factor, which the papers do not have."""
    batch, objects, heads, each = 3, 7, 2, 11
    scalars = each - 4 * vectors
    frames, q, k, v = frames_of(batch, objects), *(random(batch, objects, heads * each, seed=seed) for seed in range(3))
    mask = torch.arange(objects) < torch.tensor([7, 4, 1])[:, None]
    rows = PackedRows(mask)
    bias = random(heads, batch, objects, objects, seed=5) + key_padding_bias(mask, torch.float64)
    mine = Transport(frames, rows, (vectors,), torch.float64).self_attention(
        rows.pack(torch.cat([q, k, v], -1)), rows, bias
    )

    theirs = LLoCaAttention(f"{scalars}x0n+{vectors}x1n", heads, preserve_variance=False)
    theirs.prepare_frames(Frames(turned(frames)))

    def there(x: Tensor) -> Tensor:
        x = x.view(batch, objects, heads, each).transpose(1, 2)
        moved = energy_first(x[..., scalars:].reshape(batch, heads, objects, vectors, 4))
        return torch.cat([x[..., :scalars], moved.flatten(-2)], -1)

    found = theirs(there(q), there(k), there(v), attn_mask=bias.transpose(0, 1))
    torch.testing.assert_close(there(rows.unpack(mine)), found * mask[:, None, :, None], rtol=1e-9, atol=1e-9)


def test_messages_arrive_as_the_receiver_sees_them():
    frames, rows = frames_of(2, 4), PackedRows(torch.ones(2, 4, dtype=torch.bool))
    transport = Transport(frames, rows, (2,), torch.float64)
    x, packed = random(8, 11), frames.flatten(0, 1)
    centre, sender = torch.tensor([0, 3, 5]), torch.tensor([2, 2, 7])
    arrived = transport.channels_in_local_frame(transport.vectors_in_common_frame(x, 2)[sender], centre)
    change = packed[centre] @ inverse_lorentz(packed[sender])
    expected = change[:, None] @ x[sender, 3:].reshape(3, 2, 4, 1)
    torch.testing.assert_close(arrived, expected.flatten(1))
