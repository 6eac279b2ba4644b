"""Message passing network: against loops over objects, and what its graph may and may not let through."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from femtobarn.inputs import Features, Sizes
from femtobarn.models import MPNN
from femtobarn.models.mpnn import N_READOUT_STEPS, Adjacency, AdjacencyType, MessagePass, Set2Set
from tests.models.test_contract import INTERACTIONS, SLOTS, build, events

ALL = get_args(AdjacencyType)
WIDTH = 10


def network(adjacency: AdjacencyType, pairs: int = 0, iterations: int = 2) -> MPNN:
    torch.manual_seed(2)
    built = MPNN(Sizes(11, pairs, 3, 3), adjacency=adjacency, iterations=iterations, width=WIDTH).double()
    with torch.no_grad():
        built.train()(encoded(pairs))
    return built.eval()


def encoded(pairs: int = 0, count: int = 12) -> Features:
    """Events with none, one, two or more objects."""
    few = torch.arange(SLOTS) < torch.tensor([0, 1, 2, *[SLOTS] * (count - 3)])[:, None]
    batch = events(count)
    inputs = build("mpnn", INTERACTIONS["pairs" if pairs else "plain"]).inputs
    found: Features = inputs(batch.replace(mask=batch.mask & few))
    return found


def seen(built: MPNN, given: Features) -> list[Tensor]:
    """What the objects have become before the event is read, and the graphs on the way."""
    kept: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _, __, out: kept.append(out))
        for module in built.modules()
        if isinstance(module, Adjacency)
    ]
    hooks.append(built.read.register_forward_pre_hook(lambda _, given: kept.append(given[1].unpack(given[0]))))
    built(given)
    for hook in hooks:
        hook.remove()
    return kept


@pytest.mark.parametrize("pairs", [0, 3])
@pytest.mark.parametrize("adjacency", ALL)
def test_messages_are_what_loops_send(adjacency, pairs):
    if pairs and adjacency in ("set2set", "identity"):
        pytest.skip("no place for pairs")
    built, given = network(adjacency, pairs), encoded(pairs, 5)
    *_, found = seen(built, given)
    norm, linear, _ = built.embed
    for event in range(len(given.mask)):
        objects = range(int(given.mask[event].sum()))
        h = [linear(norm(given.particles[event, i][None])[0]).tanh() for i in objects]
        for each in built.passes:
            assert isinstance(each, MessagePass)
            a = torch.eye(len(objects)).double()
            if each.graph is not None:
                for i in objects:
                    logits = torch.stack(
                        [each.graph.between(h[i]) @ h[j] + u(built, given, event, i, j) for j in objects]
                    )
                    a[i] = logits.exp() / logits.exp().sum()
                a = (a + a.t()) / 2 if adjacency == "undirected" else a
            told = [each.message(one) for one in h]
            m = [torch.stack([a[i, j] * told[j] for j in objects]).sum(0).tanh() for i in objects]
            h = [gru(each.update, m[i], h[i]) for i in objects]
        for i in objects:
            torch.testing.assert_close(found[event, i], h[i], rtol=1e-9, atol=1e-11)


def u(built: MPNN, given: Features, event: int, i: int, j: int) -> Tensor:
    """What the features of a pair say; nothing of an object with itself."""
    if built.embed_pairs is None or i == j:
        return torch.zeros(()).double()
    said: Tensor = built.embed_pairs(given.pairs[event, i, j][None])[0, 0]
    return said


def gru(cell: torch.nn.GRUCell, x: Tensor, h: Tensor) -> Tensor:
    """Cho et al., arXiv:1406.1078, eqs. 5 to 8."""
    given, own = cell.weight_ih @ x + cell.bias_ih, cell.weight_hh @ h + cell.bias_hh
    r, z = (given + own)[: 2 * WIDTH].sigmoid().chunk(2)
    new = (given[2 * WIDTH :] + r * own[2 * WIDTH :]).tanh()
    return (1 - z) * new + z * h


@pytest.mark.parametrize("adjacency", ["directed", "undirected"])
def test_graphs_have_the_symmetry_of_their_name(adjacency):
    given = encoded(3)
    *graphs, _ = seen(network(adjacency, 3, iterations=3), given)
    assert len(graphs) == 3
    both = given.mask[:, :, None] & given.mask[:, None, :]
    for graph in graphs:
        assert not graph[~both].any()
        assert (graph[both] > 0).all()
        if adjacency == "undirected":
            assert torch.equal(graph, graph.transpose(1, 2))
            torch.testing.assert_close(graph.sum((1, 2)), given.mask.sum(1).double())  # as many as rows that sum to 1
        else:
            torch.testing.assert_close(graph.sum(-1), given.mask.double())
            assert (graph - graph.transpose(1, 2)).abs().max() > 0.01


@pytest.mark.parametrize("adjacency", ALL)
def test_objects_in_another_order_are_the_same_objects(adjacency):
    built, given = network(adjacency), encoded()
    order = torch.randperm(SLOTS, generator=torch.Generator().manual_seed(0))
    mixed = given._replace(
        particles=given.particles[:, order], pairs=given.pairs[:, order][:, :, order], mask=given.mask[:, order]
    )
    *graphs, objects = seen(built, given)
    *others, same = seen(built, mixed)
    torch.testing.assert_close(same, objects[:, order], rtol=1e-10, atol=1e-12)
    for graph, other in zip(graphs, others, strict=True):
        torch.testing.assert_close(other, graph[:, order][:, :, order], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("adjacency", ALL)
def test_only_a_graph_lets_objects_see_each_other(adjacency):
    built, given = network(adjacency), encoded()
    particles = given.particles.clone()
    particles[:, 0] += given.mask[:, :1].double()
    moved = (seen(built, given._replace(particles=particles))[-1] - seen(built, given)[-1]).abs().amax(-1)
    several = given.mask.sum(1) > 1
    assert (moved[several, 0] > 1e-3).all()
    if adjacency in ("set2set", "identity"):
        assert moved[:, 1:].max() == 0
    else:
        assert (moved[:, 1:][given.mask[:, 1:]] > 1e-9).all()


def test_the_set_is_read_by_asking():
    built, given = network("set2set"), encoded()
    assert isinstance(built.read, Set2Set)
    (objects,) = seen(built, given)
    cell = built.read.lstm
    found: list[Tensor] = []
    built.fc.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    built(given)
    for event in range(len(given.mask)):
        own = objects[event, given.mask[event]]
        query, memory, said = (torch.zeros(WIDTH).double() for _ in range(3))
        for _ in range(N_READOUT_STEPS):
            x = torch.cat([query, said])
            gates = cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ query + cell.bias_hh
            enter, forget, new, leave = gates.chunk(4)
            memory = forget.sigmoid() * memory + enter.sigmoid() * new.tanh()
            query = leave.sigmoid() * memory.tanh()
            said = (own @ query).softmax(0) @ own
        torch.testing.assert_close(found[0][event, : 2 * WIDTH], torch.cat([query, said]), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("adjacency", ALL)
def test_as_exported_it_is_the_same(adjacency, monkeypatch):
    built, given = network(adjacency), encoded()
    expected = built(given)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(built(given), expected, rtol=1e-10, atol=1e-12)
    assert expected.std(0).min() > 1e-3


@pytest.mark.parametrize("adjacency", ["set2set", "identity"])
def test_pairs_need_a_graph(adjacency):
    with pytest.raises(ValueError, match=rf"adjacency {adjacency} .* takes no inputs.interactions"):
        network(adjacency, pairs=3)
