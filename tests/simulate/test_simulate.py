"""Generation and production: vetoes and weights keep yields right, seeds and workers keep events the same."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

pytest.importorskip("pythia8mc")
pytest.importorskip("fastjet")

from typer.testing import CliRunner

from femtobarn.cli import app
from femtobarn.events import lhe_info, read, read_parquet
from femtobarn.events.storage.files import checksum
from femtobarn.simulate import Generator, Plan, Preselection, production, reconstruct, run
from femtobarn.simulate.card import card, error
from femtobarn.simulate.generator import hadronic, same_sign
from femtobarn.simulate.plan import make_units
from femtobarn.simulate.units import Unit, claim, first_number

TTWW = Path(__file__).parents[1] / "data" / "ttWW.lhe.gz"
SAME_SIGN = "(n_lep == 2 and abs(charge) == 2) or n_lep >= 3"
QUICK = ("PartonLevel:MPI = off",)
GG_TTBAR = ("Top:gg2ttbar = on",)


@pytest.fixture(scope="module")
def ttww(tmp_path_factory):
    """The Les Houches file, unpacked for Pythia."""
    return production.plain(TTWW, tmp_path_factory.mktemp("lhe"))


def settings(file: Path, *more: str) -> tuple[str, ...]:
    return ("Beams:frameType = 4", f"Beams:LHEF = {file}", *more)


def plan(**changes) -> Plan:
    """Without multiple interactions, which take most of the time and are nothing to the counting of events."""
    quick = Plan(TTWW, "ttWW", events=300, preselection=Preselection(True, 4, 300.0), settings=QUICK)
    return replace(quick, **changes)


def test_enriched_and_unbiased_yields_agree(tmp_path):
    """Vetoes by leptons and jets change the cost of a sample, not the expected number of selected events."""
    cuts = ("n_jet >= 4", "HT >= 400", SAME_SIGN)
    unbiased = run(plan(events=900, select=cuts, preselection=Preselection()), tmp_path / "unbiased.parquet")
    enriched = run(
        plan(events=3000, select=cuts, preselection=Preselection(True, 4, 400.0), seed=2), tmp_path / "enriched.parquet"
    )
    expected, enriched_yield = unbiased.weight.sum(), enriched.weight.sum()
    error = np.hypot(expected / np.sqrt(len(unbiased)), enriched_yield / np.sqrt(len(enriched)))
    assert len(unbiased) > 15
    assert abs(expected - enriched_yield) < 3 * error
    # and the enriched sample was cheaper: most of its events never saw the shower
    flow = enriched.provenance["processes"]["ttWW"]["cut_flow"]
    assert flow[2]["events"] < 0.1 * flow[0]["events"]
    assert flow[-1]["yield"] == pytest.approx(enriched_yield)


def test_no_selected_event_was_near_a_veto(ttww, tmp_path):
    """Every event of an unbiased sample with the leptons measured, and prompt, would have passed the lepton veto."""
    generator = Generator(settings(ttww, "PartonLevel:MPI = off"), 3, Preselection())
    particles = ak.concatenate([part.particles for part in generator.run(300)])
    measured, _ = reconstruct(particles, np.random.default_rng(1), responses=5)
    prompt = measured[(abs(measured.truth_id) < 15) & (abs(measured.truth_id) > 10) & measured.prompt]
    positive, negative = (ak.to_numpy(ak.sum(chosen, axis=1)) for chosen in (prompt.truth_id < 0, prompt.truth_id > 0))
    selected = ((positive >= 2) | (negative >= 2) | (positive + negative >= 3)).reshape(5, -1).any(axis=0)
    assert selected.sum() > 5
    assert same_sign(particles)[selected].all()


def test_weights_sum_to_the_cross_section(tmp_path):
    events = run(plan(preselection=Preselection(), luminosity=10.0, responses=2), tmp_path / "all.parquet")
    assert len(events) == 600
    assert events.weight.sum() == pytest.approx(lhe_info(TTWW).cross_section * 1000 * 10)
    assert len(np.unique(events.number)) == 600
    assert len(np.unique(events.hard)) == 299  # Sherpa wrote event 190 twice


def test_copies_of_a_hard_event_share_its_number(tmp_path):
    events = run(plan(events=900, select=(SAME_SIGN,), settings=()), tmp_path / "copies.parquet")
    assert events.hard.max() < 300
    assert len(np.unique(events.number)) == len(events)
    place = events.number % 300
    np.testing.assert_array_equal(events.hard, np.where(place == 191, 190, place))


def test_two_seeds_are_one_sample_with_different_numbers_and_the_hard_events_of_the_file(tmp_path):
    files = [tmp_path / f"{seed}.parquet" for seed in (1, 2)]
    for seed, file in enumerate(files, 1):
        run(plan(preselection=Preselection(), events=60 * seed, seed=seed), file, workers=1)
    events = read(files)
    np.testing.assert_allclose(events.weight, lhe_info(TTWW).cross_section * 1e5 / 180)
    assert len(np.unique(events.number)) == 180
    assert events.number[:60].tolist() == list(range(60))  # as in the samples that come with the package
    np.testing.assert_array_equal(events.number, np.concatenate([read_parquet(file).number for file in files]))
    np.testing.assert_array_equal(events.hard, [*range(60), *range(120)])


def test_numbers_of_productions_are_whole_numbers_of_64_bits():
    assert len({first_number(seed) for seed in range(1000)}) == 1000
    assert 1000 * (max(map(first_number, range(1 << 16))) + (1 << 36)) < 2**63


def test_forced_decays_carry_their_branching_fraction(ttww):
    """tt and two W make four W; with W -> l nu only, the weight is the fourth power of that fraction."""
    forced = settings(ttww, "24:onMode = off", "24:onIfAny = 11 13")
    generator = Generator(forced, 5, Preselection())
    (part,) = generator.run(20)
    w = generator.pythia.particleData.findParticle(24)
    channels = [w.channel(index) for index in range(w.sizeChannels())]
    leptonic = sum(c.bRatio() for c in channels if abs(c.product(0)) in (11, 13) or abs(c.product(1)) in (11, 13))
    np.testing.assert_allclose(part.branching, leptonic**4, rtol=1e-3)
    light = (abs(part.particles.id) == 11) | (abs(part.particles.id) == 13)
    prompt = part.particles[part.particles.final & light & ~part.particles.hadronic]
    assert ak.all(ak.num(prompt) >= 4)


def test_particle_and_antiparticle_may_be_left_different_decays(ttww):
    one_lepton = settings(ttww, "24:onMode = off", "24:onPosIfAny = 11 13", "24:onNegIfAny = 1 2 3 4 5")
    generator = Generator((*one_lepton, "PartonLevel:MPI = off"), 5, Preselection())
    (part,) = generator.run(5)
    share = [generator.pythia.particleData.resOpenFrac(code) for code in (24, -24)]
    assert share[0] == pytest.approx(0.216, abs=0.01)
    assert share[1] == pytest.approx(0.676, abs=0.01)
    np.testing.assert_allclose(part.branching, (share[0] * share[1]) ** 2, rtol=1e-6)


def test_weighted_hard_processes_are_refused(ttww, tmp_path):
    head, *events = ttww.read_text().split("<event>")
    head = head.replace(" 3 1\n", " -4 1\n")
    assert " -4 1\n" in head
    for number, event in enumerate(events):
        words = event.split(maxsplit=3)
        words[2] = "-0.3" if number % 2 else "0.6"
        events[number] = f"\n{' '.join(words)}"
    file = tmp_path / "weighted.lhe"
    file.write_text("<event>".join([head, *events]))
    generator = Generator(settings(file, "PartonLevel:MPI = off"), 1, Preselection())
    with pytest.raises(ValueError, match=r"hard processes of weights -0\.3 and 0\.6"):
        list(generator.run(4))


def test_imposed_tau_decays_are_obeyed(ttww):
    """A tau decays as it was drawn in the lepton veto, so that as many events have the leptons as without a veto."""
    # cheap showers will do: decays come first
    only_taus = settings(ttww, "24:onMode = off", "24:onIfAny = 15", "PartonLevel:MPI = off")
    generator = Generator(only_taus, 6, Preselection(same_sign=True))
    particles = ak.concatenate([part.particles for part in generator.run(300)])
    assert generator.veto.after_leptons >= generator.survived == len(particles)
    assert same_sign(particles).all()
    # without the veto the fraction with leptons is the same within errors
    free = Generator(only_taus, 7, Preselection())
    everything = ak.concatenate([part.particles for part in free.run(300)])
    expected = same_sign(everything).sum()
    assert abs(len(particles) - expected) < 3 * np.sqrt(expected + len(particles))


def test_ancestors_are_looked_up_to_the_top():
    event = {
        "id": [90, 2212, 21, 6, 24, 5, -11, 521, 421, 11, 13],
        "status": [-11, -12, -21, -22, -22, -23, 23, -83, -91, 91, 91],
        "mother1": [0, 0, 1, 2, 3, 3, 4, 5, 7, 8, 4],
    }
    record = ak.zip({name: ak.Array([values, values]) for name, values in event.items()})
    assert hadronic(record).to_list() == [[False] * 7 + [False, True, True, False]] * 2


def test_any_number_of_workers_gives_the_same_events(tmp_path):
    events = run(plan(select=(SAME_SIGN,)), tmp_path / "out.parquet", workers=1, unit_size=100)
    again = run(plan(select=(SAME_SIGN,)), tmp_path / "again.parquet", workers=2, unit_size=100)
    for name in ("weight", "number", "hard"):
        np.testing.assert_array_equal(getattr(events, name), getattr(again, name))
    assert ak.array_equal(events.particles, again.particles)
    assert not list(tmp_path.glob("*.units"))


def test_a_stopped_production_goes_on_to_the_same_events(tmp_path):
    uninterrupted = run(plan(), tmp_path / "whole.parquet", workers=1, unit_size=100)

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.done >= 200:
            raise Stop

    with pytest.raises(Stop):
        run(plan(), tmp_path / "out.parquet", workers=1, unit_size=100, progress=stop)
    kept = sorted((tmp_path / "out.parquet.units").glob("*.parquet"))
    assert len(kept) >= 2
    done = []
    resumed = run(
        plan(), tmp_path / "out.parquet", workers=1, unit_size=100, progress=lambda progress: done.append(progress.done)
    )
    assert done[:2] == [100, 200]
    assert ak.array_equal(uninterrupted.particles, resumed.particles)
    np.testing.assert_array_equal(uninterrupted.weight, resumed.weight)


def test_a_folder_of_another_plan_is_refused(tmp_path):
    claim(tmp_path / "out.parquet.units", production.fixed_settings(plan(), 10_000))
    with pytest.raises(ValueError, match="seed was 1, is 2"):
        run(plan(seed=2), tmp_path / "out.parquet")


def test_a_target_is_met_by_the_first_units_that_meet_it(tmp_path):
    events = run(
        plan(events=100_000, target=5, preselection=Preselection()), tmp_path / "out.parquet", workers=2, unit_size=100
    )
    assert len(events) == 100
    assert events.provenance["processes"]["ttWW"]["generated"] == 100


def test_units_never_cross_the_end_of_the_file():
    units = make_units(plan(events=25_000), 12_000)
    assert units == [Unit(0, 10_000), Unit(10_000, 2000), Unit(12_000, 10_000), Unit(22_000, 2000), Unit(24_000, 1000)]


def test_built_in_processes_have_a_cross_section(tmp_path):
    """gg -> tt at leading order is hundreds of pb, and a veto does not change it."""
    top = Plan(None, "ttbar", settings=GG_TTBAR, events=150)
    events = run(top, tmp_path / "tt.parquet", workers=1)
    record = events.provenance["processes"]["ttbar"]
    assert 200 < record["cross_section_pb"] < 800
    assert events.weight.sum() == pytest.approx(record["cross_section_pb"] * 1000 * 100)
    vetoed = run(replace(top, preselection=Preselection(False, 6, 400.0)), tmp_path / "hard.parquet", workers=1)
    error = np.hypot(record["cross_section_error_pb"], 0.05 * record["cross_section_pb"])
    section = vetoed.provenance["processes"]["ttbar"]["cross_section_pb"]
    assert section == pytest.approx(record["cross_section_pb"], abs=3 * error)
    assert len(vetoed) < len(events)


def test_open_decays_of_a_built_in_process_count_once(tmp_path):
    """Pythia's cross sections leave out closed decays by themselves; a given one is that of all decays."""
    cheap = (*GG_TTBAR, *QUICK)
    top = Plan(None, "ttbar", settings=cheap, events=100)
    every = run(top, tmp_path / "all.parquet", workers=1)
    dilepton = replace(top, settings=(*cheap, "24:onMode = off", "24:onIfAny = 11 13"))
    forced = run(dilepton, tmp_path / "ll.parquet", workers=1)
    assert forced.weight.sum() / every.weight.sum() == pytest.approx(0.2162**2, rel=0.2)
    given = run(replace(dilepton, cross_section=500.0), tmp_path / "given.parquet", workers=1)
    assert given.weight.sum() == pytest.approx(500.0 * 1000 * 100 * 0.2162**2, rel=0.01)


