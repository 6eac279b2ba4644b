"""Weights of weaver-core: ParT and ParticleNet as they were published, for the networks of this package.

github.com/hqucms/weaver-core; the weights for JetClass are in github.com/jet-universe/particle_transformer.

    network = weaver.network("ParticleNet_full.pt")
    batch = make_batch(femtobarn.shipped("top-tagging"), slots=128, dtype=torch.float64)  # momenta, before any feature
    logits = network(batch)  # of `CLASSES`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from femtobarn.inputs import FEATURES, Inputs
from femtobarn.models.network import Network
from femtobarn.models.registry import find

#: What the ten outputs of the published JetClass networks stand for.
CLASSES = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")

#: Pairwise features of ParT in weaver's order.
PAIRS = ("kt", "z", "delta", "mass2")

#: Parts of a block of ParT.
_BLOCK = {
    "c_attn": "head_scale",
    "w_resid": "residual_scale",
    "pre_attn_norm": "before_attention",
    "attn.in_proj": "project",
    "attn.out_proj": "collect",
    "post_attn_norm": "after_attention",
    "pre_fc_norm": "before_feedforward",
    "fc1": "expand",
    "post_fc_norm": "hidden",
    "fc2": "contract",
}


class Foreign(NamedTuple):
    """A network that weaver-core trained."""

    model: str  # the name it has here
    features: int  # of a particle
    outputs: int
    weights: dict[str, Tensor]  # for `load_state_dict` of the architecture
    settings: dict[str, Any]  # of the model, as far as weights tell
    pairs: int  # features of a pair

    @property
    def feature_set(self) -> str:
        """Which of `femtobarn.inputs.FEATURES` have as many.

        Raises:
            ValueError: none.
        """
        widths = {len(names): name for name, names in FEATURES.items()}
        if self.features not in widths:
            known = ", ".join(f"{name} ({width})" for width, name in widths.items())
            raise ValueError(f"weights for {self.features} features of a particle; there are {known}")
        return widths[self.features]

    @property
    def interactions(self) -> tuple[str, ...]:
        """Names of the pairwise features.

        Raises:
            ValueError: another number of them than ParT has.
        """
        if self.pairs not in (0, len(PAIRS)):
            raise ValueError(f"weights for {self.pairs} features of a pair; there are {', '.join(PAIRS)}")
        return PAIRS[: self.pairs]


def network(path: str | Path, *, k: int = 16, self_pairs: bool = True) -> Network:
    """A published network as it is: raw constituents of jets go in, the logits it was trained to give come out.

    It computes its features itself, those of `femtobarn.inputs.constituents` that it was trained with; jets should
    have 128 slots. In evaluation mode, without any training.

    Args:
        path: the checkpoint.
        k: neighbours in a ParticleNet, which the weights do not tell: 16, and 7 in the Lite version.
        self_pairs: whether a ParT was trained with an object and itself for a pair, which the weights do not tell
            either: `remove_self_pair` of weaver's, the other way round.

    Raises:
        ValueError: not a file of such weights, or of other features than there are.
    """
    found = read(path)
    attends = found.model == "part"
    own = {"self_pairs": self_pairs} if attends else {"k": k}
    inputs = Inputs(found.interactions, found.feature_set, self_pairs=attends and self_pairs)
    architecture = find(found.model)(inputs.sizes(found.outputs), **found.settings, **own)
    lost = architecture.load_state_dict(found.weights, strict=False)
    left = [name for name in lost.missing_keys if not name.endswith("num_batches_tracked")]
    if left:
        raise ValueError(f"{path} does not hold all weights of a {found.model}: {_some(left)} are missing")
    return Network(inputs, architecture).eval()


def read(path: str | Path) -> Foreign:
    """The weights in a checkpoint of weaver-core (`*_state.pt`, or one of the published files).

    Nothing in the file is executed: tensors are read, and nothing else.

    Raises:
        ValueError: not a file of tensors, or not of a ParT or ParticleNet of weaver-core's.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a file of weights that torch.save wrote: {error}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds something else than the weights of a network")
    return translate(state, str(path))


