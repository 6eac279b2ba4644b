"""Verbs of simulation: collisions and jets, and amplitudes of hard processes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from femtobarn.cli.common import Dask, Workers, app, complaints, err, out

#: Verb that runs where none is given.
DEFAULT = "collisions"


class Simulations(TyperGroup):
    """Verbs of simulation; `femtobarn simulate FILE` and `femtobarn simulate --jets top` simulate collisions."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


simulate = typer.Typer(
    cls=Simulations,
    help="Simulation: collisions and jets by Pythia 8 (default), or amplitudes of hard processes.",
    rich_markup_mode="rich",
)
app.add_typer(simulate, name="simulate")


@simulate.command()
def collisions(
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")],
    source: Annotated[
        Path | None, typer.Argument(help="Les Houches file (.lhe, .lhe.gz); default: a process built into Pythia.")
    ] = None,
    process: Annotated[str | None, typer.Option(help="Name of the process; default: from the file name.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="Line of Pythia settings, such as 'Top:gg2ttbar = on'; may be repeated.")
    ] = None,
    events: Annotated[
        int | None,
        typer.Option(min=1, help="Number of hard processes; a file is reused from its start. Default: the file once."),
    ] = None,
    max_selected: Annotated[
        int | None, typer.Option("--max-selected", min=1, help="Maximum number of selected events.")
    ] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Selection of events, such as 'n_jet >= 6'; may be repeated.")
    ] = None,
    same_sign: Annotated[
        bool, typer.Option("--same-sign", help="Early veto of events without same-sign leptons or three leptons.")
    ] = False,
    min_jets: Annotated[int, typer.Option(min=0, help="Early veto of events with fewer jets.")] = 0,
    min_ht: Annotated[float, typer.Option(min=0, help="Early veto of events with a smaller H_T, in GeV.")] = 0.0,
    smearings: Annotated[
        int, typer.Option("--smearings", min=1, help="Detector smearings of each generated event.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the events.")] = 1,
    luminosity: Annotated[float, typer.Option(min=0, help="Integrated luminosity of the weights, in 1/fb.")] = 100.0,
    cross_section: Annotated[
        float | None, typer.Option(min=0, help="Cross section of all decays in pb; default: of the file or of Pythia.")
    ] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Rounding to the resolution of a detector.")] = False,
    jets: Annotated[
        Literal["top", "W", "Z", "Higgs", "quark", "gluon", "QCD"] | None,
        typer.Option(help="Jets of this type with their constituents, anti-kt with R = 0.8, instead of collisions."),
    ] = None,
    jet_pt: Annotated[tuple[float, float], typer.Option(help="Minimum and maximum pT of the jets, in GeV.")] = (
        500,
        600,
    ),
    detector: Annotated[
        bool, typer.Option("--detector/--no-detector", help="Detector-level or generator-level constituents of --jets.")
    ] = True,
    workers: Workers = None,
    dask: Dask = None,
) -> None:
    """Simulation of collisions: Pythia 8 for decays, showers and hadrons, FastJet, and a parametrised detector.

    A stopped production is resumed by the same command. The result is the same for any number of workers.

    Example: femtobarn simulate ttW.lhe.gz --same-sign --min-jets 6 --select 'n_jet >= 6' -o ttW.parquet

    Example: femtobarn simulate --jets top --max-selected 10000 -o top.parquet
    """
    with complaints():
        from femtobarn.events import inspect, lhe_info, show
        from femtobarn.events.storage.files import stem
        from femtobarn.simulate import Jets, Plan, Preselection, run
        from femtobarn.studies.cluster import Cluster
        from femtobarn.studies.progress import bar

        if jets is not None:
            process = process or jets
        elif source is None and not (process and setting):
            raise ValueError("give a Les Houches file, or --process NAME and --setting for one built into Pythia")
        plan = Plan(
            source=source,
            process=process or stem(source or ""),
            settings=tuple(setting or ()),
            events=events or (lhe_info(source).events if source else 10_000 if max_selected is None else 10_000_000),
            target=max_selected,
            responses=smearings,
            select=tuple(select or ()),
            preselection=Preselection(same_sign, min_jets, min_ht),
            seed=seed,
            luminosity=luminosity,
            cross_section=cross_section,
            jets=Jets(jets, *jet_pt, detector=detector) if jets is not None else None,
        )
        with ExitStack() as stack:
            cluster = stack.enter_context(Cluster(dask)) if dask else None
            progress = stack.enter_context(bar(plan.process, err))
            n_workers = cluster.workers if cluster else workers
            simulated = run(plan, output, workers=n_workers, executor=cluster, compact=compact, progress=progress)
        show(inspect(simulated, luminosity), out)
        out.print(f"{len(simulated)} events in {output}", highlight=False)


