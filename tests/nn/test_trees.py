"""Trees grown in torch: against FastJet and the numpy clustering, chains and random trees by their definition."""

from __future__ import annotations

import math
from collections import Counter
from typing import get_args

import awkward as ak
import numpy as np
import pytest
import torch
from torch import Tensor

from femtobarn.nn import ClusterTree, cluster
from femtobarn.nn.trees import TreeAlgorithm
from femtobarn.physics import clustering, lorentz
from femtobarn.physics.clustering import Algorithm
from tests.support.jets import make_jets, massless, prongs

SHAPES = get_args(TreeAlgorithm)
NAMES = get_args(Algorithm)


def jets(count: int = 60, most: int = 40, seed: int = 1, fewest: int = 0) -> tuple[Tensor, Tensor]:
    momenta, mask = make_jets(count, max_particles=most, seed=seed, fewest=fewest)
    return torch.from_numpy(momenta), torch.from_numpy(mask)


def members(tree: ClusterTree, event: int) -> list[frozenset[int]]:
    """The objects below each merging of an event."""
    slots = tree.momenta.shape[1] - tree.left.shape[1]
    sets = [frozenset([slot]) for slot in range(slots)]
    for left, right, real in zip(tree.left[event], tree.right[event], tree.mask[event], strict=True):
        sets.append(sets[left] | sets[right] if real else frozenset())
    return [one for one in sets[slots:] if one]


@pytest.mark.parametrize("shape", NAMES)
def test_mergings_are_those_of_fastjet(shape):
    fastjet = pytest.importorskip("fastjet")
    momenta, mask = jets(fewest=1)
    tree = cluster(momenta, mask, shape)
    name = {"kt": "kt_algorithm", "cambridge_aachen": "cambridge_algorithm", "antikt": "antikt_algorithm"}[shape]
    counts = mask.sum(1).tolist()
    flat = dict(zip(("px", "py", "pz", "E"), momenta[mask].numpy().T, strict=True))
    ragged = ak.unflatten(ak.zip(flat, with_name="Momentum4D"), counts)
    theirs = fastjet.ClusterSequence(ragged, fastjet.JetDefinition(getattr(fastjet, name), 100.0)).jets()
    for jet, count in enumerate(counts):
        made = np.stack([ak.to_numpy(theirs[jet][component]) for component in flat], axis=-1)[count : 2 * count - 1]
        np.testing.assert_allclose(tree.momenta[jet, 40 : 39 + count].numpy(), made, rtol=1e-9, atol=1e-9)
        assert tree.mask[jet].tolist() == [number < count - 1 for number in range(39)]


@pytest.mark.parametrize("shape", NAMES)
def test_trees_are_those_of_numpy(shape):
    """Node by node; two mergings that have nothing to do with each other may change places in a tie."""
    momenta, mask = jets(seed=2)
    mine, other = cluster(momenta, mask, shape), clustering.cluster(momenta.numpy(), mask.numpy(), shape)
    first, second = (torch.from_numpy(nodes) for nodes in (other.first, other.second))
    theirs = ClusterTree(first, second, first >= 0, torch.from_numpy(other.momenta))
    for jet in range(60):
        assert set(members(mine, jet)) == set(members(theirs, jet))


@pytest.mark.parametrize("shape", NAMES)
def test_left_is_the_harder(shape):
    momenta, mask = jets(seed=3)
    tree = cluster(momenta, mask, shape)
    pt = lorentz.pt(tree.momenta)
    assert (pt.gather(1, tree.left) > pt.gather(1, tree.right))[tree.mask].all()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_tree_is_one(shape):
    """Each node but the root is the child of one other, and every momentum is the sum of the objects below."""
    momenta, mask = jets(seed=4)
    tree = cluster(momenta, mask, shape)
    roots = tree.root(mask)
    for event, count in enumerate(mask.sum(1).tolist()):
        real = tree.mask[event]
        assert int(real.sum()) == max(count - 1, 0)
        nodes = [*range(count), *range(40, 39 + count)]
        children = Counter(torch.cat([tree.left[event][real], tree.right[event][real]]).tolist())
        if count:
            assert children == Counter(set(nodes) - {int(roots[event])})
        for number, below in enumerate(members(tree, event)):
            total = momenta[event, sorted(below)].sum(0)
            torch.testing.assert_close(tree.momenta[event, 40 + number], total, rtol=1e-9, atol=1e-9)
    assert not tree.momenta[~torch.cat([mask, tree.mask], 1)].any()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_order_of_the_objects_changes_nothing(shape):
    momenta, mask = jets(seed=5)
    order = torch.rand(mask.shape, generator=torch.Generator().manual_seed(3)).argsort(1)
    mixed = cluster(momenta.gather(1, order[..., None].expand_as(momenta)), mask.gather(1, order), shape)
    tree = cluster(momenta, mask, shape)
    leaf = torch.cat([order, torch.arange(40, 79).expand(60, -1)], dim=1)
    for mine, other in ((tree.left, mixed.left), (tree.right, mixed.right)):
        assert torch.equal(mine[tree.mask], leaf.gather(1, other)[tree.mask])


