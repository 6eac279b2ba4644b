"""Published weights of weaver-core, ParT and ParticleNet, for the networks of this package.

github.com/hqucms/weaver-core; the weights for JetClass are in github.com/jet-universe/particle_transformer.

    network = weaver.network("ParticleNet_full.pt")
    batch = make_batch(femtobarn.load_sample("top-tagging"), slots=128, dtype=torch.float64)  # raw momenta
    logits = network(batch)  # one per class of `JETCLASS_CLASSES`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from femtobarn.inputs import FEATURES, Inputs
from femtobarn.models.network import Network
from femtobarn.models.registry import model_spec

#: Classes of the ten outputs of the published JetClass networks.
JETCLASS_CLASSES = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")

#: Pairwise features of ParT in the order of weaver-core.
PAIR_FEATURES = ("kt", "z", "delta", "mass2")

#: Layers of a block of ParT: name in weaver-core to name here.
_BLOCK_LAYERS = {
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


class WeaverCheckpoint(NamedTuple):
    """Weights and settings of a network that was trained by weaver-core."""

    model: str  # name in this package
    features: int  # per particle
    outputs: int
    weights: dict[str, Tensor]  # for `load_state_dict` of the architecture
    settings: dict[str, Any]  # of the model, those that follow from the weights
    pairs: int  # features per pair

    @property
    def feature_set(self) -> str:
        """Name of the set of `femtobarn.inputs.FEATURES` with this number of features.

        Raises:
            ValueError: no set has this number.
        """
        widths = {len(names): name for name, names in FEATURES.items()}
        if self.features not in widths:
            available = ", ".join(f"{name} ({width})" for width, name in widths.items())
            raise ValueError(f"weights for {self.features} features of a particle; there are {available}")
        return widths[self.features]

    @property
    def interactions(self) -> tuple[str, ...]:
        """Names of the pairwise features.

        Raises:
            ValueError: a different number of features than ParT has.
        """
        if self.pairs not in (0, len(PAIR_FEATURES)):
            raise ValueError(f"weights for {self.pairs} features of a pair; there are {', '.join(PAIR_FEATURES)}")
        return PAIR_FEATURES[: self.pairs]


def network(path: str | Path, *, k: int = 16, self_pairs: bool = True) -> Network:
    """Load a published network, from raw constituents of jets to the logits of its training.

    It computes its own features, the set of `femtobarn.inputs.constituents` that it was trained with; jets should have
    128 slots. The network is in evaluation mode.

    Args:
        path: checkpoint file.
        k: neighbours per particle of a ParticleNet, which the weights do not contain: 16, or 7 in the Lite version.
        self_pairs: True if a ParT was trained with self pairs, which the weights do not contain either: the opposite
            of `remove_self_pair` in weaver-core.

    Raises:
        ValueError: not a file of such weights, or weights for unknown features.
    """
    checkpoint = read(path)
    spec = model_spec(checkpoint.model)
    given = {"k": k, "self_pairs": self_pairs}
    extra = {name: value for name, value in given.items() if name in spec.schema.model_fields}
    inputs = Inputs(checkpoint.interactions, checkpoint.feature_set, self_pairs=bool(extra.get("self_pairs")))
    architecture = spec.build(inputs.sizes(checkpoint.outputs), **checkpoint.settings, **extra)
    result = architecture.load_state_dict(checkpoint.weights, strict=False)
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"{path} does not hold all weights of a {checkpoint.model}: {_listing(missing)} are missing")
    return Network(inputs, architecture).eval()


def read(path: str | Path) -> WeaverCheckpoint:
    """Read the weights in a checkpoint of weaver-core (`*_state.pt`, or one of the published files).

    Only tensors are read; nothing in the file is executed.

    Raises:
        ValueError: not a file of tensors, or not a ParT or ParticleNet of weaver-core.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a file of weights that torch.save wrote: {error}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds something else than the weights of a network")
    return translate(state, str(path))