@simulate.command()
def amplitudes(
    process: Annotated[str, typer.Argument(help="Process, such as 'u u~ > z g g'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write, with a card beside it (.md).")],
    events: Annotated[int, typer.Option(min=1, help="Number of phase-space points.")] = 10_000,
    sqrt_s: Annotated[
        float, typer.Option("--sqrt-s", help="Energy of the partons in their centre of mass, in GeV.")
    ] = 1000.0,
    max_sqrt_s: Annotated[
        float | None,
        typer.Option("--max-sqrt-s", help="Highest energy; from --sqrt-s to it the density falls as 1/s."),
    ] = None,
    max_rapidity: Annotated[
        float, typer.Option(min=0, max=10, help="Largest rapidity of a boost along the beam, uniform.")
    ] = 0.0,
    unweighted: Annotated[
        bool, typer.Option("--unweighted", help="Points distributed as the squared amplitude, not flat phase space.")
    ] = False,
    min_pt: Annotated[float, typer.Option(min=0, help="Minimum pT of gluons, in GeV.")] = 20.0,
    min_delta_r: Annotated[float, typer.Option(min=0, help="Minimum distance of gluons and photons.")] = 0.4,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the points.")] = 1,
    workers: Workers = None,
    dask: Dask = None,
) -> None:
    """Squared amplitudes at points of phase space: Z + 1 to 4 gluons, 2 to 4 gluons, two photons, two photons + gluon.

    Columns: amplitude (for gluons also amplitude_lc and color_ratio), sqrt_s, min_sij. A stopped simulation is resumed
    by the same command. The result is the same for any number of workers. `inputs.features: momenta` trains on it.

    Example: femtobarn simulate amplitudes 'u u~ > z g g' --events 100000 -o zgg.parquet
    """
    with complaints():
        from femtobarn.events.storage.atomic import atomic_write_bytes
        from femtobarn.physics.amplitudes import Cuts
        from femtobarn.simulate.amplitude_card import amplitude_card, summary
        from femtobarn.simulate.amplitudes import AmplitudePlan, simulate_amplitudes
        from femtobarn.studies.cluster import Cluster
        from femtobarn.studies.progress import bar

        plan = AmplitudePlan(
            process=process,
            points=events,
            sqrt_s=sqrt_s,
            max_sqrt_s=max_sqrt_s,
            max_rapidity=max_rapidity,
            unweighted=unweighted,
            cuts=Cuts(min_pt=min_pt, min_delta_r=min_delta_r),
            seed=seed,
        )
        with ExitStack() as stack:
            cluster = stack.enter_context(Cluster(dask)) if dask else None
            progress = stack.enter_context(bar(plan.process, err))
            n_workers = cluster.workers if cluster else workers
            points = simulate_amplitudes(plan, output, workers=n_workers, executor=cluster, progress=progress)
        atomic_write_bytes(output.with_suffix(".md"), amplitude_card(points, output).encode())
        for key, value in summary(points).items():
            out.print(f"{key}  {value}", highlight=False, markup=False)
        out.print(f"{len(points)} points in {output}, card in {output.with_suffix('.md')}", highlight=False)
