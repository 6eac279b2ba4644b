"""Inputs: the first layer of every network, from raw objects to standardised features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from femtobarn.inputs.batch import Batch
from femtobarn.inputs.constituents import OBJECTS
from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.inputs.feature_sets import check_feature_set
from femtobarn.inputs.interactions import INTERACTIONS, check, own_features, pair_features
from femtobarn.inputs.loader import batches
from femtobarn.inputs.object_features import context_features, missing
from femtobarn.physics import lorentz, pairwise
from femtobarn.physics.objects import PADDING, PARTICLE

#: Random transformations of training events.
Augmentation = Literal["none", "lorentz"]

#: Logarithms of an event stand first and are standardised; cosines are of order 1 as they are.
LOGARITHMIC = 1

#: Pairs, padding included, whose features are in memory at once while fitting: 2048 events with 32 slots.
CHUNK_PAIRS = 2048 * 32**2

#: Largest number of events of a chunk.
CHUNK_EVENTS = 2048


class Inputs(nn.Module):
    """Objects in, features out: logarithms, type flags, pairwise features, all standardised.

    A network has this as its first layer, so its file holds the whole function from objects to score. The means and
    standard deviations are buffers, fitted once on training events with `fit`; before that they are 0 and 1.

    An object's features are those of its set (`femtobarn.inputs.feature_sets`). Azimuths stay raw: the detector is
    round, so no zero of phi is better than another, and differences of phi are in the pairwise features and the
    momenta, which every model gets as well.
    Events of collisions have features of their own, from MET; jets and points of phase space have none.

    Args:
        interactions: names from `INTERACTIONS`, one pair feature each, in this order.
        features: name of a set of features (`femtobarn.inputs.feature_sets`).
        slots: most particles of an event, for networks with a place for each.
        self_pairs: an object and itself are a pair too, on the diagonal of the pair features, which is 0 otherwise.
        augmentation: `lorentz` applies one random Lorentz transformation to each event in training, a rotation and a
            boost; `none` leaves events as they are. Evaluation is never augmented.

    Raises:
        ValueError: an unknown or repeated interaction or set of features, or couplings of constituents.
    """

    particle_mean: Tensor
    particle_std: Tensor
    pair_mean: Tensor
    pair_std: Tensor
    context_mean: Tensor
    context_std: Tensor
    interaction_names: Tensor

    def __init__(
        self,
        interactions: Sequence[str] = (),
        features: str = OBJECTS,
        *,
        slots: int = 18,
        self_pairs: bool = False,
        augmentation: Augmentation = "none",
    ) -> None:
        super().__init__()
        self.slots, self.self_pairs, self.augmentation = slots, self_pairs, augmentation
        self.interactions = check(interactions)
        self.features = features
        self.feature_set = check_feature_set(features, interactions)
        self.particles = self.feature_set.particles
        self.context = self.feature_set.context
        for name, width in zip(("particle", "pair", "context"), self.sizes(0)[:3], strict=True):
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_std", torch.ones(width))
        # bytes, because safetensors holds nothing but tensors
        self.register_buffer("interaction_names", _text(self.interactions))

    def sizes(self, outputs: int) -> Sizes:
        """The widths an architecture behind this layer must take, with the outputs its task asks for."""
        return Sizes(
            particles=len(self.particles),
            pairs=len(self.interactions),
            context=len(self.context),
            outputs=outputs,
            scalars=self.feature_set.scalars,
            vectors=1 if self.context else 0,
            features=self.features,
            slots=self.slots,
        )

    def forward(self, batch: Batch) -> Features:
        """Features in the precision of the buffers, momenta in their own; what padded slots hold changes nothing."""
        batch = clean(batch)
        if self.training and self.augmentation == "lorentz":
            transformation = lorentz.random_transformations(batch.momenta.shape[0], batch.momenta)
            batch = batch.replace(momenta=batch.momenta @ transformation.transpose(1, 2))
        dtype = self.particle_mean.dtype
        particles = self.feature_set.compute(batch).to(dtype)
        particles = standardize(particles, self.particle_mean, self.particle_std)
        return Features(
            particles=torch.where(batch.mask[..., None], particles, 0.0),
            pairs=self._pairs(batch, dtype),
            context=standardize(self._context(batch).to(dtype), self.context_mean, self.context_std),
            mask=batch.mask,
            momenta=batch.momenta,
            # without types among the features, `kind` contains none either
            kind=batch.kind if self.feature_set.has_types else torch.where(batch.mask, PARTICLE, batch.kind),
            vectors=missing(batch) if self.context else batch.momenta[:, :0],
        )

    def _context(self, batch: Batch) -> Float[Tensor, "batch event_features"]:
        return context_features(batch) if self.context else batch.context[:, :0]

    def _pairs(self, batch: Batch, dtype: torch.dtype) -> Float[Tensor, "batch particles particles pair_features"]:
        if not self.interactions:
            return batch.momenta.new_zeros(*batch.mask.shape, batch.mask.shape[1], 0, dtype=dtype)
        real = pairwise.pairs(batch.mask)
        # one feature at a time: arithmetic on a last axis as short as this is several times slower
        features = [
            torch.where(real, standardize(feature.to(dtype), mean, std), 0.0)
            for feature, mean, std in zip(
                pair_features(batch, self.interactions), self.pair_mean, self.pair_std, strict=True
            )
        ]
        pairs = torch.stack(features, dim=-1)
        return self._with_own(pairs, batch) if self.self_pairs else pairs

    def _with_own(self, pairs: Tensor, batch: Batch) -> Tensor:
        own = torch.stack(own_features(batch, self.interactions), dim=-1).to(pairs.dtype)
        same = (
            torch.eye(pairs.shape[1], dtype=torch.bool, device=pairs.device)[..., None] & batch.mask[:, :, None, None]
        )
        return torch.where(same, standardize(own, self.pair_mean, self.pair_std)[:, :, None], pairs)

    @torch.no_grad()
    def fit(
        self,
        batch: Batch,
        weight: Float[Tensor, " batch"] | None = None,
        *,
        chunk_events: int = CHUNK_EVENTS,
        chunk_pairs: int = CHUNK_PAIRS,
    ) -> Inputs:
        """Take means and standard deviations from training events, and give back this layer.

        Only real objects and pairs count, each with its event's weight (its magnitude, where generators give negative
        ones). Events go through in chunks, so memory does not grow with their number.

        Args:
            batch: training events, and no others.
            weight: one number per event; default: equal weights.
            chunk_events: largest number of events in memory at once; does not change the result.
            chunk_pairs: largest number of pairs in memory at once; does not change the result.

        Raises:
            ValueError: no events, or as many weights as there are not events, or weights that are all 0.
        """
        weight = torch.ones(len(batch), device=batch.mask.device) if weight is None else weight.detach().abs()
        if len(weight) != len(batch):
            raise ValueError(f"{len(weight)} weights for {len(batch)} events")
        if not float(weight.sum()) > 0:
            raise ValueError(f"nothing to fit on: {len(batch)} events with weights that sum to {float(weight.sum())}")
        particle, pair, context = (Moments(size) for size in self.sizes(0)[:3])
        slots = batch.mask.shape[1]
        size = max(min(chunk_events, chunk_pairs // max(slots, 1) ** 2), 1)
        for chunk, (share,) in batches(batch, (weight,), size):
            chunk, share = clean(chunk), share.double()
            real = pairwise.pairs(chunk.mask)
            particle.add(self.feature_set.compute(chunk), share[:, None] * chunk.mask)
            if self.interactions:
                pair.add(torch.stack(pair_features(chunk, self.interactions), -1), share[:, None, None] * real)
            context.add(self._context(chunk), share)
        kinematic = [INTERACTIONS[name].logarithmic for name in self.interactions]
        # the other features are of order 1 as they are
        first = self.feature_set.n_standardized
        if self.feature_set.is_common_scale:
            self.particle_std[:first] = particle.mean_square[:first].mean().sqrt()
        else:
            self._keep("particle", particle, [column < first for column in range(len(self.particles))])
        self._keep("pair", pair, kinematic)
        self._keep("context", context, [column < LOGARITHMIC for column in range(len(self.context))])
        return self

    def extra_repr(self) -> str:
        text = f"interactions=[{', '.join(self.interactions)}], features={self.features}"
        return text if self.augmentation == "none" else f"{text}, augmentation={self.augmentation}"

    def _keep(self, name: str, moments: Moments, chosen: Sequence[bool]) -> None:
        where = torch.tensor(chosen, dtype=torch.bool)
        mean, std = moments.mean.cpu(), moments.std.cpu()
        getattr(self, f"{name}_mean").copy_(torch.where(where, mean, 0.0))
        getattr(self, f"{name}_std").copy_(torch.where(where, std, 1.0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        saved = state_dict.get(f"{prefix}interaction_names")
        if saved is not None and not torch.equal(saved.cpu(), self.interaction_names.cpu()):
            names = bytes(saved.tolist()).decode() or "none"
            raise ValueError(f"weights for the interactions {names}, not for {', '.join(self.interactions) or 'none'}")
        mean = state_dict.get(f"{prefix}particle_mean")
        if mean is not None and len(mean) != len(self.particles):
            raise ValueError(f"weights for {len(mean)} features of each particle, not for {len(self.particles)}")
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Moments:
    """Weighted mean and standard deviation of features that arrive in pieces, in float64."""

    def __init__(self, width: int) -> None:
        self.total = torch.zeros(3, width, dtype=torch.float64)

    def add(self, features: Tensor, weight: Tensor) -> None:
        """Count features (..., width) with the weights (...)."""
        real = weight > 0
        flat, share = features[real].double(), weight[real].double()
        counted = torch.stack([share.sum().expand(flat.shape[1]), share @ flat, share @ flat.square()])
        self.total = self.total.to(counted.device) + counted

    @property
    def mean(self) -> Tensor:
        """The mean, 0 where nothing was counted."""
        return self.total[1] / torch.where(self.total[0] > 0, self.total[0], 1.0)

    @property
    def mean_square(self) -> Tensor:
        """The mean of the squares, 1 where nothing was counted or all is 0."""
        mean_square = self.total[2] / torch.where(self.total[0] > 0, self.total[0], 1.0)
        return torch.where(mean_square > 0, mean_square, 1.0)

    @property
    def std(self) -> Tensor:
        """The standard deviation, 1 where the feature does not vary."""
        scale = torch.where(self.total[0] > 0, self.total[0], 1.0)
        variance = self.total[2] / scale - self.mean.square()
        return torch.where(variance > FLAT * (1 + self.mean.square()), variance, 1.0).sqrt()


#: Relative variance below which a feature counts as constant: rounding alone makes 1e-16 of it.
FLAT = 1e-10


def clean(batch: Batch) -> Batch:
    """The batch with zeros in padded slots, whatever stood there."""
    has_tracks = batch.tracks.shape[-1] > 0
    return batch.replace(
        momenta=torch.where(batch.mask[..., None], batch.momenta, 0.0),
        kind=torch.where(batch.mask, batch.kind, PADDING),
        tracks=torch.where(batch.mask[..., None], batch.tracks, 0.0) if has_tracks else batch.tracks,
    )


def standardize(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Features with the mean taken off, in units of the standard deviation."""
    return (features - mean) / std


def _text(names: Sequence[str]) -> Tensor:
    return torch.tensor(list(",".join(names).encode()), dtype=torch.uint8)
