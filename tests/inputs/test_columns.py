"""The BDT's columns: the right object in the right slot, absent ones missing, names that LightGBM takes."""

import itertools
import math
from typing import Any

import lightgbm
import numpy as np
import pytest
import vector

from femtobarn.inputs import INTERACTIONS, columns, make_batch
from femtobarn.physics.objects import ANTIMUON, BJET, ELECTRON, JET, MUON, POSITRON
from femtobarn.physics.observables import observables
from tests.support.sample import make_events

KINDS = {"j": JET, "b": BJET, "electron": ELECTRON, "positron": POSITRON, "muon": MUON, "antimuon": ANTIMUON}
LABELS_OF = {name: [f"{name}{n}" for n in range(1, 5)] if len(name) == 1 else [name] for name in KINDS}
LABELS = list(itertools.chain.from_iterable(LABELS_OF.values()))
KINEMATICS = ("E", "pt", "eta", "phi")


@pytest.fixture(scope="module")
def events():
    return make_events(80, seed=4)


@pytest.fixture(scope="module")
def table(events):
    names, matrix = columns(make_batch(events, 18), tuple(INTERACTIONS))
    assert matrix.dtype == np.float32
    assert matrix.shape == (len(events), len(names))
    return dict(zip(names, matrix.T, strict=True))


@pytest.fixture(scope="module")
def slots(events) -> list[dict[str, Any]]:
    """What stands in each slot of the first events, as scikit-hep vectors, picked by loops."""
    picked = []
    for event in events.particles[:20].to_list():
        event.sort(key=lambda thing: -thing["pt"])
        filled: dict[str, Any] = {}
        for name, kind in KINDS.items():
            chosen = [vector.obj(**{k: thing[k] for k in KINEMATICS}) for thing in event if thing["kind"] == kind]
            filled |= dict(zip(LABELS_OF[name], chosen, strict=False))
        picked.append(filled)
    return picked


def test_slots_hold_the_hardest_of_each_kind_and_nothing_else(slots, table):
    for label, name in itertools.product(LABELS, KINEMATICS):
        expected = [getattr(filled[label], name) if label in filled else math.nan for filled in slots]
        np.testing.assert_allclose(table[f"{name}_{label}"][:20], expected, rtol=1e-5, atol=1e-5, err_msg=label)


def test_pairs_agree_with_vector(slots, table):
    for first, second in itertools.combinations(LABELS, 2):
        for row, filled in enumerate(slots):
            mass = apart = math.nan
            if first in filled and second in filled:
                mass, apart = (filled[first] + filled[second]).mass, filled[first].deltaR(filled[second])
            assert table[f"mass_{first}_{second}"][row] == pytest.approx(mass, rel=2e-4, nan_ok=True)
            assert table[f"delta_r_{first}_{second}"][row] == pytest.approx(apart, rel=1e-4, nan_ok=True)


def test_couplings_stand_with_the_pairs_they_join(table):
    z = table["sm_running_electron_positron"]
    np.testing.assert_allclose(z[~np.isnan(z)], 0.758)
    strong = table["sm_running_j1_b1"]
    assert np.nanmax(strong) < 1.5
    assert np.nanmin(strong) > 0.9
    assert not np.nan_to_num(table["sm_ids_electron_muon"]).any()


def test_observables_are_those_of_the_event(events, table):
    padded, met, phi_met = events.padded(18), events.context.MET.to_numpy(), events.context.phi_MET.to_numpy()
    for name, values in observables(padded, met, phi_met).items():
        np.testing.assert_allclose(table[name], values, rtol=2e-4, atol=0.05, err_msg=name)


def test_without_interactions_there_are_no_pairs(events):
    names, matrix = columns(make_batch(events, 18))
    assert names[:5] == ["E_j1", "pt_j1", "eta_j1", "phi_j1", "E_j2"]
    assert (
        len(set(names))
        == len(names)
        == matrix.shape[1]
        == 48 + len(observables(events.padded(), events.context.MET.to_numpy(), events.context.phi_MET.to_numpy()))
    )
    assert len(columns(make_batch(events, 18), ("mass", "delta_r"))[0]) == len(names) + 2 * 66
    with pytest.raises(ValueError, match="no interaction is called 'dr'"):
        columns(make_batch(events, 18), ("dr",))


def test_no_events_give_the_same_columns(events):
    names, matrix = columns(make_batch(events[:0], 18), ("mass",))
    assert names == columns(make_batch(events, 18), ("mass",))[0]
    assert matrix.shape == (0, len(names))


def test_lightgbm_takes_names_and_missing_values(events):
    names, matrix = columns(make_batch(events, 18), ("mass",))
    data = lightgbm.Dataset(matrix, label=events.process == "tttt", feature_name=names)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    trees = lightgbm.train(settings, data, num_boost_round=3)
    assert trees.feature_name() == names
    assert np.isfinite(trees.predict(matrix)).all()
