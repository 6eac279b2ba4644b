"""ParticleNet: sizes of the paper, and the edge convolution against loops over objects."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import vector

from femtobarn.inputs import Sizes, make_batch
from femtobarn.models import model_spec
from femtobarn.models.particlenet import EdgeConv, angular_distance2, build_graph, feature_distance2
from femtobarn.nn import BatchNorm, PackedRows, all_neighbours, nearest_neighbours
from tests.support.sample import make_events


@pytest.mark.parametrize(
    ("sizes", "name", "parameters"),
    [
        (Sizes(17, 0, 0, 10), "particlenet", 370_156),
        (Sizes(11, 0, 0, 2), "particlenet", 366_936),
        (Sizes(17, 0, 0, 10), "particlenet-lite", 28_428),
        (Sizes(11, 0, 0, 2), "particlenet-lite", 26_808),
    ],
)
def test_parameters_of_the_paper(sizes, name, parameters):
    assert sum(p.numel() for p in model_spec(name).build(sizes).parameters()) == parameters


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_mask() -> torch.Tensor:
    return torch.tensor(
        [[True] * 6, [True, False, True, True, False, False], [False, True, False, False, False, False]]
    )


def test_distances_are_vectors_own():
    events = make_events(20)
    batch = make_batch(events, 14, torch.float64)
    found = angular_distance2(batch.momenta, batch.mask)
    for number, particles in enumerate(events.particles):
        ordered = particles[np.argsort(-np.asarray(particles.pt), kind="stable")]
        objects = [vector.obj(pt=p.pt, eta=p.eta, phi=p.phi, mass=0) for p in ordered]
        expected = [[a.deltaR2(b) for b in objects] for a in objects]
        size = len(objects)
        torch.testing.assert_close(found[number, :size, :size], torch.tensor(expected, dtype=torch.float64))


def test_no_edge_is_special_to_the_detector():
    """Turning an event around the beam moves objects across phi = π; their neighbours stay."""
    batch = make_batch(make_events(20), 14, torch.float64)
    px, py, pz, energy = batch.momenta.unbind(-1)
    c, s = math.cos(2.5), math.sin(2.5)
    turned = torch.stack([c * px - s * py, s * px + c * py, pz, energy], -1)
    real = batch.mask[:, :, None] & batch.mask[:, None, :]
    before, after = (angular_distance2(momenta, batch.mask)[real] for momenta in (batch.momenta, turned))
    torch.testing.assert_close(after, before)


def test_feature_distances():
    x = random(2, 5, 3)
    torch.testing.assert_close(feature_distance2(x), torch.cdist(x, x) ** 2)


@pytest.mark.parametrize("k", [1, 2, 4, 5, 30])
def test_neighbours_against_sorting(k):
    mask, distance2 = some_mask(), random(3, 6, 6).abs()
    found = nearest_neighbours(distance2, mask, k)
    for event, i in mask.nonzero().tolist():
        others = [j for j in range(6) if j != i and mask[event, j]]
        expected = sorted(others, key=lambda j: distance2[event, i, j])[:k]
        assert set(found.slot[event, i][found.mask[event, i]].tolist()) == set(expected)
    assert not found.mask[~mask].any()


def test_all_others_are_the_nearest_when_there_are_few():
    mask = some_mask()
    every, few = all_neighbours(mask), nearest_neighbours(random(3, 6, 6).abs(), mask, 5)
    for event, i in mask.nonzero().tolist():
        assert set(every.slot[event, i][every.mask[event, i]].tolist()) == set(
            few.slot[event, i][few.mask[event, i]].tolist()
        )


@pytest.mark.parametrize("pairs", [0, 2])
@pytest.mark.parametrize("k", [2, 16])
@pytest.mark.parametrize("training", [True, False])
def test_edge_convolution_against_loops(k, pairs, training):
    torch.manual_seed(1)
    mask, x, features, distance2 = (
        some_mask(),
        random(3, 6, 4, seed=1),
        random(3, 6, 6, pairs, seed=2),
        random(3, 6, 6).abs(),
    )
    block: Any = EdgeConv(4, pairs, (5, 7)).double()
    norm: Any
    for seed, norm in enumerate(module for module in block.modules() if isinstance(module, BatchNorm)):
        norm.running_mean += 0.1 * random(norm.num_features, seed=seed)
        norm.weight.data += 0.1 * random(norm.num_features, seed=seed + 1)
    block.train(training)
    edges, owners = [], []
    for event, i in mask.nonzero().tolist():
        others = [j for j in range(6) if j != i and mask[event, j]]
        for j in sorted(others, key=lambda j: distance2[event, i, j])[:k]:
            edges.append(torch.cat([x[event, i], x[event, j] - x[event, i], features[event, i, j]]))
            owners.append((event, i))

    def normed(norm: Any, rows: torch.Tensor) -> Any:
        mean, variance = (
            (rows.mean(0), rows.var(0, unbiased=False)) if training else (norm.running_mean, norm.running_var)
        )
        return (rows - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias

    # the expectation first: batch norm changes its running statistics when it is used
    _, linear, norm, _ = block.rest
    hidden = normed(block.first_norm, torch.stack(edges) @ block.first.weight.T).relu()
    hidden = normed(norm, hidden @ linear.weight.T).relu()
    means = torch.stack(
        [
            torch.stack(
                [row for row, owner in zip(hidden, owners, strict=True) if owner == (event, i)] or [torch.zeros(7)]
            )
            .mean(0)
            .double()
            for event, i in mask.nonzero().tolist()
        ]
    )
    rows = PackedRows(mask)
    expected = (normed(block.shortcut_norm, rows.pack(x) @ block.shortcut.weight.T) + means).relu()
    graph = build_graph(distance2, rows, k, features)
    assert graph.complete is (k == 16)
    torch.testing.assert_close(block(rows.pack(x), graph), expected)
