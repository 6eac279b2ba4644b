"""Data: events of an experiment, the `data` part of its YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    PositiveFloat,
    ValidationError,
    model_validator,
)

from femtobarn.events import Mapping as Columns
from femtobarn.events.generation import Combine
from femtobarn.events.names import check_name
from femtobarn.events.reader_settings import Format, Unit
from femtobarn.events.samples import SAMPLES
from femtobarn.experiments import document
from femtobarn.experiments.amplitudes import AmplitudesConfig, NoiseConfig
from femtobarn.experiments.strict import Selection, StrictConfig


def read_mapping(path: str | Path) -> Columns:
    """Meaning of the columns of flat tables, from YAML: `data.mapping` of an experiment, or the mapping alone.

    Raises:
        ConfigError: not YAML, or mistakes in the mapping.
        FileNotFoundError: no such file.
    """
    tree, origin, _ = document.read(path)
    prefix = ""
    for key in ("data", "mapping"):
        if isinstance(section := tree.get(key), Mapping):
            tree = section
            prefix += f"{key}."
    try:
        return Columns.model_validate(dict(tree))
    except ValidationError as error:
        mistakes = document.mistakes(error, lambda _: sorted(Columns.model_fields))
        raise document.ConfigError(
            origin, [document.Mistake(prefix + mistake.path, mistake.message) for mistake in mistakes]
        ) from None


class SplitConfig(StrictConfig):
    """Fractions of the events for training, validation and test; they sum to 1."""

    train: float = Field(default=0.6, gt=0, lt=1, description="Fraction of the events to train on.")
    validation: float = Field(default=0.2, gt=0, lt=1, description="Fraction of the events to select the best epoch.")
    test: float = Field(
        default=0.2, gt=0, lt=1, description="Fraction of the events to evaluate on. The three fractions sum to 1."
    )

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitConfig:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test sum to {total:g}; they must sum to 1")
        return self


#: Name of a process.
Name = Annotated[str, AfterValidator(check_name)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


#: One path or several.
Paths = Annotated[tuple[str, ...], BeforeValidator(_as_list, json_schema_input_type=str | tuple[str, ...])]


class DataConfig(StrictConfig):
    """Events of an experiment: a sample of the package, files, or prepared events, with selection and split."""

    prepared: str | None = Field(
        default=None,
        description="Folder written by `femtobarn prepare`, relative to the YAML file. Events stay on disk; selection "
        "and split are fixed in it.",
    )
    sampling_rates: dict[Name, Annotated[float, Field(gt=0, le=1_000_000)]] = Field(
        default={},
        description="Number of times each event of a process is drawn per epoch, for prepared events (default 1). 0.1 "
        "draws another tenth of the events in every epoch. Weights are divided by the rate. Boosted trees use every "
        "event once.",
        validation_alias=AliasChoices("sampling_rates", "rates"),
    )
    sample: Literal["four-top", "top-tagging", "quark-gluon"] | None = Field(
        default=None, description="Sample that comes with the package."
    )
    files: Paths | dict[Name, Paths] = Field(
        default=(),
        description="Paths or globs, relative to the YAML file; or a mapping from process to paths, for files that "
        "hold one process each and do not name it.",
    )
    format: Format | None = Field(default=None, description="Format of the files. Default: by file suffix.")
    unit: Unit | None = Field(
        default=None,
        description="Unit of energies in the files. Default: MeV in Dark Machines text, GeV in jets and tables.",
    )
    tolerant: bool = Field(
        default=False,
        description="Leave out and count damaged lines, rows and events, and undecayed particles of Les Houches files, "
        "instead of stopping at the first one.",
    )
    mapping: Columns | None = Field(default=None, description="Columns of flat Parquet files of another layout.")
    combine: Combine = Field(
        default="average",
        description="Combination of several files of one process that state their cross section: `average` for "
        "productions of the same process, `add` for complementary samples (decay channels, slices of H_T).",
    )
    renumber: bool = Field(
        default=False,
        description="Mix event numbers with the checksum of their file, for files that each count from 0.",
    )
    amplitudes: AmplitudesConfig | None = Field(
        default=None, description="Phase-space points of a hard process with its squared amplitude, drawn in memory."
    )
    noise: NoiseConfig | None = Field(
        default=None, description="Noise in a column of the training and validation events, or a gap in them."
    )
    selection: Selection | None = Field(
        default=None, description="Expression that events must fulfil, such as `n_bjet >= 3 and HT > 600`."
    )
    luminosity: PositiveFloat | None = Field(
        default=None,
        description="Integrated luminosity of the weights in 1/fb, for files that do not state it. Default: 100.",
    )
    split: SplitConfig = Field(
        default=SplitConfig(),
        description="Split into training, validation and test events, fixed by process and number.",
    )
    fraction: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Fraction of the training and validation events to use. Smaller fractions are subsets of larger "
        "ones; the test events stay the same.",
    )

    @model_validator(mode="after")
    def _exactly_one_source(self) -> DataConfig:
        sources = [name for name in ("prepared", "sample", "files", "amplitudes") if getattr(self, name)]
        if len(sources) != 1:
            given = " and ".join(sources) or "none of them"
            raise ValueError(
                f"set exactly one of prepared, sample ({', '.join(SAMPLES)}), files and amplitudes; got {given}"
            )
        file_settings = ("format", "unit", "tolerant", "mapping", "renumber", "luminosity")
        described = [name for name in file_settings if getattr(self, name)]
        described += ["combine"] if self.combine != "average" else []
        if sources != ["files"] and described:
            raise ValueError(f"{', '.join(described)}: only for files, not for {sources[0]}; leave out")
        if self.prepared is not None:
            if self.noise is not None:
                raise ValueError("noise: not for prepared events, which stay on disk; use files or amplitudes")
            fixed = [name for name in ("selection", "split") if getattr(self, name) not in (None, SplitConfig())]
            if fixed:
                raise ValueError(
                    f"{' and '.join(fixed)}: fixed in the folder of prepared events; leave out, or run "
                    "`femtobarn prepare` again"
                )
        elif self.sampling_rates:
            raise ValueError("sampling_rates: only for prepared events (femtobarn prepare)")
        return self
