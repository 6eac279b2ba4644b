"""Study: many experiments from one YAML, models x seeds x sizes of the training set.

    name: do pairs help?
    base:                                    # what all have in common: an experiment
      data: {sample: four-top}
      task: {signal: [tttt]}
    models:                                  # what each one changes
      ParT: {model: {name: part}}
      ParT_int: {model: {name: part}, inputs: {interactions: [mass, delta_r]}}
    seeds: [1, 2]
    sizes: [0.1, 1.0]                        # fractions of the training events

Each run has a folder, `<out>/ParT_int/seed-2` or, for a smaller training set, `<out>/ParT_int/seed-2-size-0.1`. A study
that was stopped goes on where it stood; finished runs are never computed again.

A smaller training set is passed through more often, so that every training of a network has as many steps: a tenth of
the events is seen in ten times the epochs. Each training keeps its best epoch, so none is worse for having had more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from femtobarn.experiments import document, experiment
from femtobarn.experiments.document import ConfigError, Mistake
from femtobarn.experiments.experiment import Experiment, Label
from femtobarn.runs.run import differences, is_finished, is_trained
from femtobarn.training.settings import MAX_EPOCHS

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Size = Annotated[float, Field(gt=0, le=1)]

#: Most models, seeds and sizes of a study, and most runs, their product.
MAX_ENTRIES = 1000
MAX_RUNS = 10_000


class StudyConfig(BaseModel):
    """Study in YAML: a common experiment, and what each model changes in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(default="study", description="Heading of the report.")
    base: dict[str, Any] = Field(
        default={}, description="Common part of all experiments, as in the YAML of an experiment."
    )
    models: Annotated[dict[Label, dict[str, Any]], Field(min_length=1, max_length=MAX_ENTRIES)] = Field(
        description="Changes of each model, by its label. Another `model.name` keeps no setting of the base's model."
    )
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MAX_ENTRIES)] = Field(
        default=(1,), description="Random seeds. Two or more trainings of each model show the spread."
    )
    sizes: Annotated[tuple[Size, ...], Field(min_length=1, max_length=MAX_ENTRIES)] = Field(
        default=(1.0,),
        description="Fractions of the training and validation events. The number of epochs is divided by the fraction, "
        "so that all trainings have the same number of steps.",
    )

    @field_validator("seeds", "sizes")
    @classmethod
    def _once(cls, values: tuple[float | int, ...]) -> tuple[float | int, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"a value stands twice in {document.shown(list(values))}")
        return values

    @model_validator(mode="after")
    def _countable(self) -> StudyConfig:
        runs = len(self.models) * len(self.seeds) * len(self.sizes)
        if runs > MAX_RUNS:
            raise ValueError(f"models x seeds x sizes are {runs} runs; at most {MAX_RUNS} are allowed")
        return self


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study: its experiment and its folder."""

    label: str
    seed: int
    size: float
    folder: Path
    experiment: Experiment

    @property
    def name(self) -> str:
        """Label, seed and, where it is not the full one, size of the training set."""
        return f"{self.label} seed {self.seed}" + ("" if self.size == 1 else f" size {self.size:g}")

    @property
    def state(self) -> str:
        """`finished`, `changed` (finished with other settings), `trained` (not evaluated), `started` or `to do`."""
        if is_finished(self.folder):
            return "changed" if differences(self.experiment, self.folder) else "finished"
        if is_trained(self.folder):
            return "trained"
        return "started" if self.folder.is_dir() else "to do"


def find(name: str | Path) -> Path:
    """The file of a study: a path, or the bare name of a study that comes with the package.

    Raises:
        FileNotFoundError: neither; the message lists the studies that come along.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {entry.stem: entry for entry in Path(str(files("femtobarn") / "data")).glob("*.yaml")}
    if str(name) in shipped:
        return shipped[str(name)]
    available = f"; the package brings {', '.join(sorted(shipped))}" if shipped else ""
    raise FileNotFoundError(f"no study file {name}{available}")


