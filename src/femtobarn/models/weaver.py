"""Weights of weaver-core: ParT and ParticleNet as they were published, for the networks of this package.

github.com/hqucms/weaver-core; the weights for JetClass are in github.com/jet-universe/particle_transformer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

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
    missing = [name for name in (features, last) if name not in weights]
    if missing:
        raise ValueError(f"{source}: a {model} of weaver-core's without {', '.join(missing)}")
    return Foreign(model, len(weights[features]), len(weights[last]), weights)


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
