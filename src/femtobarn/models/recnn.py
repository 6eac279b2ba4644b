"""Recursive network over the clustering tree: a jet read as a sentence that the kt algorithm has parsed.

Louppe, Cho, Becot and Cranmer, *QCD-Aware Recursive Neural Networks for Jet Physics*, arXiv:1702.00748.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.encoded import Encoded, Sizes
from femtobarn.models.registry import model
from femtobarn.nn import BatchNorm, ClusterTree, Linear, PackedRows, cluster, mlp_head, scan
from femtobarn.nn.scan import Tensors
from femtobarn.nn.trees import TreeAlgorithm
from femtobarn.physics import angles, lorentz

#: What a node says with its momentum.
NODE = ("log m2/E2", "y - y_jet", "phi - phi_jet", "log E", "log E/E_jet", "log pT", "theta")

#: Energies and momenta below this (GeV) count as this in logarithms.
SOFTEST = 1e-5

#: Squares of m/E are told apart above this: float32 momenta do not say what lies far below.
LIGHTEST = 1e-3


@model("recnn", pairs=False, small={"width": 16, "fc": (16,), "dropout": 0.0})
class RecNN(nn.Module):
    r"""Recursive neural network (RecNN): each node of a binary tree over the objects is what its two children make.

    .. math::
        u_k = \mathrm{ReLU}(W_u\, g(o_k) + b_u), \quad h_k = u_k \text{ for an object, else }
        \mathrm{ReLU}(W_h [h_{k_L}, h_{k_R}, u_k] + b_h)

    where o_k is the momentum of the node, the sum of those of its objects, and g are the features `NODE` with a batch
    norm, those of the paper: |p| beside E is their mass, and the rapidity stands for the pseudorapidity, both seen from
    the jet (the sum of all objects), as the paper turns its jets. The features of an object, types and tracks among
    them, stand beside g at the leaves and are 0 above. What the root has become, and MET and its direction, go through
    the last layers.

    The tree is grown inside the network, from the momenta; its order is a setting. Events of no object are 0 at the
    root. The defaults are the widths of the paper.

    Args:
        sizes: widths of the inputs and outputs; it takes no pairs.
        tree: `kt`, `anti-kt` and `ca` (Cambridge/Aachen) cluster; `desc-pt` and `asc-pt` are chains that end with the
            hardest or softest object; `random` is what a tree without physics is worth (`femtobarn.nn.trees.cluster`).
        gating: gates decide what of the children and of u reaches a node (`Gated`).
        width: of u and h.
        fc: widths of the fully connected layers before the last.
        dropout: after each of these.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        tree: TreeAlgorithm = "kt",
        gating: bool = True,
        width: PositiveInt = 40,
        fc: tuple[PositiveInt, ...] = (40, 40),
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.tree: TreeAlgorithm = tree
        self.norm = BatchNorm(len(NODE))
        self.embed = Linear(len(NODE) + sizes.particles, width)
        self.merge = Gated(width) if gating else Simple(width)
        self.fc = mlp_head(width + sizes.context, fc, sizes.outputs, dropout)

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch outputs"]:
        """Logits of each event."""
        mask, particles = encoded.mask, encoded.particles
        tree = cluster(encoded.momenta, mask, self.tree)
        rows = PackedRows(torch.cat([mask, tree.mask], dim=1))
        g = self.norm(rows.pack(node_features(tree, rows.mask).to(particles.dtype)))
        leaf = rows.pack(nn.functional.pad(particles, (0, 0, 0, tree.mask.shape[1])))
        u = torch.relu(self.embed(torch.cat([g, leaf], dim=-1)))
        root = self._by_steps(u, tree, rows) if rows.index is None else self._by_levels(u, tree, rows)
        logits: Tensor = self.fc(torch.cat([root, encoded.context], dim=-1))
        return logits

    def _by_levels(
        self, u: Float[Tensor, "rows width"], tree: ClusterTree, rows: PackedRows
    ) -> Float[Tensor, "batch width"]:
        """h of the roots, all nodes of a level at a time, over the whole batch."""
        plan = levels(tree, rows)
        h, *above = torch.split(u.index_select(0, plan.order), plan.sizes)
        waiting, *makings = torch.split(torch.arange(len(plan.order), device=u.device), plan.sizes)
        where = torch.empty_like(plan.order)
        for level, (made, own) in enumerate(zip(makings, above, strict=True), start=1):
            kept = waiting[plan.used[waiting] > level]
            where[waiting] = torch.arange(len(waiting), device=u.device)
            wanted = where[torch.cat([plan.left[made], plan.right[made], kept])]
            left, right, rest = torch.split(h.index_select(0, wanted), [len(made), len(made), len(kept)])
            h, waiting = torch.cat([self.merge(left, right, own), rest]), torch.cat([made, kept])
        return u.new_zeros(len(rows.mask), u.shape[1]).index_copy(0, plan.event[waiting], h)

    def _by_steps(
        self, u: Float[Tensor, "rows width"], tree: ClusterTree, rows: PackedRows
    ) -> Float[Tensor, "batch width"]:
        """The same one merging of every event at a time, whether it is one or not: a graph needs fixed shapes."""
        h, objects = rows.unpack(u), rows.mask.shape[1] - tree.left.shape[1]
        mask = rows.mask[:, :objects]
        if tree.left.shape[1]:
            names, weights = zip(*self.merge.named_parameters(), strict=True)

            def step(state: Tensors, given: Tensors, fixed: Tensors) -> tuple[Tensors, Tensors]:
                (h,), (left, right, own, here) = state, given
                children = (h.gather(1, each[:, None, None].expand(-1, 1, h.shape[-1]))[:, 0] for each in (left, right))
                made = torch.func.functional_call(self.merge, dict(zip(names, fixed, strict=True)), (*children, own))
                return (torch.where(here[:, None], made[:, None], h),), (made,)

            here = torch.eye(rows.mask.shape[1], dtype=torch.bool, device=u.device)[objects:]
            given = (tree.left.t(), tree.right.t(), h[:, objects:].transpose(0, 1), here)
            (h,), _ = scan(step, (h,), given, weights)
        root = h.gather(1, tree.root(mask)[:, None, None].expand(-1, 1, h.shape[-1]))[:, 0]
        return root.masked_fill(~mask.any(1, keepdim=True), 0.0)