def translate(state: Mapping[str, Tensor], source: str = "the checkpoint") -> Foreign:
    """The same for a state dict of weaver-core's `ParticleTransformer` or `ParticleNet`.

    Args:
        state: parameters and buffers by weaver's names, with or without the `mod.` of its wrappers.
        source: how errors call it.

    Raises:
        ValueError: other names than those two networks have, the first of which are shown.
    """
    plain = {re.sub(r"^(?:module\.|mod\.)+", "", name): value for name, value in state.items()}
    plain = {name: value for name, value in plain.items() if not name.endswith("num_batches_tracked")}
    if "cls_token" in plain:
        model, rename, features, last = "part", _part, "embed.0.weight", "head.weight"
    elif "bn_fts.weight" in plain:
        model, rename, features, last = "particlenet", _particlenet, "norm.weight", "fc.3.weight"
    else:
        raise ValueError(f"{source} is of neither ParT nor ParticleNet of weaver-core: it holds {_some(list(plain))}")
    found = {name: rename(name) for name in plain}
    strange = [name for name, here in found.items() if here is None]
    if strange:
        raise ValueError(f"{source}: a {model} of weaver-core's with parts that {model} here lacks: {_some(strange)}")
    weights = {here: _shaped(here, plain[name]) for name, here in found.items() if here is not None}
    needed = (features, last, *(["class_blocks.0.head_scale"] if model == "part" else []))
    missing = [name for name in needed if name not in weights]
    if missing:
        raise ValueError(f"{source}: a {model} of weaver-core's without {', '.join(missing)}")
    width = weights[features].numel()
    if model == "part":
        first = weights.get("embed_pairs.0.weight")
        return Foreign(
            model, width, len(weights[last]), weights, _part_settings(weights), 0 if first is None else len(first)
        )
    return Foreign(model, width, len(weights[last]), weights, _particlenet_settings(weights), 0)


def _part_settings(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    width, heads = len(weights["token"]), len(weights["class_blocks.0.head_scale"])
    pairs = _widths(weights, r"embed_pairs\.(\d+)\.weight")
    return {
        "width": width,
        "blocks": len(_widths(weights, r"blocks\.(\d+)\.expand\.weight")),
        "class_blocks": len(_widths(weights, r"class_blocks\.(\d+)\.expand\.weight")),
        "heads": heads,
        "embedding": _widths(weights, r"embed\.(\d+)\.weight")[:-1],
        **({"pair_embedding": pairs[:-1]} if pairs else {}),
        "ratio": len(weights["class_blocks.0.expand.weight"]) // width,
    }


def _particlenet_settings(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    first = _widths(weights, r"blocks\.(\d+)\.first\.weight")
    return {
        "blocks": tuple(
            (width, *_widths(weights, rf"blocks\.{number}\.rest\.(\d+)\.weight")) for number, width in enumerate(first)
        ),
        "fc": _widths(weights, r"fc\.(\d+)\.weight")[:-1],
        "fill": True,
    }


def _widths(weights: Mapping[str, Tensor], pattern: str) -> tuple[int, ...]:
    """Outputs of the layers whose names fit, in the order of their numbers; norms are no layers."""
    fitting = {name: re.fullmatch(pattern, name) for name in weights}
    layers = sorted((int(found[1]), name) for name, found in fitting.items() if found and weights[name].dim() > 1)
    return tuple(len(weights[name]) for _, name in layers)


def _part(name: str) -> str | None:
    block = re.fullmatch(r"(cls_)?blocks\.(\d+)\.(.+?)[._]?(weight|bias)?", name)
    if block:
        kind, number, part, rest = block.groups()
        own = _BLOCK.get(part)
        return own and f"{'class_' if kind else ''}blocks.{number}.{own}{'.' + rest if rest else ''}"
    if name == "cls_token":
        return "token"
    embed = re.fullmatch(r"embed\.embed\.(\d+)\.(.+)", name)
    if embed:  # here the batch norm stands before the other layers, in the same list
        return f"embed.{int(embed[1]) + 1}.{embed[2]}"
    for there, here in (
        ("embed.input_bn.", "embed.0."),
        ("pair_embed.embed.", "embed_pairs."),
        ("norm.", "norm."),
        ("fc.0.", "head."),
    ):
        if name.startswith(there):
            return here + name.removeprefix(there)
    return None


def _particlenet(name: str) -> str | None:
    if name.startswith("bn_fts."):
        return name.replace("bn_fts.", "norm.")
    last = re.fullmatch(r"fc\.(\d+)(\.0)?\.(.+)", name)
    if last:  # every hidden layer here is three entries of the list: linear, ReLU, dropout
        return f"fc.{3 * int(last[1])}.{last[3]}"
    edge = re.fullmatch(r"edge_convs\.(\d+)\.(convs|bns|sc|sc_bn)\.(.+)", name)
    if not edge:
        return None
    number, part, rest = edge.groups()
    if part in ("sc", "sc_bn"):
        return f"blocks.{number}.shortcut{'_norm' if part == 'sc_bn' else ''}.{rest}"
    at, _, rest = rest.partition(".")
    if at == "0":
        return f"blocks.{number}.first{'_norm' if part == 'bns' else ''}.{rest}"
    return f"blocks.{number}.rest.{3 * int(at) - 2 + (part == 'bns')}.{rest}"


def _shaped(name: str, value: Tensor) -> Tensor:
    """1x1 convolutions as the linear layers that they are; the class token as a vector."""
    if name == "token":
        return value.flatten()
    return value.flatten(1) if value.dim() > 2 else value


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
