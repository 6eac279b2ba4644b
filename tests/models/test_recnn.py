"""Recursive network: against a recursion written out node by node, and its features by hand."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
import vector
from torch import Tensor

from femtobarn.inputs import Features, Inputs, Sizes, make_batch
from femtobarn.models import RecNN
from femtobarn.models.recnn import NODE_FEATURES, GatedMerge, node_features
from femtobarn.nn import cluster
from femtobarn.nn.trees import TreeAlgorithm
from tests.support.jets import jet_events

SLOTS = 12
SHAPES = get_args(TreeAlgorithm)


def encoded(count: int = 12, seed: int = 0) -> Features:
    """Jets; the first has no constituent left, the next one, then two."""
    batch = make_batch(jet_events(count, max_particles=15, seed=seed), SLOTS, torch.float64)
    few = torch.arange(SLOTS) < torch.tensor([0, 1, 2, *[SLOTS] * (count - 3)])[:, None]
    found: Features = Inputs((), "full").double().fit(batch)(batch.replace(mask=batch.mask & few))
    return found


def network(**settings) -> RecNN:
    torch.manual_seed(1)
    built = RecNN(Sizes(17, 0, 0, 2), **({"width": 12} | settings)).double()
    with torch.no_grad():
        built.train()(encoded(seed=7))
    return built.eval()


@pytest.mark.parametrize(("gating", "count"), [(False, 8_481), (True, 48_761)])
def test_the_published_size(gating, count):
    """That of the authors' code: seven features of a node, 40 hidden, one output; and a batch norm of the features."""
    built = RecNN(Sizes(0, 0, 0, 1), gating=gating)
    assert sum(parameter.numel() for parameter in built.parameters()) == count + 2 * len(NODE_FEATURES)


@pytest.mark.parametrize("gating", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_node_is_what_its_children_make(shape, gating):
    built, jets = network(tree=shape, gating=gating), encoded()
    tree = cluster(jets.momenta, jets.mask, shape)
    g = node_features(tree, torch.cat([jets.mask, tree.mask], dim=1))
    roots = []
    built.fc.register_forward_pre_hook(lambda _, given: roots.append(given[0]))
    built(jets)

    def u(jet: int, node: int) -> Tensor:
        leaf = jets.particles[jet, node] if node < SLOTS else torch.zeros(17).double()
        found: Tensor = built.embed(torch.cat([built.norm(g[jet, node][None])[0], leaf])).relu()
        return found

    def h(jet: int, node: int) -> Tensor:
        own = u(jet, node)
        if node < SLOTS:
            return own
        left, right = (h(jet, int(children[jet, node - SLOTS])) for children in (tree.left, tree.right))
        if not isinstance(built.merge, GatedMerge):
            simple: Tensor = built.merge.activate(torch.cat([left, right, own])).relu()
            return simple
        r_left, r_right, r_own = built.merge.reset(torch.cat([left, right, own])).sigmoid().split(12)
        new = built.merge.activate(torch.cat([r_left * left, r_right * right, r_own * own])).relu()
        z = built.merge.update(torch.cat([new, left, right, own])).split(12)
        total = sum(one.exp() for one in z)
        parts = zip(z, (new, left, right, own), strict=True)
        return torch.stack([one.exp() / total * part for one, part in parts]).sum(0)

    for jet, root in enumerate(tree.root(jets.mask).tolist()):
        expected = h(jet, root) if jets.mask[jet].any() else torch.zeros(12).double()
        torch.testing.assert_close(roots[0][jet], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gating", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_by_levels_and_by_steps_it_is_the_same(shape, gating, monkeypatch):
    built, jets = network(tree=shape, gating=gating), encoded()
    expected = built(jets)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(built(jets), expected, rtol=1e-10, atol=1e-12)
    assert expected.std(0).min() > 1e-3


def test_trees_differ_and_their_order_matters():
    answers = torch.stack([network(tree=shape)(encoded()) for shape in SHAPES])
    assert (answers[:, None] - answers[None, :]).abs().amax(-1)[:, :, 5:].gt(1e-6).any(
        -1
    ).sum() == 30  # not with itself


def test_features_are_those_of_the_sum_of_the_constituents():
    jets = encoded()
    tree = cluster(jets.momenta, jets.mask, "cambridge_aachen")
    found = node_features(tree, torch.cat([jets.mask, tree.mask], dim=1))
    for event in (3, 4, 5):
        nodes = [vector.obj(px=p[0], py=p[1], pz=p[2], E=p[3]) for p in tree.momenta[event].tolist()]
        jet = nodes[SLOTS - 1 + int(tree.mask[event].sum())]
        for number in torch.cat([jets.mask[event], tree.mask[event]]).nonzero().flatten().tolist():
            node = nodes[number]
            expected = {
                "log m2/E2": math.log(max(node.mass2, 0) / node.E**2 + 1e-3),
                "y - y_jet": node.rapidity - jet.rapidity,
                "phi - phi_jet": node.deltaphi(jet),
                "log E": math.log(node.E),
                "log E/E_jet": math.log(node.E / jet.E),
                "log pT": math.log(node.pt),
                "theta": node.theta,
            }
            values = torch.tensor([expected[name] for name in NODE_FEATURES]).double()
            torch.testing.assert_close(found[event, number], values, rtol=1e-5, atol=1e-6)


def test_every_node_of_a_deep_tree_gets_a_gradient():
    jets = encoded()
    particles = jets.particles.clone().requires_grad_()
    network(tree="desc-pt", gating=True)(jets._replace(particles=particles)).square().sum().backward()
    assert particles.grad is not None
    assert torch.equal(particles.grad.abs().amax(-1) > 0, jets.mask)
