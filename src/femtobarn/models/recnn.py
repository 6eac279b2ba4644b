"""Recursive network over the clustering tree of a jet or an event.

Louppe, Cho, Becot and Cranmer, *QCD-Aware Recursive Neural Networks for Jet Physics*, arXiv:1702.00748.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BeforeValidator, Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import BatchNorm, ClusterTree, Linear, PackedRows, cluster, mlp_head, scan
from femtobarn.nn.scan import Tensors
from femtobarn.nn.trees import TreeAlgorithm
from femtobarn.physics import angles, lorentz

#: Features of the momentum of a node.
NODE_FEATURES = ("log m2/E2", "y - y_jet", "phi - phi_jet", "log E", "log E/E_jet", "log pT", "theta")

#: GeV; smaller energies and momenta count as this in logarithms.
MIN_ENERGY = 1e-5

#: Added to (m/E)² before the logarithm; float32 momenta do not resolve much smaller values.
MASS_RATIO2_OFFSET = 1e-3

#: Present name of an algorithm by its former one, which is still read.
FORMER_ALGORITHMS = {"ca": "cambridge_aachen", "anti-kt": "antikt"}


def _present_name(algorithm: Any) -> Any:
    return FORMER_ALGORITHMS.get(algorithm, algorithm) if isinstance(algorithm, str) else algorithm


@model("recnn", family="sequences and images", pairs=False, small={"width": 16, "fc": (16,), "dropout": 0.0})
class RecNN(nn.Module):
    r"""Recursive neural network (RecNN): the state of each node of a binary tree is computed from its two children.

    .. math::
        u_k = \mathrm{ReLU}(W_u\, g(o_k) + b_u), \quad h_k = u_k \text{ for a particle, else }
        \mathrm{ReLU}(W_h [h_{k_L}, h_{k_R}, u_k] + b_h)

    where o_k is the momentum of the node, the sum of the momenta of its particles, and g are the features
    `NODE_FEATURES` with a batch norm. They are those of the paper, with the mass in place of abs(p) and the rapidity in
    place of the pseudorapidity. Rapidity and azimuth are relative to the jet (the sum of all particles), as the paper
    rotates its jets. The features of a particle (types and tracks included) are concatenated with g at the leaves, and
    are 0 at other nodes. The state of the root, and MET and its direction, go through the last layers.

    The tree is made inside the network from the momenta. An empty event has state 0 at the root. The defaults are the
    widths of the paper.

    Args:
        sizes: widths of the inputs and outputs; pairwise features are not used.
        tree: clustering algorithm `kt`, `antikt` or `cambridge_aachen`; chains `desc-pt` and `asc-pt`, which end with
            the hardest or softest particle; or `random`, a tree without physics (`femtobarn.nn.trees.cluster`).
        gating: weight children and u by gates (`GatedMerge`).
        width: width of u and h.
        fc: widths of the fully connected layers before the last.
        dropout: dropout probability after each layer of `fc`.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        tree: Annotated[TreeAlgorithm, BeforeValidator(_present_name)] = "kt",
        gating: bool = True,
        width: PositiveInt = 40,
        fc: tuple[PositiveInt, ...] = (40, 40),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.tree: TreeAlgorithm = tree
        self.norm = BatchNorm(len(NODE_FEATURES))
        self.embed = Linear(len(NODE_FEATURES) + sizes.particles, width)
        self.merge = GatedMerge(width) if gating else PlainMerge(width)
        self.fc = mlp_head(width + sizes.context, fc, sizes.outputs, dropout)

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        return self.fc

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.fc(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """State of the root, and the features of the event."""
        mask, particles = features.mask, features.particles
        tree = cluster(features.momenta, mask, self.tree)
        rows = PackedRows(torch.cat([mask, tree.mask], dim=1))
        g = self.norm(rows.pack(node_features(tree, rows.mask).to(particles.dtype)))
        leaf = rows.pack(nn.functional.pad(particles, (0, 0, 0, tree.mask.shape[1])))
        u = torch.relu(self.embed(torch.cat([g, leaf], dim=-1)))
        root = self._merge_by_scan(u, tree, rows) if rows.index is None else self._merge_by_level(u, tree, rows)
        return torch.cat([root, features.context], dim=-1)

    def _merge_by_level(
        self, u: Float[Tensor, "rows width"], tree: ClusterTree, rows: PackedRows
    ) -> Float[Tensor, "batch width"]:
        """State h of the roots, all nodes of a level of all events at a time."""
        plan = level_order(tree, rows)
        h, *above = torch.split(u.index_select(0, plan.order), plan.sizes)
        unused, *levels = torch.split(torch.arange(len(plan.order), device=u.device), plan.sizes)
        position = torch.empty_like(plan.order)
        for level, (nodes, node_u) in enumerate(zip(levels, above, strict=True), start=1):
            kept = unused[plan.parent_level[unused] > level]
            position[unused] = torch.arange(len(unused), device=u.device)
            selected = position[torch.cat([plan.left[nodes], plan.right[nodes], kept])]
            left, right, rest = torch.split(h.index_select(0, selected), [len(nodes), len(nodes), len(kept)])
            h, unused = torch.cat([self.merge(left, right, node_u), rest]), torch.cat([nodes, kept])
        return u.new_zeros(len(rows.mask), u.shape[1]).index_copy(0, plan.event[unused], h)

    def _merge_by_scan(
        self, u: Float[Tensor, "rows width"], tree: ClusterTree, rows: PackedRows
    ) -> Float[Tensor, "batch width"]:
        """State h of the roots, one merging slot of every event at a time, because a graph needs fixed shapes."""
        h, slots = rows.unpack(u), rows.mask.shape[1] - tree.left.shape[1]
        mask = rows.mask[:, :slots]
        if tree.left.shape[1]:
            names, weights = zip(*self.merge.named_parameters(), strict=True)

            def step(state: Tensors, inputs: Tensors, constants: Tensors) -> tuple[Tensors, Tensors]:
                (h,), (left, right, node_u, is_node) = state, inputs
                children = (h.gather(1, i[:, None, None].expand(-1, 1, h.shape[-1]))[:, 0] for i in (left, right))
                parameters = dict(zip(names, constants, strict=True))
                merged = torch.func.functional_call(self.merge, parameters, (*children, node_u))
                return (torch.where(is_node[:, None], merged[:, None], h),), (merged,)

            is_node = torch.eye(rows.mask.shape[1], dtype=torch.bool, device=u.device)[slots:]
            inputs = (tree.left.t(), tree.right.t(), h[:, slots:].transpose(0, 1), is_node)
            (h,), _ = scan(step, (h,), inputs, weights)
        root = h.gather(1, tree.root(mask)[:, None, None].expand(-1, 1, h.shape[-1]))[:, 0]
        return root.masked_fill(~mask.any(1, keepdim=True), 0.0)


class PlainMerge(nn.Module):
    r"""State h of a node from the states of its children, :math:`\mathrm{ReLU}(W_h [h_L, h_R, u] + b_h)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.activate = orthogonal(3 * width, width)

    def forward(
        self, left: Float[Tensor, "nodes width"], right: Float[Tensor, "nodes width"], u: Float[Tensor, "nodes width"]
    ) -> Float[Tensor, "nodes width"]:
        return torch.relu(self.activate(torch.cat([left, right, u], dim=-1)))


class GatedMerge(nn.Module):
    r"""State h of a node with gates (appendix of the paper).

    .. math::
        r &= \mathrm{sigmoid}(W_r [h_L, h_R, u] + b_r) \\
        \tilde h &= \mathrm{ReLU}(W_h [r_L h_L, r_R h_R, r_N u] + b_h) \\
        z &= \mathrm{softmax}(W_z [\tilde h, h_L, h_R, u] + b_z) \\
        h &= z_H \tilde h + z_L h_L + z_R h_R + z_N u

    The softmax is over the four parts, separately for each feature.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reset = Linear(3 * width, 3 * width)
        self.activate = orthogonal(3 * width, width)
        self.update = Linear(4 * width, 4 * width)

    def forward(
        self, left: Float[Tensor, "nodes width"], right: Float[Tensor, "nodes width"], u: Float[Tensor, "nodes width"]
    ) -> Float[Tensor, "nodes width"]:
        inputs = torch.cat([left, right, u], dim=-1)
        candidate = torch.relu(self.activate(torch.sigmoid(self.reset(inputs)) * inputs))
        parts = torch.cat([candidate, inputs], dim=-1)
        weights = torch.stack(self.update(parts).chunk(4, dim=-1)).softmax(0)
        return (weights * torch.stack(parts.chunk(4, dim=-1))).sum(0)


def orthogonal(inputs: int, outputs: int) -> nn.Linear:
    """Layer that, followed by a ReLU, preserves the variance over any number of levels."""
    layer = Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu"))
    nn.init.zeros_(layer.bias)
    return layer


def node_features(tree: ClusterTree, mask: Bool[Tensor, "batch nodes"]) -> Float[Tensor, "batch nodes features"]:
    """`NODE_FEATURES` of every node; arbitrary finite numbers where the mask is False."""
    jet = tree.momenta[:, : mask.shape[1] - tree.left.shape[1]].sum(1, keepdim=True)
    unit = tree.momenta.new_tensor([1.0, 0.0, 0.0, 1.0])
    jet = torch.where(mask.any(1)[:, None, None], jet, unit)
    momenta = torch.where(mask[..., None], tree.momenta, unit)
    energy, pt = momenta[..., 3].clamp_min(MIN_ENERGY), lorentz.pt(momenta).clamp_min(MIN_ENERGY)
    mass_ratio2 = lorentz.mass2(momenta) / energy.square()
    features = (
        (mass_ratio2.clamp_min(0) + MASS_RATIO2_OFFSET).log(),
        lorentz.rapidity(momenta) - lorentz.rapidity(jet),
        angles.delta_phi(lorentz.phi(momenta), lorentz.phi(jet)),
        energy.log(),
        (energy / jet[..., 3].clamp_min(MIN_ENERGY)).log(),
        pt.log(),
        torch.atan2(pt, momenta[..., 2]),
    )
    return torch.stack(features, dim=-1)


class LevelOrder(NamedTuple):
    """Nodes of a batch of trees, numbered level by level: particles first, the roots of the highest trees last."""

    order: Int[Tensor, " nodes"]  # row of each node
    sizes: list[int]  # number of nodes of each level
    left: Int[Tensor, " nodes"]  # number of the left child; arbitrary for a particle
    right: Int[Tensor, " nodes"]
    parent_level: Int[Tensor, " nodes"]  # level of the parent; higher than all levels for a root
    event: Int[Tensor, " nodes"]


def level_order(tree: ClusterTree, rows: PackedRows) -> LevelOrder:
    """Number the nodes so that each comes after its children, with few levels."""
    batch, nodes = rows.mask.shape
    mergings, device = tree.left.shape[1], rows.mask.device
    level = torch.zeros(batch, nodes, dtype=torch.long, device=device)
    for step in range(mergings):
        children = torch.stack([tree.left[:, step], tree.right[:, step]], dim=1)
        level[:, nodes - mergings + step] = level.gather(1, children).amax(1) + 1
    assert rows.index is not None
    height = level.flatten()[rows.index]
    order = height.argsort(stable=True)
    sizes = torch.bincount(height, minlength=1).tolist()
    height, place = height[order], rows.index[order]
    event = place // nodes
    number = torch.zeros(batch * nodes, dtype=torch.long, device=device)
    number[place] = torch.arange(len(place), device=device)
    merged = place[height > 0]
    merging = merged // nodes * mergings + merged % nodes - (nodes - mergings)
    children = torch.zeros(len(place), 2, dtype=torch.long, device=device)
    for column, child in enumerate((tree.left, tree.right)):
        children[height > 0, column] = number[merged - merged % nodes + child.flatten()[merging]]
    parent_level = torch.full_like(place, len(sizes))
    parent_level[children[height > 0]] = height[height > 0, None].expand(-1, 2)
    return LevelOrder(order, sizes, children[:, 0], children[:, 1], parent_level, event)