@pytest.mark.parametrize(("shape", "first"), [("desc-pt", [3, 0]), ("asc-pt", [2, 1])])
def test_chains_take_one_object_after_the_other(shape, first):
    """By hand: pT of 2, 20, 10 and 1."""
    momenta, mask = prongs((2, 0, 0), (20, 1, 1), (10, 2, 2), (1, 3, 3))
    tree = cluster(torch.from_numpy(momenta), torch.from_numpy(mask), shape)
    rest = [2, 1] if shape == "desc-pt" else [0, 3]
    right = [first[0] if shape == "desc-pt" else first[1], 4, 5]
    left = [first[1] if shape == "desc-pt" else first[0], *rest]
    assert tree.left[0].tolist() == left
    assert tree.right[0].tolist() == right


def test_random_trees_merge_any_two():
    """The first merging of five objects is each of the ten pairs as often, and the second is as random."""
    momenta, mask = jets(4000, most=5, fewest=5)
    tree = cluster(1000 * momenta, mask, "random")  # so hard that no two have the same sum of pT
    rank = (-lorentz.pt(momenta)).argsort(1).argsort(1)
    pairs = Counter(
        tuple(sorted(rank[event, [left, right]].tolist()))
        for event, (left, right) in enumerate(zip(tree.left[:, 0], tree.right[:, 0], strict=True))
    )
    assert len(pairs) == 10
    assert sum((count - 400) ** 2 / 400 for count in pairs.values()) < 27.9  # 9 degrees of freedom: 0.1 %
    again = ((tree.left == 5) | (tree.right == 5))[:, 1].double().mean()  # of six pairs three hold what was made
    assert abs(again - 0.5) < 4 * math.sqrt(0.25 / 4000)


@pytest.mark.parametrize("shape", SHAPES)
def test_rounding_decides_nothing(shape):
    """Objects of a few pT on a grid, where most distances are equal."""
    rng = np.random.default_rng(0)
    eta, phi = (0.1 * rng.integers(0, 8, (50, 20)).astype(np.float64) for _ in range(2))
    pt = np.sort(rng.integers(1, 60, (50, 20)).astype(np.float64), axis=1)[:, ::-1] + 0.5
    momenta = torch.from_numpy(massless(pt, eta, phi + 1.0))
    mask = torch.ones(50, 20, dtype=torch.bool)
    tree = cluster(momenta, mask, shape)
    noise = 1 + 1e-10 * torch.randn(momenta.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for other in (cluster(momenta * noise, mask, shape), cluster(momenta.flip(0), mask, shape)):
        left, right = (x.flip(0) if other.momenta[0, 0, 0] == momenta[-1, 0, 0] else x for x in other[:2])
        assert torch.equal(left, tree.left)
        assert torch.equal(right, tree.right)


@pytest.mark.parametrize("shape", SHAPES)
def test_groups_and_graphs_are_the_same_tree(shape, monkeypatch):
    """A few events at a time, all at once, and as a graph does it, which knows no numbers of objects."""
    momenta, mask = jets(30, 24, seed=6)
    whole = cluster(momenta, mask, shape)
    pieces = cluster(momenta, mask, shape, chunk_distances=1000)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    graph = cluster(momenta, mask, shape)
    for tree in (pieces, graph):
        for name in ClusterTree._fields:
            torch.testing.assert_close(getattr(tree, name), getattr(whole, name), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("slots", [0, 1, 2])
@pytest.mark.parametrize("shape", ["kt", "desc-pt"])
def test_hardly_any_objects_are_a_tree(slots, shape):
    momenta = torch.tensor([1.0, 2.0, 3.0, 5.0]).expand(3, slots, 4)
    mask = torch.arange(slots) < torch.arange(3)[:, None]
    tree = cluster(momenta, mask, shape)
    assert tree.left.shape == (3, max(slots - 1, 0))
    assert tree.mask.sum() == (slots == 2)
    assert cluster(momenta[:0], mask[:0], shape).momenta.shape == (0, max(2 * slots - 1, 0), 4)