class Simple(nn.Module):
    r"""h of a node from that of its children, :math:`\mathrm{ReLU}(W_h [h_L, h_R, u] + b_h)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.activate = orthogonal(3 * width, width)

    def forward(
        self, left: Float[Tensor, "nodes width"], right: Float[Tensor, "nodes width"], u: Float[Tensor, "nodes width"]
    ) -> Float[Tensor, "nodes width"]:
        return torch.relu(self.activate(torch.cat([left, right, u], dim=-1)))


class Gated(nn.Module):
    r"""h of a node with gates, of the paper's appendix.

    .. math::
        r &= \mathrm{sigmoid}(W_r [h_L, h_R, u] + b_r) \\
        \tilde h &= \mathrm{ReLU}(W_h [r_L h_L, r_R h_R, r_N u] + b_h) \\
        z &= \mathrm{softmax}(W_z [\tilde h, h_L, h_R, u] + b_z) \\
        h &= z_H \tilde h + z_L h_L + z_R h_R + z_N u

    The softmax is over the four parts, for each of the features by itself.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reset = Linear(3 * width, 3 * width)
        self.activate = orthogonal(3 * width, width)
        self.update = Linear(4 * width, 4 * width)

    def forward(
        self, left: Float[Tensor, "nodes width"], right: Float[Tensor, "nodes width"], u: Float[Tensor, "nodes width"]
    ) -> Float[Tensor, "nodes width"]:
        given = torch.cat([left, right, u], dim=-1)
        new = torch.relu(self.activate(torch.sigmoid(self.reset(given)) * given))
        parts = torch.cat([new, given], dim=-1)
        weights = torch.stack(self.update(parts).chunk(4, dim=-1)).softmax(0)
        return (weights * torch.stack(parts.chunk(4, dim=-1))).sum(0)


def orthogonal(inputs: int, outputs: int) -> nn.Linear:
    """A layer that keeps the size of what goes through it and a ReLU, over any number of levels."""
    layer = Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, nn.init.calculate_gain("relu"))
    nn.init.zeros_(layer.bias)
    return layer


def node_features(tree: ClusterTree, real: Bool[Tensor, "batch nodes"]) -> Float[Tensor, "batch nodes features"]:
    """`NODE` of every node; finite numbers without meaning where there is none."""
    jet = tree.momenta[:, : real.shape[1] - tree.left.shape[1]].sum(1, keepdim=True)
    blank = tree.momenta.new_tensor([1.0, 0.0, 0.0, 1.0])
    jet = torch.where(real.any(1)[:, None, None], jet, blank)
    momenta = torch.where(real[..., None], tree.momenta, blank)
    energy, pt = momenta[..., 3].clamp_min(SOFTEST), lorentz.pt(momenta).clamp_min(SOFTEST)
    share = lorentz.mass2(momenta) / energy.square()
    features = (
        (share.clamp_min(0) + LIGHTEST).log(),
        lorentz.rapidity(momenta) - lorentz.rapidity(jet),
        angles.difference(lorentz.phi(momenta), lorentz.phi(jet)),
        energy.log(),
        (energy / jet[..., 3].clamp_min(SOFTEST)).log(),
        pt.log(),
        torch.atan2(pt, momenta[..., 2]),
    )
    return torch.stack(features, dim=-1)


class Levels(NamedTuple):
    """The nodes of a batch of trees numbered level by level: first the objects, last the roots of the highest trees."""

    order: Int[Tensor, " nodes"]  # row of each node
    sizes: list[int]  # nodes of each level
    left: Int[Tensor, " nodes"]  # numbers of its children; of an object, any
    right: Int[Tensor, " nodes"]
    used: Int[Tensor, " nodes"]  # level of the node that it goes into; of a root, higher than all
    event: Int[Tensor, " nodes"]


def levels(tree: ClusterTree, rows: PackedRows) -> Levels:
    """Numbers nodes so that each stands behind its children, and many side by side."""
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
    made = place[height > 0]
    merging = made // nodes * mergings + made % nodes - (nodes - mergings)
    both = torch.zeros(len(place), 2, dtype=torch.long, device=device)
    for side, child in enumerate((tree.left, tree.right)):
        both[height > 0, side] = number[made - made % nodes + child.flatten()[merging]]
    used = torch.full_like(place, len(sizes))
    used[both[height > 0]] = height[height > 0, None].expand(-1, 2)
    return Levels(order, sizes, both[:, 0], both[:, 1], used, event)
