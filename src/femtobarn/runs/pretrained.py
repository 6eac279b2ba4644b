"""Start: a network that begins with weights learned elsewhere, for other events, other classes or more of them.

    model: {name: particlenet, fill: true, start: ParticleNet_kin.pt}

The body of the network is taken over, features, interactions and standardisation with it. The last layer is new, unless
the classes are the same; it learns fast and the body slowly (`training.body_lr`), as in Qu, Li and Qian, *Particle
Transformer*, arXiv:2202.03772, section 5.3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from femtobarn.evaluation.runs import CONFIG, META, TRAIN_AGAIN, WEIGHTS, read_config, read_meta
from femtobarn.events.storage.files import checksum
from femtobarn.experiments import experiment as experiments
from femtobarn.experiments.experiment import Experiment
from femtobarn.inputs import Inputs, Sizes
from femtobarn.models import Network, find, weaver
from femtobarn.runs.predictor import read_weights
from femtobarn.training import Start


@dataclass(frozen=True, eq=False)
class Source:
    """Weights to begin with, and what they were learned for.

    Args:
        path: the file that holds them.
        sha256: of the file.
        what: in words, whose they are.
        model: name of the architecture.
        settings: of the architecture, as far as they must be the same.
        features: of the objects.
        interactions: features of pairs.
        classes: behind the outputs, in their order; empty if nobody says.
        weights: parameters and buffers by their names in `Network`.
    """

    path: Path
    sha256: str
    what: str
    model: str
    settings: Mapping[str, Any]
    features: str
    interactions: tuple[str, ...]
    classes: tuple[str, ...]
    weights: Mapping[str, Tensor]


def source(experiment: Experiment) -> Source | None:
    """The weights that `model.start` of an experiment names, found to fit it; None where it names none.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: no weights in it, of boosted trees, or for another network or other features than the experiment's:
            the message lists the keys that differ, with what they must be.
    """
    if experiment.model.start is None:
        return None
    found = read(experiment.model.start)
    wrong = _differences(found, experiment)
    if wrong:
        lines = "\n".join(f"  {key}: {there} there, {here} here" for key, (there, here) in wrong.items())
        raise ValueError(
            f"model.start: {found.path} ({found.what}) is of another network than this experiment; "
            f"give these keys what stands there:\n{lines}"
        )
    return found


def read(path: str | Path) -> Source:
    """The weights in a run folder, in its `weights.safetensors`, or in a checkpoint of weaver-core.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: no weights in it, or those of something else than these.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"model.start: there is no file or run folder {path}")
    if path.is_dir() or path.suffix == ".safetensors":
        return _of_run(path)
    found = weaver.read(path)
    weights = {f"architecture.{name}": value for name, value in found.weights.items()}
    # their features are on fixed scales, and a batch norm does the rest
    plain = Inputs(found.interactions, found.feature_set).state_dict(prefix="inputs.")
    return Source(
        path=path,
        sha256=checksum(path),
        what="weights of weaver-core",
        model=found.model,
        settings=found.settings,
        features=found.feature_set,
        interactions=found.interactions,
        classes=(),
        weights=weights | plain,
    )


def begin(network: Network, experiment: Experiment, found: Source, classes: tuple[str, ...]) -> Start:
    """Gives a network of the experiment the weights to begin with; its last layer stays as it is for other classes.

    Args:
        network: as `femtobarn.runs.predictor.build` makes it.
        experiment: its experiment.
        found: from `source`.
        classes: behind its outputs.

    Raises:
        ValueError: the weights are not those of such a network after all.
    """
    fresh = frozenset() if found.classes == classes else head(experiment)
    given = {name: value for name, value in found.weights.items() if name not in fresh}
    own = network.state_dict()
    needed = [name for name in own if name not in fresh and not name.endswith("num_batches_tracked")]
    odd = [name for name in needed if name not in given] + [name for name in given if name not in own]
    odd += [name for name in given if name in own and given[name].shape != own[name].shape]
    if odd:
        raise ValueError(f"model.start: {found.path} ({found.what}) lacks, or has otherwise: {', '.join(odd[:4])}")
    network.load_state_dict(given, strict=False)
    return Start(found.sha256, frozenset(name for name, _ in network.named_parameters()) - fresh)


def told(found: Source | None) -> dict[str, Any]:
    """What `meta.json` says of the weights that a training began with; nothing where all were new."""
    return {} if found is None else {"start": {"file": found.path.name, "of": found.what, "sha256": found.sha256}}


def head(experiment: Experiment) -> frozenset[str]:
    """Names of the parameters of the last layer: those whose shape follows from the number of outputs."""
    view, model = experiment.inputs, experiment.model
    with torch.device("meta"):
        sizes = Inputs(view.interactions, view.features).sizes(2)
        one, other = (_shapes(model.name, model.settings, sizes._replace(outputs=outputs)) for outputs in (2, 3))
    return frozenset(f"architecture.{name}" for name, shape in one.items() if shape != other[name])


def _shapes(name: str, settings: Mapping[str, Any], sizes: Sizes) -> dict[str, torch.Size]:
    return {label: value.shape for label, value in find(name)(sizes, **settings).state_dict().items()}


def _of_run(path: Path) -> Source:
    folder = path if path.is_dir() else path.parent
    for name in (CONFIG, META):
        if not (folder / name).is_file():
            what = "it is no run folder" if path.is_dir() else "weights alone do not say what network they are of"
            raise ValueError(f"model.start: there is no {name} beside the weights in {folder}; {what}")
    other = experiments.load(folder / CONFIG)
    if not other.model.is_network:
        raise ValueError(f"model.start: {folder} holds boosted trees, no network")
    file = folder / WEIGHTS if path.is_dir() else path
    try:
        meta = read_meta(folder)
        read_config(folder, meta)
        weights = read_weights(file, meta)
    except ValueError as error:
        raise ValueError(f"model.start: {error}") from None
    classes = meta.content.get("classes")
    if not isinstance(classes, Mapping):
        raise ValueError(f"model.start: {folder / META} lacks the classes of the network; {TRAIN_AGAIN}")
    return Source(
        path=file,
        sha256=checksum(file),
        what=f"{other.label} seed {other.seed}",
        model=other.model.name,
        # dropout is how it learned, not what it is
        settings={name: value for name, value in other.model.settings.items() if "dropout" not in name},
        features=other.inputs.features,
        interactions=other.inputs.interactions,
        classes=tuple(classes),
        weights=weights,
    )


def _differences(found: Source, experiment: Experiment) -> dict[str, tuple[str, str]]:
    """What an experiment would have to change, by path: as it is there, as it is here."""
    view, model = experiment.inputs, experiment.model
    pairs: dict[str, tuple[Any, Any]] = {"model.name": (found.model, model.name)}
    if found.model == model.name:
        pairs |= {f"model.{key}": (value, model.settings.get(key)) for key, value in found.settings.items()}
    pairs["inputs.features"] = (found.features, view.features)
    pairs["inputs.interactions"] = (found.interactions, view.interactions)
    return {key: (_text(there), _text(here)) for key, (there, here) in pairs.items() if there != here}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
