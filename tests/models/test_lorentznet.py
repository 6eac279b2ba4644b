"""LorentzNet: size of the paper, the exchange of messages against loops over pairs, and its symmetry."""

from __future__ import annotations

import pytest
import torch

from femtobarn.inputs import Inputs, Sizes, make_batch
from femtobarn.models import LorentzNet
from femtobarn.models.lorentznet import MessagePassing, build_pairs, psi
from femtobarn.nn import BatchNorm, PackedRows, chunk_size
from femtobarn.nn.chunking import CHUNK_ELEMENTS
from tests.support.jets import jet_events
from tests.support.sample import make_events
from tests.support.symmetries import TRANSFORMATIONS


def test_parameters_of_the_paper():
    """Mass and the flag of the beams are the two scalars of a constituent in top tagging."""
    kin = Inputs(features="kin").sizes(2)
    assert sum(p.numel() for p in LorentzNet(kin).parameters()) == 224_072


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MASK = torch.tensor([[True] * 5, [True, False, True, True, False], [False, True, False, False, False], [False] * 5])


def exchange(pairs: int = 2, last: bool = False) -> tuple[MessagePassing, tuple[torch.Tensor, ...]]:
    """A block with random running statistics, and something to exchange."""
    torch.manual_seed(3)
    block = MessagePassing(8, 3, pairs, 0.3, last).double().eval()
    for norm in (block.first_norm, block.learn_norm):
        for name, value in norm.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5 * (name == "running_var"))
    features = random(4, 5, 5, pairs, seed=4)
    x = random(4, 5, 4, seed=5) * MASK[..., None]
    return block, (random(9, 8, seed=6), x, random(9, 3, seed=7), features + features.transpose(1, 2))


def norm(layer: BatchNorm, value: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = layer(value[None])
    return out[0]


def by_loops(
    block: MessagePassing, h: torch.Tensor, x: torch.Tensor, s: torch.Tensor, features: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The formulas of the paper, one pair after the other, each message with the layers as they are written."""
    places = MASK.nonzero().tolist()
    new_h, new_x = torch.zeros_like(h), x.clone()
    for row, (event, i) in enumerate(places):
        total, change, others = torch.zeros(8, dtype=torch.float64), torch.zeros(4, dtype=torch.float64), 0
        for other, (event2, j) in enumerate(places):
            if event2 != event or i == j:
                continue
            metric = torch.tensor([-1.0, -1, -1, 1], dtype=torch.float64)
            apart = x[event, i] - x[event, j]
            known = torch.stack([psi(apart @ (metric * apart)), psi(x[event, i] @ (metric * x[event, j]))])
            first = block.first(torch.cat([h[row], h[other], known, features[event, i, j]]))
            message = torch.relu(block.second(torch.relu(norm(block.first_norm, first))))
            message = message * torch.sigmoid(block.gate(message))
            total, others = total + message, others + 1
            if block.move is not None:
                change = change + block.move(message) * apart
        new_x[event, i] = x[event, i] + 0.3 * change / max(others, 1)
        hidden = torch.relu(norm(block.learn_norm, block.learn(torch.cat([h[row], total, s[row]]))))
        new_h[row] = h[row] + block.learned(hidden)
    return new_h, new_x


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("chunked", [False, True], ids=["with gradient", "in chunks"])
def test_messages_are_those_of_loops_over_pairs(last, chunked):
    block, inputs = exchange(last=last)
    expected = by_loops(block, *inputs)
    pairs = build_pairs(PackedRows(MASK), inputs[3]).features
    copies = CHUNK_ELEMENTS // block.width * torch.get_num_threads() // len(pairs) + 1 if chunked else 1
    h, x, s, features, mask = (column.repeat(copies, *[1] * (column.dim() - 1)) for column in (*inputs, MASK))
    with torch.set_grad_enabled(not chunked):
        assert chunked == (chunk_size(pairs.repeat(copies, 1), block.width) is not None)
        rows = PackedRows(mask)
        new_h, new_x = block(h, x, s, rows, build_pairs(rows, features))
    torch.testing.assert_close(
        (new_h, new_x), tuple(column.repeat(copies, *[1] * (column.dim() - 1)) for column in expected)
    )
    assert last == torch.equal(new_x, x)


def test_batch_norms_see_every_real_pair_once_in_each_order():
    block, (h, x, s, features) = exchange(pairs=0)
    rows = PackedRows(MASK)
    graph = build_pairs(rows, features)
    assert len(graph.receiver) == 5 * 4 + 3 * 2
    block.first_norm.reset_running_stats()
    block.first_norm.momentum = 1.0
    block.train()(h, x, s, rows, graph)
    first = [
        block.first(torch.cat([h[i], h[j], psi(torch.stack([square(a - b), dot(a, b)]))]))
        for i, j in zip(graph.receiver, graph.sender, strict=True)
        for a, b in [(x[MASK][i], x[MASK][j])]
    ]
    torch.testing.assert_close(block.first_norm.running_mean, torch.stack(first).mean(0))
    torch.testing.assert_close(block.first_norm.running_var, torch.stack(first).var(0))


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a[3] * b[3] - a[:3] @ b[:3]


def square(a: torch.Tensor) -> torch.Tensor:
    return dot(a, a)


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_a_block_turns_with_its_four_vectors(transformation):
    block, (h, x, s, features) = exchange()
    moved, rows = TRANSFORMATIONS[transformation], PackedRows(MASK)
    graph = build_pairs(rows, features)
    before, after = block(h, x, s, rows, graph), block(h, moved(x), s, rows, graph)
    torch.testing.assert_close(after[0], before[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(after[1], moved(before[1]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("features", "sizes"), [("kin", 1), ("full", 11)])
def test_jets(features, sizes):
    """Types, charges and impact parameters join the mass; without references nothing is left but the jet."""
    inputs = Inputs(features=features)
    network = LorentzNet(inputs.sizes(2), width=8, blocks=2, references=())
    assert network.embed.in_features == sizes
    assert network(inputs(make_batch(jet_events(5), 20))).isfinite().all()


def test_events_have_missing_momentum_and_beams():
    inputs = Inputs()
    network = LorentzNet(inputs.sizes(2), width=8, blocks=2).eval()
    assert network.embed.in_features == 1 + 7 + 1 + 1
    batch = make_batch(make_events(9), 12)
    met = batch.context * torch.tensor([2.0, 1.0])
    assert not torch.allclose(network(inputs(batch)), network(inputs(batch.replace(context=met))))


def test_sizes_without_scalars_are_enough():
    assert LorentzNet(Sizes(7, 0, 0, 2), width=8, blocks=1, references=()).embed.in_features == 1