def translate(state: Mapping[str, Tensor], source: str = "the checkpoint") -> WeaverCheckpoint:
    """Translate a state dict of weaver-core's `ParticleTransformer` or `ParticleNet`.

    Args:
        state: parameters and buffers with the names of weaver-core, with or without the prefix `mod.`.
        source: name of the checkpoint in error messages.

    Raises:
        ValueError: names that neither network has; the message lists the first of them.
    """
    plain = {re.sub(r"^(?:module\.|mod\.)+", "", name): value for name, value in state.items()}
    plain = {name: value for name, value in plain.items() if not name.endswith("num_batches_tracked")}
    layout = next((layout for layout in _LAYOUTS if layout.marker in plain), None)
    if layout is None:
        raise ValueError(
            f"{source} is of neither ParT nor ParticleNet of weaver-core: it holds {_listing(list(plain))}"
        )
    renamed = {name: layout.rename(name) for name in plain}
    unknown = [name for name, new_name in renamed.items() if new_name is None]
    if unknown:
        raise ValueError(
            f"{source}: a {layout.model} of weaver-core's with parts that {layout.model} here lacks: "
            f"{_listing(unknown)}"
        )
    weights = {new_name: _reshape(new_name, plain[name]) for name, new_name in renamed.items() if new_name is not None}
    missing = [name for name in (layout.features, layout.outputs, *layout.required) if name not in weights]
    if missing:
        raise ValueError(f"{source}: a {layout.model} of weaver-core's without {', '.join(missing)}")
    pairs = weights.get("embed_pairs.0.weight")
    return WeaverCheckpoint(
        model=layout.model,
        features=weights[layout.features].numel(),
        outputs=len(weights[layout.outputs]),
        weights=weights,
        settings=layout.settings(weights),
        pairs=0 if pairs is None else len(pairs),
    )


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
    """Outputs of the layers whose names match, in the order of their numbers; norms are skipped."""
    matches = {name: re.fullmatch(pattern, name) for name in weights}
    layers = sorted((int(match[1]), name) for name, match in matches.items() if match and weights[name].dim() > 1)
    return tuple(len(weights[name]) for _, name in layers)


def _part(name: str) -> str | None:
    block = re.fullmatch(r"(cls_)?blocks\.(\d+)\.(.+?)[._]?(weight|bias)?", name)
    if block:
        prefix, number, part, rest = block.groups()
        layer = _BLOCK_LAYERS.get(part)
        return layer and f"{'class_' if prefix else ''}blocks.{number}.{layer}{'.' + rest if rest else ''}"
    if name == "cls_token":
        return "token"
    embed = re.fullmatch(r"embed\.embed\.(\d+)\.(.+)", name)
    if embed:  # in this package the batch norm comes before the other layers, in the same list
        return f"embed.{int(embed[1]) + 1}.{embed[2]}"
    for theirs, ours in (
        ("embed.input_bn.", "embed.0."),
        ("pair_embed.embed.", "embed_pairs."),
        ("norm.", "norm."),
        ("fc.0.", "head."),
    ):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return None


def _particlenet(name: str) -> str | None:
    if name.startswith("bn_fts."):
        return name.replace("bn_fts.", "norm.")
    last = re.fullmatch(r"fc\.(\d+)(\.0)?\.(.+)", name)
    if last:  # in this package every hidden layer is three entries of the list: linear, ReLU, dropout
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


def _reshape(name: str, value: Tensor) -> Tensor:
    """Reshape 1x1 convolutions to linear layers, and the class token to a vector."""
    if name == "token":
        return value.flatten()
    return value.flatten(1) if value.dim() > 2 else value


def _listing(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


class _Layout(NamedTuple):
    """Network of weaver-core: names of its weights in the checkpoint and in this package."""

    model: str  # name in this package
    marker: str  # name in a checkpoint that no other network has
    rename: Callable[[str], str | None]  # name in the checkpoint -> name here; None if it has no counterpart
    settings: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    features: str  # weights with one number per feature of a particle, named as here
    outputs: str  # weights with one row per output
    required: tuple[str, ...]  # names that the settings are read from


_LAYOUTS = (
    _Layout(
        model="part",
        marker="cls_token",
        rename=_part,
        settings=_part_settings,
        features="embed.0.weight",
        outputs="head.weight",
        required=("class_blocks.0.head_scale",),
    ),
    _Layout(
        model="particlenet",
        marker="bn_fts.weight",
        rename=_particlenet,
        settings=_particlenet_settings,
        features="norm.weight",
        outputs="fc.3.weight",
        required=(),
    ),
)