def test_the_error_of_a_yield_counts_hard_events(tmp_path):
    events = run(plan(events=600, preselection=Preselection()), tmp_path / "a")
    copies = np.array([2] * 298 + [4])  # Sherpa wrote one event twice
    assert error(events) == pytest.approx(events.weight.sum() / 600 * np.sqrt((copies**2).sum()))


def test_truth_travels_along_and_is_written(tmp_path):
    run(plan(preselection=Preselection()), tmp_path / "out.parquet")
    events = read_parquet(tmp_path / "out.parquet")
    b_jets = events.particles[events.particles.kind == 2]
    assert ak.mean(b_jets.truth_id == 5) > 0.8
    leptons = events.particles[(events.particles.kind >= 3) & (events.particles.kind <= 6)]
    assert ak.mean(leptons.prompt) > 0.9


def test_wrong_plans_and_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="does not understand the setting 'Top:nonsense = on'"):
        Generator(("Top:nonsense = on",), 1, Preselection())
    with pytest.raises(FileNotFoundError):
        run(plan(source=tmp_path / "none.lhe"), tmp_path / "out.parquet")


def test_card_has_the_command_that_makes_the_same_events(tmp_path):
    """The command on the card, typed as it stands, gives the file back."""
    made = run(plan(events=400, select=(SAME_SIGN,), responses=2), tmp_path / "ttWW.parquet")
    text = card(
        read_parquet(tmp_path / "ttWW.parquet"), tmp_path / "ttWW.parquet", title="A card", licence="CC0", command="-"
    )
    assert checksum(tmp_path / "ttWW.parquet") in text
    assert f"| ttWW | {len(made)} |" in text
    command = next(line for line in text.splitlines() if line.startswith("femtobarn simulate"))
    words = [str(TTWW) if word == TTWW.name else word for word in shlex.split(command)[1:]]
    words[words.index("--output") + 1] = str(tmp_path / "again.parquet")
    assert CliRunner().invoke(app, words).exit_code == 0
    again = read_parquet(tmp_path / "again.parquet")
    assert ak.array_equal(made.particles, again.particles)
    np.testing.assert_array_equal(made.weight, again.weight)


def test_veto_counts_partons_before_they_radiate_in_decays(ttww):
    """Pythia asks its hook again in the showers of resonance decays, when soft partons have fallen below the margin."""
    generator = Generator(settings(ttww), 8, Preselection(jets=40))
    veto = generator.veto
    event = generator.pythia.event
    assert veto.doVetoPT(2, event)  # no event has forty jets
    assert not veto.doVetoPT(5, event)


def test_workers_end_with_a_killed_parent():
    """They share its standard output, which ends when the last of them does."""
    script = (
        "import time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from femtobarn.events.processes import end_with_parent\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(2, mp_context=get_context('spawn'), initializer=end_with_parent)\n"
        "    list(pool.map(abs, range(4)))\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(3600)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "parent.py"
        file.write_text(script)
        with subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "ready\n"
            parent.kill()
            parent.communicate(timeout=900)
