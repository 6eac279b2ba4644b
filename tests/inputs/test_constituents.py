"""Features of constituents: by hand with scikit-hep's vector, on the scales of JetClass, and in every network."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
import vector

from femtobarn.events import Events
from femtobarn.events.record import TRACKS
from femtobarn.experiments.experiment import load
from femtobarn.inputs import FEATURES, Batch, Inputs, batches, columns, make_batch
from femtobarn.inputs.batch import FIELDS
from femtobarn.inputs.feature_sets import check_features
from femtobarn.models import Network, model_spec, networks
from femtobarn.models.network import trim
from femtobarn.physics.objects import CHARGED, ELECTRON, MUON, NEUTRAL, PHOTON
from femtobarn.runs.splits import fingerprint
from tests.support.jets import jet_events
from tests.support.sample import make_events

SLOTS = 24
#: centre, factor and bounds of the data configurations of JetClass
WEAVER = {
    "log pT": (1.7, 0.7, -5, 5),
    "log E": (2.0, 0.7, -5, 5),
    "log pT/jet": (-4.7, 0.7, -5, 5),
    "log E/jet": (-4.7, 0.7, -5, 5),
    "delta R": (0.2, 4.0, -5, 5),
    "d0 error": (0, 1, 0, 1),
    "dz error": (0, 1, 0, 1),
}
ORDER = [
    "log pT",
    "log E",
    "log pT/jet",
    "log E/jet",
    "delta R",
    "charge",
    "charged hadron",
    "neutral hadron",
    "photon",
    "electron",
    "muon",
    "tanh d0",
    "d0 error",
    "tanh dz",
    "dz error",
    "delta eta",
    "delta phi",
]


def jets(count: int = 40, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    return make_batch(jet_events(count, seed=seed), SLOTS, dtype)


def by_hand(events: Events, row: int) -> list[dict[str, float]]:
    particles = sorted(events.particles[row].tolist(), key=lambda one: -one["pt"])[:SLOTS]
    momenta: list[Any] = [vector.obj(**{name: one[name] for name in ("pt", "eta", "phi", "E")}) for one in particles]
    jet = momenta[0]
    for one in momenta[1:]:
        jet = jet + one
    found = []
    for one, p in zip(particles, momenta, strict=True):
        deta, dphi = math.copysign(1, jet.eta) * (p.eta - jet.eta), p.deltaphi(jet)
        raw = {
            "log pT": math.log(p.pt),
            "log E": math.log(p.E),
            "log pT/jet": math.log(p.pt / jet.pt),
            "log E/jet": math.log(p.E / jet.E),
            "delta R": math.hypot(deta, dphi),
            "charge": one["charge"],
            "charged hadron": one["kind"] == CHARGED,
            "neutral hadron": one["kind"] == NEUTRAL,
            "photon": one["kind"] == PHOTON,
            "electron": one["kind"] in (3, 4),
            "muon": one["kind"] in (5, 6),
            "tanh d0": math.tanh(one["d0"]),
            "d0 error": one["d0_error"],
            "tanh dz": math.tanh(one["dz"]),
            "dz error": one["dz_error"],
            "delta eta": deta,
            "delta phi": dphi,
        }
        for name, (centre, factor, low, high) in WEAVER.items():
            raw[name] = min(max((raw[name] - centre) * factor, low), high)
        found.append({name: float(value) for name, value in raw.items()})
    return found


@pytest.mark.parametrize("name", FEATURES)
def test_features_are_those_of_jetclass(name):
    events = jet_events(30)
    inputs = Inputs((), name).double().fit(make_batch(events, SLOTS, torch.float64))
    encoded = inputs(make_batch(events, SLOTS, torch.float64))
    assert encoded.particles.shape == (30, SLOTS, {"kin": 7, "kinpid": 13, "full": 17}[name])
    assert encoded.context.shape == (30, 0)
    assert list(FEATURES[name]) == [one for one in ORDER if one in FEATURES[name]]
    for row in range(30):
        expected = [[one[feature] for feature in FEATURES[name]] for one in by_hand(events, row)]
        mine = encoded.particles[row][encoded.mask[row]].numpy()
        np.testing.assert_allclose(mine, expected, rtol=1e-9, atol=1e-9)
    assert not encoded.particles[~encoded.mask].any()


def test_the_jet_is_mirrored_and_turned_to_the_same_features():
    batch, inputs = jets(), Inputs((), "full").double()
    px, py, pz, energy = batch.momenta.unbind(-1)
    c, s = math.cos(1), math.sin(1)
    moved = batch.replace(momenta=torch.stack([c * px - s * py, s * px + c * py, -pz, energy], dim=-1))
    torch.testing.assert_close(inputs(moved).particles, inputs(batch).particles, rtol=1e-7, atol=1e-7)


def test_events_without_tracks_have_a_block_of_none():
    batch = make_batch(make_events(5), 18)
    assert batch.tracks.shape == (5, 18, 0)
    plain = batch.replace(tracks=batch.tracks[..., :0])
    assert plain.tracks.shape == (5, 18, 0)
    assert all(chunk.tracks.shape[0] == len(chunk) for chunk, _ in batches(plain, (), 2, seed=1))
    assert make_batch(jet_events(5), SLOTS).tracks.shape == (5, SLOTS, len(TRACKS))
    assert make_batch(without(jet_events(5), TRACKS[1:]), SLOTS).tracks.shape == (5, SLOTS, 1)


def test_tracks_follow_their_particles():
    events = jet_events(20)
    batch = make_batch(events, 6, torch.float64)
    for row in range(20):
        hardest = sorted(events.particles[row].tolist(), key=lambda one: -one["pt"])[:6]
        expected = [[one[name] for name in TRACKS] for one in hardest]
        np.testing.assert_array_equal(batch.tracks[row][batch.mask[row]].numpy(), expected)


def test_tracks_are_part_of_the_fingerprint():
    events = jet_events(10)
    other = ak.with_field(events.particles, events.particles.d0 + 1, "d0")
    assert fingerprint(events) != fingerprint(replace(events, particles=other))
    assert fingerprint(events) != fingerprint(without(events, TRACKS))


@pytest.mark.parametrize(("name", "lost"), [("kinpid", TRACKS), ("full", TRACKS[1:]), ("full", ("dz_error",))])
def test_missing_columns_are_named_with_what_would_do(name, lost):
    events = without(jet_events(3), lost)
    first = {"kinpid": "charge", "full": "d0"}[name]
    with pytest.raises(ValueError, match=rf"{name} needs {first}.* would do"):
        check_features(events, name)
    check_features(events, "kin")


def test_constituents_are_no_objects_of_events():
    with pytest.raises(ValueError, match="these events hold charged hadron, neutral hadron; use kin, kinpid, full"):
        check_features(jet_events(5), "objects")
    check_features(make_events(5), "objects")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": {"features": "kim"}}, "inputs.features"),
        ({"inputs": {"features": "kin", "interactions": ["sm_ids"]}}, "couplings are of the objects of an event"),
        ({"inputs": {"features": "kin"}, "model": {"name": "fcn"}}, "fcn has slots for the objects"),
        ({"inputs": {"features": "kin", "interactions": ["mass"]}, "model": {"name": "bdt"}}, "observables of a jet"),
    ],
)
def test_experiments_that_cannot_be_are_refused(change, message):
    tree = {"data": {"sample": "four-top"}, "task": {"signal": ["tttt"]}, "model": {"name": "part"}}
    with pytest.raises(ValueError, match=message):
        load(tree | change)


def test_weights_of_other_features_are_refused():
    with pytest.raises(ValueError, match="weights for 7 features of each particle, not for 13"):
        Inputs((), "kinpid").load_state_dict(Inputs((), "kin").state_dict())


def test_trees_see_the_observables_of_the_jet():
    batch = jets()
    names, values = columns(batch, (), "full")
    fewer, some = columns(batch, (), "kin")
    assert fewer == names[: len(fewer)]
    np.testing.assert_array_equal(values[:, : len(fewer)], some)
    assert {"mass_softdrop", "tau32", "charged_share", "charge_05", "d0_significance1"} <= set(names)
    tracks = torch.where(batch.mask[..., None], batch.tracks, 0.0)
    known = tracks[..., 2] > 0
    significance = torch.where(known, tracks[..., 1].abs() / tracks[..., 2].clamp_min(1e-9), 0.0)
    best = significance.amax(1).numpy()
    np.testing.assert_allclose(values[:, names.index("d0_significance1")], best, rtol=1e-6)


@pytest.mark.parametrize("corner", ["alone", "nothing", "beam"])
def test_features_and_slopes_are_finite_in_every_corner(corner):
    batch = jets(4)
    momenta = batch.momenta.clone()
    mask = batch.mask & (torch.arange(SLOTS) < {"alone": 1, "nothing": 0, "beam": 2}[corner])
    if corner == "beam":
        momenta[:, 0] = torch.tensor([0.0, 0.0, 50.0, 50.0])
    momenta.requires_grad_()
    particles = Inputs((), "full").double()(batch.replace(momenta=momenta, mask=mask)).particles
    (slope,) = torch.autograd.grad(particles.square().sum(), momenta)
    assert particles.isfinite().all()
    assert slope.isfinite().all()


def network(name: str, features: str, pairs: tuple[str, ...] = ("delta", "kt"), **settings: Any) -> Network:
    torch.manual_seed(3)
    spec = model_spec(name)
    inputs = Inputs(pairs if spec.takes_pairs else (), features).fit(jets(dtype=torch.float32))
    tagger = Network(inputs, spec.build(inputs.sizes(2), **{**spec.small, **settings})).double().train()
    with torch.no_grad():
        for seed in range(3):
            tagger(jets(seed=seed))
    return tagger.eval()


@pytest.mark.parametrize("name", [name for name in networks() if not model_spec(name).by_kind])
@pytest.mark.parametrize("features", ["kin", "full"])
def test_every_network_takes_jets(name, features):
    tagger, batch = network(name, features), jets(30, seed=9)
    logits = tagger(batch)
    assert logits.std(0).min() > 1e-4
    real = batch.mask[..., None]
    dirty = batch.replace(
        momenta=torch.where(real, batch.momenta, torch.nan),
        tracks=torch.where(real, batch.tracks, torch.inf),
        kind=torch.where(batch.mask, batch.kind, MUON),
    )
    torch.testing.assert_close(tagger(dirty), logits, rtol=1e-9, atol=1e-11)
    if not model_spec(name).ordered:
        order = torch.randperm(SLOTS, generator=torch.Generator().manual_seed(0))
        mixed = batch.replace(**{name: getattr(batch, name)[:, order] for name in FIELDS if name != "context"})
        torch.testing.assert_close(tagger(mixed), logits, rtol=1e-9, atol=1e-11)
    nothing = tagger(batch.replace(mask=torch.zeros_like(batch.mask)))
    assert nothing.isfinite().all()


def test_what_a_set_leaves_out_changes_nothing_and_what_it_holds_does():
    batch = jets(10, seed=2)
    other = batch.replace(tracks=batch.tracks + 1, kind=torch.where(batch.mask, ELECTRON, batch.kind))
    for features, same in (("kin", True), ("kinpid", False), ("full", False)):
        encoded = [Inputs((), features).double()(one) for one in (batch, other)]
        assert torch.equal(encoded[0].particles, encoded[1].particles) == same
        assert torch.equal(encoded[0].kind, encoded[1].kind) == same
        assert torch.equal(encoded[0].kind > 0, batch.mask)


def test_trimmed_batches_keep_tracks_beside_their_particles():
    batch = make_batch(jet_events(6, max_particles=10), 40)
    cut = trim(batch)
    assert cut.tracks.shape[:2] == cut.mask.shape
    assert torch.equal(cut.tracks[cut.mask], batch.tracks[batch.mask])


def test_standardisation_of_pairs_does_not_hold_all_pairs_at_once(monkeypatch):
    pieces: list[int] = []

    def watched(batch: Batch, targets: tuple[torch.Tensor, ...], size: int) -> Any:
        pieces.append(size)
        return batches(batch, targets, size)

    monkeypatch.setattr("femtobarn.inputs.features.batches", watched)
    few = Inputs(("kt",), "kin").fit(jets(), chunk_pairs=2048 * 4**2).pair_mean
    assert pieces == [2048 * 4**2 // SLOTS**2]
    monkeypatch.undo()
    torch.testing.assert_close(few, Inputs(("kt",), "kin").fit(jets()).pair_mean)


def without(events: Events, columns: tuple[str, ...]) -> Events:
    kept = [name for name in events.particles.fields if name not in columns]
    return replace(events, particles=events.particles[kept])
