"""Amplitudes: phase-space points that an experiment draws itself, and noise in what it is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from femtobarn.experiments.strict import Selection, StrictConfig

if TYPE_CHECKING:
    from femtobarn.simulate.amplitudes import AmplitudePlan  # torch

Energy = Annotated[float, Field(gt=0, le=1e6)]


class AmplitudesConfig(StrictConfig):
    """Phase-space points with the squared amplitude of a process, drawn in memory before the training."""

    process: str = Field(description="Process, such as `u u~ > z g g` (`femtobarn simulate amplitudes --help`).")
    points: int = Field(default=10_000, ge=1, le=10_000_000, description="Number of points.")
    sqrt_s: Energy = Field(default=1000.0, description="Energy of the partons in their centre of mass in GeV.")
    max_sqrt_s: Energy | None = Field(
        default=None, description="Highest energy; from `sqrt_s` to it the density falls as 1/s. Default: one energy."
    )
    max_rapidity: float = Field(
        default=0.0, ge=0, le=10, description="Largest rapidity of a boost of each event along the beam."
    )
    unweighted: bool = Field(
        default=False, description="Points distributed as the squared amplitude, instead of flat phase space."
    )
    min_pt: float = Field(default=20.0, ge=0, description="Minimum pT of gluons in GeV.")
    min_delta_r: float = Field(default=0.4, ge=0, description="Minimum distance of gluons and photons.")
    seed: int = Field(default=1, ge=0, lt=2**31, description="Random seed of the points.")

    @model_validator(mode="after")
    def _possible(self) -> AmplitudesConfig:
        self.plan()  # raises
        return self

    def plan(self) -> AmplitudePlan:
        """The points to draw."""
        from femtobarn.physics.amplitudes import Cuts  # torch, which files of events are scored without
        from femtobarn.simulate.amplitudes import AmplitudePlan

        return AmplitudePlan(
            process=self.process,
            points=self.points,
            sqrt_s=self.sqrt_s,
            max_sqrt_s=self.max_sqrt_s,
            max_rapidity=self.max_rapidity,
            unweighted=self.unweighted,
            cuts=Cuts(min_pt=self.min_pt, min_delta_r=self.min_delta_r),
            seed=self.seed,
        )


class NoiseConfig(StrictConfig):
    """Noise, or a gap, in the training and validation events; the test events stay exact."""

    column: str = Field(default="amplitude", description="Column that gets the noise.")
    relative: float = Field(
        default=0.0,
        ge=0,
        description="Standard deviation of the noise: values are multiplied by 1 + relative x N(0, 1).",
    )
    where: Selection | None = Field(
        default=None, description="Selection of the events concerned, such as `abs(sqrt_s - 250) < 25`. Default: all."
    )
    drop: bool = Field(default=False, description="Leave these events out, instead of adding noise.")
    seed: int = Field(default=1, ge=0, lt=2**31, description="Random seed of the noise.")

    @model_validator(mode="after")
    def _has_an_effect(self) -> NoiseConfig:
        if self.drop and (self.relative or self.where is None):
            raise ValueError("drop leaves events out: it needs `where`, and no `relative` noise")
        if not self.drop and not self.relative:
            raise ValueError("set `relative` for noise, or `drop: true` with `where` to leave events out")
        return self
