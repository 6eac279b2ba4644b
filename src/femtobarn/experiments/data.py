"""Source: which events an experiment is about, the `data` part of its YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from femtobarn.events import Mapping as Columns
from femtobarn.events.generation import Combine
from femtobarn.events.names import check_name
from femtobarn.events.reader_settings import Format, Unit
from femtobarn.events.samples import SAMPLES
from femtobarn.events.selection.cuts import check as check_selection
from femtobarn.experiments import document


def read_mapping(path: str | Path) -> Columns:
    """What the columns of flat tables mean, from YAML: `data.mapping` of an experiment, or the mapping alone.

    Raises:
        ConfigError: not YAML, or mistakes in the mapping.
        FileNotFoundError: no such file.
    """
    tree, origin, _ = document.read(path)
    place: list[str] = []
    for key in ("data", "mapping"):
        if isinstance(inner := tree.get(key), Mapping):
            tree = inner
            place.append(key)
    try:
        return Columns.model_validate(dict(tree))
    except ValidationError as error:
        found = document.mistakes(error, lambda where: sorted(Columns.model_fields))
        where = "".join(f"{key}." for key in place)
        raise document.ConfigError(origin, [document.Mistake(where + path, text) for path, text in found]) from None


class StrictConfig(BaseModel):
    """Settings that can't be changed, and know no other keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SplitConfig(StrictConfig):
    """Shares of the events for training, for choosing the best epoch and for judging; they sum to 1."""

    train: float = Field(default=0.6, gt=0, lt=1)
    validation: float = Field(default=0.2, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)

    @model_validator(mode="after")
    def _whole(self) -> SplitConfig:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares sum to {total:g}, not to 1")
        return self


#: Name of a process.
Name = Annotated[str, AfterValidator(check_name)]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class DataConfig(StrictConfig):
    """Which events: a sample of the package or files, which of them, and how they are shared out.

    Args:
        prepared: a folder that `femtobarn prepare` wrote, relative to the YAML file; its events stay on disk. Selection
            and split were made when it was written.
        rates: of prepared events, how often those of a process are dealt in an epoch of training, once where nothing is
            said: 0.1 deals a tenth of them, another one each time, 2 deals all twice. Their weights make up for it.
            Boosted trees, which have no epochs, take each event once.
        sample: `four-top`, `top-tagging` or `quark-gluon`, which come with the package.
        files: paths or globs, relative to the YAML file; or a mapping from process to paths, for files that hold one
            process each and do not say which.
        format: darkmachines, parquet, lhe, top_tagging, quark_gluon or jetclass, where the suffix does not tell.
        unit: of energies in text, where it is not MeV; in jets and foreign Parquet, where it is not GeV.
        tolerant: leave out lines and rows that can't be used, and count them, instead of stopping there.
        mapping: for flat Parquet of another layout, which column holds what.
        selection: expression that events must fulfil, e.g. `n_bjet >= 3 and HT > 600`.
        combine: how files of one process become one sample where they state cross section and generated events:
            `average` runs of one generation, weighted by their generated events, or `add` what complements one another
            (decay channels, slices of H_T).
        renumber: event numbers count within each file only: mix them with the checksum of the file.
        luminosity: integrated luminosity in 1/fb that the weights in the files stand for, where files do not say.
        split: shares for training, validation and test; fixed by process and event number for ever.
        fraction: share of the training and validation events to use, as if fewer had been simulated; smaller shares
            are contained in larger ones, the test events stay as they are.
    """

    prepared: str | None = None
    rates: dict[Name, Annotated[float, Field(gt=0, le=1_000_000)]] = {}
    sample: Literal["four-top", "top-tagging", "quark-gluon"] | None = None
    files: (
        Annotated[tuple[str, ...], BeforeValidator(_listed)]
        | dict[Name, Annotated[tuple[str, ...], BeforeValidator(_listed)]]
    ) = ()
    format: Format | None = None
    unit: Unit | None = None
    tolerant: bool = False
    mapping: Columns | None = None
    combine: Combine = "average"
    renumber: bool = False
    selection: str | None = None
    luminosity: PositiveFloat | None = None
    split: SplitConfig = SplitConfig()
    fraction: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        sources = [name for name in ("prepared", "sample", "files") if getattr(self, name)]
        if len(sources) != 1:
            given = " and ".join(sources) or "none"
            raise ValueError(f"give one of prepared, sample ({', '.join(SAMPLES)}) and files; {given} given")
        settings = ("format", "unit", "tolerant", "mapping", "renumber", "luminosity")
        described = [name for name in settings if getattr(self, name)]
        described += ["combine"] if self.combine != "average" else []
        if sources != ["files"] and described:
            raise ValueError(f"{', '.join(described)}: only for files; {sources[0]} needs no description")
        if self.prepared is not None:
            made = [name for name in ("selection", "split") if getattr(self, name) not in (None, SplitConfig())]
            if made:
                raise ValueError(f"{' and '.join(made)}: made by `femtobarn prepare`, and fixed in what it wrote")
        elif self.rates:
            raise ValueError("rates: only for prepared events (femtobarn prepare)")
        return self

    @field_validator("selection")
    @classmethod
    def _understood(cls, selection: str | None) -> str | None:
        if selection is not None:
            check_selection(selection)
        return selection
