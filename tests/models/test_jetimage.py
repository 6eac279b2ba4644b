"""Jet images: pixels against loops, symmetries that the images and the answers must have, the published size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from femtobarn.inputs import Batch, Inputs, Sizes, make_batch
from femtobarn.models import JetImage, Network
from femtobarn.nn import directions
from femtobarn.physics.lorentz import boost
from femtobarn.runs.irc_safety import changes
from tests.inputs.test_constituents import network
from tests.models.test_contract import build, events
from tests.models.test_flow import log_odds
from tests.support.jets import jet_events, massless, prongs

SMALL: dict[str, Any] = {"filters": ((4,),), "fc": (8,)}


def test_the_published_size():
    """610k parameters in arXiv:1902.09914, table 1, of images of 40 x 40 pixels with one colour."""
    built = JetImage(Sizes(7, 0, 0, 2), channels=("pt",))
    assert sum(parameter.numel() for parameter in built.parameters()) == 609_666


def jets(pt: np.ndarray, rapidity: np.ndarray, azimuth: np.ndarray) -> Batch:
    momenta = torch.from_numpy(massless(pt, rapidity, azimuth))
    mask = torch.ones(momenta.shape[:2], dtype=torch.bool)
    return Batch(momenta, 8 + 0 * mask.long(), mask, torch.zeros(len(mask), 2, dtype=torch.float64), momenta[..., :0])


def some(count: int = 12, size: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    rapidity, azimuth = random.normal(0, 0.15, (2, count, size)) + random.uniform(-1, 1, (2, count, 1))
    return random.exponential(10, (count, size)), rapidity + 0.1 * azimuth, azimuth


def drawn(batch: Batch, features: str = "kin", **settings: Any) -> Tensor:
    inputs = Inputs((), features).double()
    encoded = inputs(batch)
    relative = directions(encoded.momenta, encoded.mask)
    return JetImage(inputs.sizes(2), **SMALL, **settings).draw(encoded, relative)


def moments(image: Tensor, reach: float) -> dict[str, Tensor]:
    pixels = image.shape[-1]
    middles = (torch.arange(pixels, dtype=torch.float64) + 0.5) * 2 * reach / pixels - reach
    x, y = middles[:, None], middles[None, :]
    return {
        name: (image * weight).sum((1, 2))
        for name, weight in (("x", x), ("y", y), ("xy", x * y), ("xx", x * x), ("yy", y * y))
    }


def test_each_particle_is_shared_out_among_four_pixels():
    batch = jets(*some())
    reach, pixels = 0.9, 9
    found = drawn(batch, pixels=pixels, reach=reach, channels=("pt", "count"))
    # where they lie in the image is for other tests
    encoded = Inputs((), "kin").double()(batch)
    seen: list[Tensor] = []
    built = JetImage(Sizes(7, 0, 0, 2), pixels=pixels, reach=reach, channels=("pt",), **SMALL)
    plain, built.pixel_weights = built.pixel_weights, lambda coordinate: seen.append(coordinate) or plain(coordinate)  # type: ignore[func-returns-value, method-assign]
    built.draw(encoded, directions(encoded.momenta, encoded.mask))
    x, y = (place.numpy() for place in seen)
    share = directions(encoded.momenta, encoded.mask).pt_fraction.numpy()
    expected = np.zeros((len(x), 2, pixels, pixels))
    for jet, particle in np.ndindex(x.shape):
        across = [(place + reach) / (2 * reach) * pixels - 0.5 for place in (x[jet, particle], y[jet, particle])]
        low = [math.floor(place) for place in across]
        for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = abs(1 - dx - (across[0] - low[0])) * abs(1 - dy - (across[1] - low[1]))
            at = low[0] + dx, low[1] + dy
            if min(at) >= 0 and max(at) < pixels:
                expected[jet, 0][at] += weight * share[jet, particle]
                expected[jet, 1][at] += weight
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(found.sum((2, 3))[:, 0].numpy(), 1, atol=0.03)  # little lies outside


def test_images_of_jets_stand_upright_in_the_middle():
    image = drawn(jets(*some()), pixels=60, reach=2.0, channels=("pt",))[:, 0]
    found = moments(image, 2.0)
    for name in ("x", "y", "xy"):
        torch.testing.assert_close(found[name], torch.zeros(len(image), dtype=torch.float64))
    assert (found["xx"] >= found["yy"]).all()


def test_turned_and_mirrored_jets_have_the_same_image():
    """Around their centre in rapidity and azimuth, around the beam and along it."""
    pt, rapidity, azimuth = some()
    before = drawn(jets(pt, rapidity, azimuth), channels=("pt", "count"))
    share = pt / pt.sum(1, keepdims=True)
    x, y = (place - (share * place).sum(1, keepdims=True) for place in (rapidity, azimuth))
    for angle, mirror in ((0.0, 1), (1.0, 1), (2.0, -1), (math.pi, 1), (-2.5, -1)):
        c, s = math.cos(angle), math.sin(angle)
        turned = jets(pt, c * x - s * y + 0.7, mirror * (s * x + c * y) + 3.0)
        torch.testing.assert_close(drawn(turned, channels=("pt", "count")), before, rtol=0, atol=1e-9)
    other = drawn(jets(pt[:, ::-1].copy(), rapidity, azimuth), channels=("pt", "count"))
    assert (other - before).abs().max() > 1e-2


def test_a_jet_of_one_direction_is_a_point_in_the_middle():
    momenta, mask = prongs((30.0, 0.4, 1.0), (20.0, 0.4, 1.0))
    batch = Batch(
        torch.from_numpy(momenta),
        torch.full((1, 2), 8),
        torch.from_numpy(mask),
        torch.zeros(1, 2),
        torch.zeros(1, 2, 0),
    )
    image = drawn(batch, pixels=5, channels=("pt", "count"))[0]
    expected = torch.zeros(2, 5, 5, dtype=torch.float64)
    expected[:, 2, 2] = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-6)


def test_channels_show_their_types():
    batch = make_batch(jet_events(20), 24, torch.float64)
    channels = ("charged", "neutral", "leptons", "photons", "b_jets", "pt", "count")
    images = drawn(batch, "full", channels=channels, reach=4.0).sum((2, 3))
    share = directions(batch.momenta, batch.mask).pt_fraction
    for number, kinds in enumerate(((3, 4, 5, 6, 8), (7, 9), (3, 4, 5, 6), (7,), (2,), tuple(range(1, 11)))):
        torch.testing.assert_close(images[:, number], (share * torch.isin(batch.kind, torch.tensor(kinds))).sum(1))
    torch.testing.assert_close(images[:, -1], batch.mask.sum(1).double())
    with pytest.raises(ValueError, match="no features are called"):
        drawn(batch, "none")


@pytest.mark.parametrize(
    ("features", "channels"),
    [
        ("kin", ("pt", "count")),
        ("kinpid", ("pt", "count", "charged")),
        ("full", ("pt", "count", "charged")),
        ("objects", ("pt", "count", "b_jets", "leptons")),
    ],
)
def test_usual_channels_go_with_the_features(features, channels):
    assert JetImage(Inputs((), features).sizes(2), **SMALL).channels == channels


def test_images_without_pixels_are_refused():
    with pytest.raises(ValueError, match="9 x 9 pixels are too few for filters"):
        JetImage(Sizes(7, 0, 0, 2), pixels=9)


def turned(batch: Batch, angle: float, speed: float = 0.0) -> Batch:
    px, py, pz, energy = batch.momenta.unbind(-1)
    c, s = math.cos(angle), math.sin(angle)
    momenta = torch.stack([c * px - s * py, s * px + c * py, pz, energy], -1)
    along = torch.tensor([0.0, 0.0, speed], dtype=torch.float64).expand(*px.shape, 3)
    return batch.replace(momenta=boost(momenta, along), context=batch.context + torch.tensor([0.0, angle]))


def test_events_turned_boosted_and_mirrored_get_the_same_answer():
    vision, batch = build("jetimage", ()), events()
    answers = vision(batch)
    torch.testing.assert_close(vision(turned(batch, 2.5, 0.6)), answers, rtol=1e-7, atol=1e-9)
    mirror = torch.tensor([1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(vision(batch.replace(momenta=batch.momenta * mirror)), answers, rtol=1e-7, atol=1e-9)


def test_an_object_opposite_of_the_axis_is_on_both_sides_of_the_image():
    pt, azimuth = np.array([[200.0, 80.0]] * 2), np.array([[0.0, math.pi - 1e-9], [0.0, math.pi + 1e-9]])
    batch = jets(pt, np.array([[0.3, -0.4]] * 2), azimuth).replace(kind=torch.ones(2, 2, dtype=torch.long))
    one, other = drawn(batch, "objects", pixels=36, channels=("pt",))[:, 0]
    torch.testing.assert_close(one, other, rtol=0, atol=1e-7)
    columns = one.sum(0)  # over rapidities; pixels are 0.2 wide, so half a turn is 15.7 of them
    low = [number for number, share in enumerate(columns.tolist()) if share > 1e-9]
    assert low == [1, 2, 17, 18, 33, 34]
    for edge in (columns[1:3].sum(), columns[33:35].sum()):
        torch.testing.assert_close(edge, torch.tensor(80 / 280, dtype=torch.float64))


def test_images_of_momentum_are_safe_and_those_of_numbers_are_not():
    sample = jet_events(60, max_particles=20)
    found = []
    for channels in (("pt",), ("pt", "count")):
        torch.manual_seed(3)
        inputs = Inputs((), "kin")
        built = JetImage(inputs.sizes(2), pixels=14, channels=channels, filters=((8,), (8,)), kernel=3, fc=(16,))
        found.append(changes(log_odds(Network(inputs, built).double().eval()), sample))
    safe, unsafe = found
    for kind in ("soft", "collinear"):
        steps = {each["step"]: each["most"] / safe["spread"] for each in safe[kind]}
        assert steps[1e-6] < 1e-4
        assert steps[1e-5] < 0.02 * steps[1e-3]
        assert unsafe[kind][-1]["most"] / unsafe["spread"] > 1e-2


def test_features_other_than_types_change_nothing():
    tagger, batch = network("jetimage", "full"), make_batch(jet_events(10), 24, torch.float64)
    torch.testing.assert_close(tagger(batch.replace(tracks=batch.tracks + 1)), tagger(batch))
    torch.testing.assert_close(tagger(batch.replace(momenta=3 * batch.momenta)), tagger(batch))
    neutral = batch.replace(kind=torch.where(batch.mask, 9, batch.kind))
    assert (tagger(neutral) - tagger(batch)).abs().max() > 1e-4
