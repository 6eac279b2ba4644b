"""Tokens of the equivariant networks: what they hold, and what references leave of the Lorentz symmetry."""

from __future__ import annotations

import pytest
import torch

from femtobarn.inputs import Features, Inputs, make_batch
from femtobarn.models import model_spec, networks
from femtobarn.nn import n_token_scalars, tokens
from femtobarn.nn.tokens import REFERENCES
from femtobarn.physics import lorentz
from tests.support.jets import jet_events
from tests.support.sample import make_events
from tests.support.symmetries import Transformation, along_beam, around_beam, rotation

#: Networks that take references.
REFERRING = [name for name in networks() if "references" in model_spec(name).schema.model_fields]


def test_objects_then_missing_momentum_then_references():
    batch = make_batch(make_events(7), 12, torch.float64)
    inputs = Inputs().double()
    encoded, sizes = inputs(batch), inputs.sizes(2)
    found = tokens(encoded, sizes, ("beam", "time"), scale=20.0)
    torch.testing.assert_close(found.momenta[:, :12] * 20, encoded.momenta)
    missing = found.momenta[:, 12] * 20
    torch.testing.assert_close(lorentz.pt(missing), batch.context[:, 0])
    torch.testing.assert_close(lorentz.phi(missing), batch.context[:, 1])
    torch.testing.assert_close(missing[:, 3], batch.context[:, 0])
    assert found.momenta[0, 13:].tolist() == [[0, 0, 1, 1], [0, 0, -1, 1], [0, 0, 0, 1]]
    assert found.mask.tolist() == [[*event, True, True, True, True] for event in batch.mask.tolist()]
    flags = found.scalars[0, 12:, 7:].tolist()
    assert flags == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    torch.testing.assert_close(found.scalars[:, :12, :7], encoded.particles[..., 4:])
    assert found.scalars.shape[-1] == n_token_scalars(sizes, ("beam", "time")) == 10


@pytest.mark.parametrize(("features", "scalars"), [("kin", 0), ("kinpid", 6), ("full", 10)])
def test_jets_have_what_no_frame_changes_and_no_missing_momentum(features, scalars):
    inputs = Inputs(features=features)
    encoded, sizes = inputs(make_batch(jet_events(5), 20)), inputs.sizes(2)
    assert sizes.vectors == 0
    assert encoded.vectors.shape == (5, 0, 4)
    found = tokens(encoded, sizes)
    assert found.scalars.shape == (5, 20, scalars)
    names = inputs.particles[slice(*sizes.scalars)]
    assert len(names) == scalars
    assert not {name for name in names if "log" in name or "delta" in name}


def test_references_break_what_they_should():
    """Beams keep rotations around them and, up to their scale, boosts along them; time keeps every rotation."""
    beams = torch.tensor(REFERENCES["beam"], dtype=torch.float64)
    torch.testing.assert_close(around_beam(1.1)(beams), beams)
    boosted = along_beam(3.0)(beams)
    torch.testing.assert_close(boosted / boosted[:, 3:], beams)


#: What each choice of references keeps, and what it breaks.
KEPT = {
    ("beam",): (around_beam(1.1), along_beam(3.0)),
    ("time",): (rotation(1), along_beam(3.0)),
    ("beam", "time"): (around_beam(1.1), rotation(1)),
}


@pytest.mark.parametrize("references", KEPT, ids="-".join)
@pytest.mark.parametrize("name", REFERRING)
def test_networks_keep_the_symmetry_that_the_references_leave(name, references):
    torch.manual_seed(7)
    inputs = Inputs().double()
    encoded = inputs(make_batch(make_events(40), 14, torch.float64))
    spec = model_spec(name)
    network = spec.build(inputs.sizes(2), **{**spec.small, "references": references}).double().eval()
    kept, broken = (network(seen(encoded, moved)) for moved in KEPT[references])
    torch.testing.assert_close(kept, network(encoded), rtol=1e-9, atol=1e-9)
    assert (broken - network(encoded)).abs().max() > 1e-5


def seen(encoded: Features, moved: Transformation) -> Features:
    """An event in another frame."""
    momenta = torch.where(encoded.mask[..., None], moved(encoded.momenta), 0.0)
    return encoded._replace(momenta=momenta, vectors=moved(encoded.vectors))
