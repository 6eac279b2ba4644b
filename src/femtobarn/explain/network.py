"""Explanation of a network: gradients, relevance, attention and U, averaged over events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from femtobarn.explain.attention import attention
from femtobarn.explain.gradients import LogOdds, gradient_times_input, slopes
from femtobarn.explain.relevance import GAMMA, propagate
from femtobarn.explain.tally import TYPES, Tally, by_feature, by_object, plain, types
from femtobarn.inputs import INTERACTIONS, Batch, batches
from femtobarn.inputs.object_features import CONTEXT_FEATURES, PARTICLES
from femtobarn.models import CNN, Network

#: Events that are explained at once; the attention of all heads and layers is in memory for them.
CHUNK = 256

#: Called with the step and the number of events done.
Progress = Callable[[str, int], None]


def explain_network(
    network: Network, log_odds: LogOdds, batch: Batch, tally: Tally, progress: Progress
) -> dict[str, Any]:
    """Attributions, attention and pair bias of a network, as in `explain.json`.

    Args:
        network: trained, on the processor.
        log_odds: gives the log odds that are explained.
        batch: events.
        tally: of the same events.
        progress: called with the step and the number of events done.

    Returns:
        `gradient` for every network with features (some networks use the momenta alone), `relevance` for the
        convolutional one, `attention` and `bias` where there are any.
    """
    network = network.eval()
    explanation: dict[str, Any] = {}
    gradient = _gradient(network, log_odds, batch, tally, progress)
    if gradient is not None:
        explanation["gradient"] = gradient
    if isinstance(network.architecture, CNN):
        explanation["relevance"] = _relevance(network, log_odds, batch, tally, progress)
    return explanation | _attention(network, batch, tally, progress)


def _gradient(
    network: Network, log_odds: LogOdds, batch: Batch, tally: Tally, progress: Progress
) -> dict[str, Any] | None:
    slots = batch.mask.shape[1]
    objects, pairs, context = [], [], []
    for chunk in _chunks(batch, "gradient x input", progress):
        attribution = gradient_times_input(network, log_odds, chunk)
        missing = slots - attribution.objects.shape[1]
        objects.append(pad(attribution.objects, (0, 0, 0, missing)))
        once = 2 * attribution.pairs * torch.ones(attribution.pairs.shape[1:3]).triu(1)[..., None]
        pairs.append(pad(once, (0, 0, 0, missing, 0, missing)))
        context.append(attribution.context)
    of_objects, of_pairs, of_context = (torch.cat(part) for part in (objects, pairs, context))
    if not any(part.any() for part in (of_objects, of_pairs, of_context)):
        return None
    parts = {
        "object": (PARTICLES, of_objects),
        "pair": (network.inputs.interactions, of_pairs),
        "context": (CONTEXT_FEATURES, of_context),
    }
    return by_object(tally, of_objects.sum(2), batch.kind, batch.mask) | {"feature": by_feature(tally, parts)}


def _relevance(network: Network, log_odds: LogOdds, batch: Batch, tally: Tally, progress: Progress) -> dict[str, Any]:
    slots = batch.mask.shape[1]
    objects, context, scalars = [], [], []
    lost = 0.0
    for chunk in _chunks(batch, "relevance", progress):
        relevance = propagate(network, chunk, partial(slopes, log_odds))
        objects.append(pad(relevance.objects, (0, 0, 0, slots - relevance.objects.shape[1])))
        context.append(relevance.context)
        scalars.append(torch.stack([relevance.bias, relevance.explained], dim=1))
        lost = max(lost, relevance.lost)
    of_objects, of_context = torch.cat(objects), torch.cat(context)
    flat = torch.cat(scalars).numpy()
    absolute = np.abs(flat[:, 1])
    parts = {"object": (PARTICLES, of_objects), "context": (CONTEXT_FEATURES, of_context)}
    return {
        "gamma": GAMMA,
        "lost": lost,
        **by_object(tally, of_objects.sum(2), batch.kind, batch.mask),
        "feature": by_feature(tally, parts),
        "sums": tally.entries(
            ("objects", "context", "constants", "explained"),
            sums := np.stack([of_objects.sum((1, 2)).numpy(), of_context.sum(1).numpy(), *flat.T], axis=1),
            np.abs(sums),
            np.ones_like(sums),
            absolute,
        ),
    }


def _attention(network: Network, batch: Batch, tally: Tally, progress: Progress) -> dict[str, Any]:
    """Attention in units of what looking at all objects alike would give, and U, by pairs of types."""
    mean_weights, biases, itself, readout, couplings = [], [], [], [], []
    layers: list[Tensor] = []
    names = [name for name in network.inputs.interactions if name.startswith("sm_")]
    for chunk in _chunks(batch, "attention", progress):
        weights = attention(network, chunk)
        if weights is None:
            return {}
        slots = weights.objects.shape[-1]
        flags = types(chunk.kind, chunk.mask)[:, :slots].double()
        number = chunk.mask.sum(1).double()
        others = 1 - torch.eye(slots, dtype=torch.float64)
        by_type = torch.einsum("nlij,nia,njb->nlab", weights.objects.double() * others, flags, flags)
        layers.append(by_type * number[:, None, None, None])
        own = weights.objects.double().mean(1).diagonal(dim1=1, dim2=2) if weights.objects.shape[1] else None
        if own is not None:
            itself.append(torch.einsum("ni,nia->na", own, flags) * number[:, None])
        if weights.readout.shape[1]:
            readout.append(torch.einsum("ni,nia->na", weights.readout.double().mean((1, 2)), flags) * number[:, None])
        biases.append(torch.einsum("nhij,nia,njb->nhab", weights.bias.double() * others, flags, flags))
        matrices = [INTERACTIONS[name].value(chunk)[:, :slots, :slots].double() for name in names]
        stacked = torch.stack(matrices, dim=1) if matrices else weights.bias.double()[:, :0]
        couplings.append(torch.einsum("nmij,nia,njb->nmab", stacked, flags, flags))
        mean_weights.append(torch.einsum("ij,nia,njb->nab", others, flags, flags))
    pairs, counts = torch.cat(mean_weights).numpy(), types(batch.kind, batch.mask).sum(1).double().numpy()
    result: dict[str, Any] = {"attention": {"types": TYPES}}
    by_layer = torch.cat(layers).numpy()
    if by_layer.shape[1]:
        result["attention"]["objects"] = tally.matrices(by_layer.mean(1), pairs)
        result["attention"]["layers"] = [
            {group: entry["values"] for group, entry in tally.matrices(by_layer[:, layer], pairs).items()}
            for layer in range(by_layer.shape[1])
        ]
        result["attention"]["itself"] = _vectors(tally, torch.cat(itself).numpy(), counts)
    if readout:
        result["attention"]["readout"] = _vectors(tally, torch.cat(readout).numpy(), counts)
    bias, coupling = torch.cat(biases).numpy(), torch.cat(couplings).numpy()
    if bias.shape[1]:
        result["bias"] = {
            "types": TYPES,
            "mean": tally.matrices(bias.mean(1), pairs),
            "heads": [
                {group: entry["values"] for group, entry in tally.matrices(bias[:, head], pairs).items()}
                for head in range(bias.shape[1])
            ],
            "couplings": {name: tally.matrices(coupling[:, number], pairs) for number, name in enumerate(names)},
        }
    return result


def _vectors(tally: Tally, above: Any, below: Any) -> dict[str, Any]:
    means = {}
    for group, chosen in tally.groups.items():
        values, errors = tally.ratio(chosen, above, below)
        means[group] = {
            name: {"mean": plain(value), "error": plain(error)}
            for name, value, error in zip(TYPES, values, errors, strict=True)
        }
    return means


def _chunks(batch: Batch, step: str, progress: Progress) -> Iterator[Batch]:
    for number, (chunk, _) in enumerate(batches(batch, (), CHUNK)):
        progress(step, number * CHUNK)
        yield chunk