def load(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> StudyConfig:
    """A study from a YAML file, the name of a shipped one or a mapping; every experiment in it is checked.

    Args:
        source: path, bare name such as `four-top-small`, or what the YAML would hold. Relative paths of data belong to
            the folder of the file.
        overrides: `seeds=[1]`, `sizes=[0.1, 1]` or `name=...` change the study; anything else, such as
            `training.epochs=2`, changes every experiment, whatever the models say.

    Raises:
        document.ConfigError: lists every mistake by its path, with the right names.
        FileNotFoundError: no such study.
    """
    tree, origin, folder = document.read(source if isinstance(source, Mapping) else find(source))
    if "model" in tree and "models" not in tree:
        raise ConfigError(origin, [Mistake("", "is one experiment (it has no models); run `femtobarn train`")])
    own = [text for text in overrides if document.assignment(text)[0][0] in StudyConfig.model_fields]
    for text in own:
        tree = document.put(tree, *document.assignment(text))
    try:
        study = StudyConfig.model_validate(tree)
    except ValidationError as error:
        mistakes = document.mistakes(error, lambda place: list(StudyConfig.model_fields) if not place else [])
        raise ConfigError(origin, mistakes) from None
    shared = [text for text in overrides if text not in own]
    return study.model_copy(update={"base": {}, "models": _checked(study, shared, origin, folder)})


def plan(study: StudyConfig, out: str | Path) -> list[PlannedRun]:
    """Every run of a study with its folder below `out`, first seed first, so that a stopped study can be compared.

    Where `training.threads` is not given a run uses one: several runs side by side make better use of a processor.
    """
    experiments = {
        label: experiment.build(experiment.combine(study.base, change), label, Path.cwd())
        for label, change in study.models.items()
    }
    planned = []
    for seed in study.seeds:
        for size in study.sizes:
            for label, settings in experiments.items():
                data = settings.data.model_copy(update={"fraction": size})
                folder = Path(out) / label / (f"seed-{seed}" + ("" if size == 1 else f"-size-{size:g}"))
                threads, epochs = settings.training.threads or 1, max(1, round(settings.training.epochs / size))
                training = settings.training.model_copy(update={"threads": threads, "epochs": epochs})
                change = {"label": label, "seed": seed, "data": data, "training": training}
                planned.append(PlannedRun(label, seed, size, folder, settings.model_copy(update=change)))
    return planned


def listing(planned: Sequence[PlannedRun]) -> str:
    """The runs of a study with their folders and how far they are, one line each."""
    width = max((len(run.name) for run in planned), default=0)
    lines = [f"{run.name:<{width}}  {run.state:<8}  {run.folder}" for run in planned]
    finished = sum(run.state == "finished" for run in planned)
    return "\n".join([*lines, f"{len(planned)} runs, {finished} finished, {len(planned) - finished} to do"])


def _checked(study: StudyConfig, overrides: Sequence[str], origin: str, folder: Path) -> dict[str, dict[str, Any]]:
    """The experiment of each model, complete; mistakes of all of them are told at once."""
    mistakes: list[Mistake] = []
    complete: dict[str, dict[str, Any]] = {}
    taken = {"seed": "seeds", "label": "the key in models", "data.fraction": "sizes"}
    for text in overrides:
        path = ".".join(document.assignment(text)[0])
        mistakes += [Mistake(f"override {path}", f"is given by {taken[path]}")] if path in taken else []
    for label, change in study.models.items():
        for place, tree in (("base", study.base), (f"models.{label}", change)):
            flat = document.flatten(tree)
            mistakes += [Mistake(f"{place}.{key}", f"is given by {taken[key]}") for key in taken if key in flat]
        merged = experiment.override(experiment.combine(study.base, change), overrides)
        try:
            settings = experiment.build({**merged, "label": label}, origin, folder)
        except ConfigError as error:
            own = document.flatten(change)
            for mistake in error.mistakes:
                is_own = any(key == mistake.path or key.startswith(f"{mistake.path}.") for key in own)
                place = f"models.{label}" if is_own or mistake.path.startswith("model") else "base"
                mistakes.append(Mistake(f"{place}.{mistake.path}", mistake.message))
        else:
            epochs = round(settings.training.epochs / min(study.sizes))
            if epochs > MAX_EPOCHS:
                message = (
                    f"the smallest, {min(study.sizes):g}, makes {epochs:.3g} epochs; at most {MAX_EPOCHS} are allowed"
                )
                mistakes.append(Mistake("sizes", message))
            complete[label] = settings.model_dump(mode="json")
    if mistakes:
        raise ConfigError(origin, list(dict.fromkeys(mistakes)))
    return complete
