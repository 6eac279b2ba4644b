"""Pretrained weights: initialize a network with weights of an earlier training, for other events or other classes.

    model: {name: particlenet, fill: true, init_from: ParticleNet_kin.pt}

The backbone, the features, the interactions and the standardization are copied. The output layer is new, unless the
classes are the same; it has a higher learning rate than the backbone (`training.backbone_lr`), as in Qu, Li and Qian,
*Particle Transformer*, arXiv:2202.03772, section 5.3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from femtobarn.evaluation.runs import CONFIG, META, TRAIN_AGAIN, WEIGHTS, read_config, read_meta
from femtobarn.events.storage.files import checksum
from femtobarn.experiments import experiment as experiments
from femtobarn.experiments.experiment import Experiment
from femtobarn.inputs import Inputs
from femtobarn.models import Network, weaver
from femtobarn.runs.weights import read_weights
from femtobarn.training.pretrained import PretrainedParameters


@dataclass(frozen=True, eq=False)
class PretrainedWeights:
    """Weights from a file, and the network that they belong to.

    Args:
        path: file that holds them.
        sha256: checksum of the file.
        origin: training that they come from, in words.
        model: name of the architecture.
        settings: settings of the architecture that must be the same.
        features: features of the particles.
        interactions: features of pairs.
        classes: classes of the outputs, in their order; empty if unknown.
        weights: parameters and buffers by their names in `Network`.
    """

    path: Path
    sha256: str
    origin: str
    model: str
    settings: Mapping[str, Any]
    features: str
    interactions: tuple[str, ...]
    classes: tuple[str, ...]
    weights: Mapping[str, Tensor]


def load_pretrained(experiment: Experiment) -> PretrainedWeights | None:
    """Read the weights of `model.init_from` of an experiment and check that they fit it; None if it has no such key.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: no weights in it, boosted trees, or weights of another network or other features than the
            experiment's: the message lists the keys that differ and the values that they must have.
    """
    if experiment.model.init_from is None:
        return None
    pretrained = read_pretrained(experiment.model.init_from)
    differences = _differences(pretrained, experiment)
    if differences:
        lines = "\n".join(
            f"  {key}: {required} in the weights, {own} here" for key, (required, own) in differences.items()
        )
        raise ValueError(
            f"model.init_from: {pretrained.path} ({pretrained.origin}) does not match this experiment; "
            f"set these keys to the values in the weights:\n{lines}"
        )
    return pretrained


def read_pretrained(path: str | Path) -> PretrainedWeights:
    """Read the weights of a run folder, of its `weights.safetensors`, or of a checkpoint of weaver-core.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: no weights in it, or weights of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"model.init_from: there is no file or run folder {path}")
    if path.is_dir() or path.suffix == ".safetensors":
        return _read_run(path)
    checkpoint = weaver.read(path)
    weights = {f"architecture.{name}": value for name, value in checkpoint.weights.items()}
    # their features are on fixed scales, and a batch norm does the rest
    plain = Inputs(checkpoint.interactions, checkpoint.feature_set).state_dict(prefix="inputs.")
    return PretrainedWeights(
        path=path,
        sha256=checksum(path),
        origin="weights of weaver-core",
        model=checkpoint.model,
        settings=checkpoint.settings,
        features=checkpoint.feature_set,
        interactions=checkpoint.interactions,
        classes=(),
        weights=weights | plain,
    )


def apply_pretrained(network: Network, pretrained: PretrainedWeights, classes: tuple[str, ...]) -> PretrainedParameters:
    """Copy pretrained weights into a network; its output layer is kept unless the classes are the same.

    Args:
        network: network of the experiment, from `femtobarn.runs.predictor.build`.
        pretrained: from `load_pretrained`.
        classes: classes of the outputs of the network.

    Returns:
        the parameters that were copied.

    Raises:
        ValueError: the weights lack a parameter of the network, or have another shape.
    """
    fresh = frozenset() if pretrained.classes == classes else output_layer_names(network)
    copied = {name: value for name, value in pretrained.weights.items() if name not in fresh}
    own = network.state_dict()
    needed = [name for name in own if name not in fresh and not name.endswith("num_batches_tracked")]
    wrong = [name for name in needed if name not in copied] + [name for name in copied if name not in own]
    wrong += [name for name in copied if name in own and copied[name].shape != own[name].shape]
    if wrong:
        raise ValueError(
            f"model.init_from: {pretrained.path} ({pretrained.origin}) has missing, unknown or differently shaped "
            f"weights: {', '.join(wrong[:4])}"
        )
    network.load_state_dict(copied, strict=False)
    names = frozenset(name for name, _ in network.named_parameters())
    return PretrainedParameters(pretrained.sha256, names - fresh)


def pretrained_metadata(pretrained: PretrainedWeights | None) -> dict[str, Any]:
    """Entry of `meta.json` with the file of the pretrained weights; empty for random initial weights."""
    if pretrained is None:
        return {}
    return {"start": {"file": pretrained.path.name, "of": pretrained.origin, "sha256": pretrained.sha256}}


def output_layer_names(network: Network) -> frozenset[str]:
    """Names of the parameters of the output layer, the last layer of the head."""
    layer = {id(parameter) for parameter in network.output_layer.parameters()}
    return frozenset(name for name, parameter in network.named_parameters() if id(parameter) in layer)


def _read_run(path: Path) -> PretrainedWeights:
    folder = path if path.is_dir() else path.parent
    for name in (CONFIG, META):
        if not (folder / name).is_file():
            cause = "it is no run folder" if path.is_dir() else "weights alone do not define their network"
            raise ValueError(f"model.init_from: there is no {name} beside the weights in {folder}; {cause}")
    other = experiments.load(folder / CONFIG)
    if not other.model.is_network:
        raise ValueError(f"model.init_from: {folder} holds boosted trees, no network")
    file = folder / WEIGHTS if path.is_dir() else path
    try:
        meta = read_meta(folder)
        read_config(folder, meta)
        weights = read_weights(file, meta)[0]
    except ValueError as error:
        raise ValueError(f"model.init_from: {error}") from None
    classes = meta.content.get("classes")
    if not isinstance(classes, Mapping):
        raise ValueError(f"model.init_from: {folder / META} lacks the classes of the network; {TRAIN_AGAIN}")
    return PretrainedWeights(
        path=file,
        sha256=checksum(file),
        origin=f"{other.label} seed {other.seed}",
        model=other.model.name,
        # dropout is a setting of the training, not of the function
        settings={name: value for name, value in other.model.settings.items() if "dropout" not in name},
        features=other.inputs.features,
        interactions=other.inputs.interactions,
        classes=tuple(classes),
        weights=weights,
    )


def _differences(pretrained: PretrainedWeights, experiment: Experiment) -> dict[str, tuple[str, str]]:
    """Keys of an experiment that do not match the weights: value in the weights, value in the experiment."""
    inputs, model = experiment.inputs, experiment.model
    pairs: dict[str, tuple[Any, Any]] = {"model.name": (pretrained.model, model.name)}
    if pretrained.model == model.name:
        pairs |= {f"model.{key}": (value, model.settings.get(key)) for key, value in pretrained.settings.items()}
    pairs["inputs.features"] = (pretrained.features, inputs.features)
    pairs["inputs.interactions"] = (pretrained.interactions, inputs.interactions)
    return {key: (_text(required), _text(own)) for key, (required, own) in pairs.items() if required != own}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
