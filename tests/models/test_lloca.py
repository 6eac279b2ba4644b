"""Local canonicalisation: frames that follow the event, what each group keeps, and what the plain networks say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from femtobarn.inputs import Features, Inputs, Sizes, make_batch
from femtobarn.models import model_spec
from femtobarn.nn import LocalFrames
from femtobarn.nn.frames import inverse_lorentz, rest_frame
from femtobarn.nn.tokens import Reference
from femtobarn.physics import lorentz
from tests.support.jets import jet_events
from tests.support.sample import make_events
from tests.support.symmetries import TRANSFORMATIONS, Transformation, along_beam, around_beam, boost, rotation

METRIC = torch.diag(torch.tensor(lorentz.METRIC, dtype=torch.float64))

#: With the plain networks they are made of.
BACKBONES = {"lloca-transformer": "transformer", "lloca-part": "part", "lloca-particlenet": "particlenet"}

TINY: dict[str, dict[str, Any]] = {
    "lloca-transformer": {"width": 24, "heads": 2, "blocks": 2, "vectors": 2, "frames_net": (8, 8)},
    "lloca-part": {"width": 24, "heads": 2, "blocks": 2, "embedding": (16,), "vectors": 2, "frames_net": (8, 8)},
    "lloca-particlenet": {"k": 4, "blocks": ((8, 8), (16, 16), (8, 8)), "vectors": (1, 2), "frames_net": (8, 8)},
}


def build(name: str, sizes: Sizes, seed: int = 0, **chosen: Any) -> Any:
    torch.manual_seed(seed)
    return model_spec(name).build(sizes, **(TINY[name] | chosen)).double().eval()


def backbone(name: str, sizes: Sizes) -> Any:
    """The plain network of the same settings, with weights of its own."""
    plain = BACKBONES[name]
    chosen = {key: value for key, value in TINY[name].items() if key in model_spec(plain).schema.model_fields}
    torch.manual_seed(9)
    return model_spec(plain).build(sizes, **chosen).double().eval()


def events(count: int = 12) -> tuple[Features, Sizes]:
    inputs = Inputs().double()
    return inputs(make_batch(make_events(count, seed=3), 16, torch.float64)), inputs.sizes(3)


def moved(encoded: Features, transformation: Transformation) -> Features:
    """In another frame, with nonsense where the features depend on it."""
    momenta = torch.where(encoded.mask[..., None], transformation(encoded.momenta), 0.0)
    particles = torch.cat([torch.full_like(encoded.particles[..., :4], 17.0), encoded.particles[..., 4:]], -1)
    return encoded._replace(momenta=momenta, vectors=transformation(encoded.vectors), particles=particles)


def apart(network: Any, encoded: Features, transformation: Transformation) -> float:
    """How far the answer moves, in units of its spread over events."""
    with torch.no_grad():
        before, after = network(encoded), network(moved(encoded, transformation))
    return float(((after - before).abs().amax(0) / before.std(0)).max())


def lab_frames(local: LocalFrames, encoded: Features) -> Tensor:
    """Of each object, from the lab."""
    total = torch.cat([torch.where(encoded.mask[..., None], encoded.momenta, 0.0), encoded.vectors], 1).sum(1)
    _, transport = local(encoded)
    assert transport is not None
    frames: Tensor = transport.frames
    return frames @ rest_frame(total)[:, None] if local.frame_type == "learned" else frames


@pytest.mark.parametrize("kind", ["learned", "so3", "so2"])
def test_frames_are_lorentz_matrices_of_the_right_kind(kind):
    encoded, sizes = events()
    torch.manual_seed(2)
    frames = lab_frames(LocalFrames(sizes, kind, (), (1,), widths=(8, 8), dropout=0.0).double().eval(), encoded)
    torch.testing.assert_close(frames.transpose(-1, -2) @ METRIC @ frames, METRIC.expand_as(frames), atol=1e-10, rtol=0)
    torch.testing.assert_close(
        frames @ inverse_lorentz(frames), torch.eye(4).double().expand_as(frames), atol=1e-10, rtol=0
    )
    assert (torch.linalg.det(frames) > 0).all()
    assert (frames[..., 3, 3] >= 1 - 1e-12).all()
    if kind != "learned":  # at rest in the lab
        torch.testing.assert_close(frames[..., 3, :], METRIC[3].expand_as(frames[..., 3, :]))
    if kind == "so2":  # with the beam along z
        torch.testing.assert_close(frames[..., 2, :], -METRIC[2].expand_as(frames[..., 2, :]))


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_frames_follow_the_event(transformation):
    """L(Λp) = L(p) Λ⁻¹, for empty slots as well as they may."""
    encoded, sizes = events()
    torch.manual_seed(2)
    local = LocalFrames(sizes, "learned", (), (1,), widths=(8, 8), dropout=0.0).double().eval()
    by = TRANSFORMATIONS[transformation]
    matrix = by(torch.eye(4, dtype=torch.float64)).T
    before, after = lab_frames(local, encoded), lab_frames(local, moved(encoded, by))
    real = torch.cat([encoded.mask, torch.ones_like(encoded.mask[:, :1])], 1)
    size = before[real].abs().amax((1, 2), keepdim=True) * matrix.abs().max() ** 2
    torch.testing.assert_close((after @ matrix)[real] / size, before[real] / size, atol=1e-11, rtol=0)


GROUPS: dict[str, tuple[str, tuple[Reference, ...], set[str]]] = {
    "all frames": ("learned", (), {"turn around the beam", "boost along the beam", "rotation", "boost"}),
    "beams as references": ("learned", ("beam",), {"turn around the beam"}),
    "time as reference": ("learned", ("time",), {"turn around the beam", "rotation"}),
    "beams and time": ("learned", ("beam", "time"), {"turn around the beam"}),
    "frames at rest in the lab": ("so3", (), {"turn around the beam", "rotation"}),
    "at rest, with time": ("so3", ("time",), {"turn around the beam", "rotation"}),
    "frames turned around the beam": ("so2", (), {"turn around the beam"}),
    "one frame": ("random", (), set()),
    "the lab": ("identity", (), set()),
}
MOVES: dict[str, Transformation] = {
    "turn around the beam": around_beam(0.7),
    "boost along the beam": along_beam(1.5),
    "rotation": rotation(5),
    "boost": boost(1.5, 6),
}


#: What differs between the backbones is how messages go from frame to frame.
CHOICES = [(name, group) for name in BACKBONES for group in GROUPS if name == "lloca-transformer" or "frames" in group]


@pytest.mark.parametrize(("name", "group"), CHOICES)
def test_what_a_choice_of_frames_keeps_and_what_it_does_not(name, group):
    kind, references, kept = GROUPS[group]
    encoded, sizes = events()
    network = build(name, sizes, frames=kind, references=references)
    for move, transformation in MOVES.items():
        if move in kept:
            assert apart(network, encoded, transformation) < 1e-9, move
        else:
            assert apart(network, encoded, transformation) > 1e-4, move


def bare(*jets: Tensor) -> Features:
    """Jets of momenta alone, of different numbers of objects."""
    most = max(one.shape[1] for one in jets)
    momenta = torch.cat([torch.nn.functional.pad(one, (0, 0, 0, most - one.shape[1])) for one in jets])
    mask = torch.cat([(torch.arange(most) < one.shape[1]).expand(len(one), -1) for one in jets])
    return Features(
        particles=momenta.new_zeros(*mask.shape, 7),
        pairs=momenta.new_zeros(*mask.shape, most, 0),
        context=momenta.new_zeros(len(mask), 0),
        mask=mask,
        momenta=momenta,
        kind=mask.long(),
        vectors=momenta[:, :0],
    )


def some(objects: int, mass: float = 0.0, seed: int = 0) -> Tensor:
    space = 30 * torch.randn(9, objects, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([space, (space.square().sum(-1, keepdim=True) + mass**2).sqrt()], -1)


MULTIPLES = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)[:, None]
#: Too few directions for a frame; what is left open turns no momentum.
RARE = {
    "one, massless": some(1),
    "one": some(1, 1.0),
    "two, massless": some(2),
    "two": some(2, 1.0),
    "three, massless": some(3),
    "three": some(3, 1.0),
    "four in a plane": torch.cat([some(3), some(3).sum(1, keepdim=True)], 1),
    "all parallel": some(1, 1.0) * MULTIPLES,
    "all at rest": torch.tensor([0.0, 0.0, 0.0, 2.0], dtype=torch.float64).expand(9, 3, 4) * MULTIPLES,
}
JETS = Sizes(7, 0, 0, 2, scalars=(5, 5), features="kin")


@pytest.mark.parametrize("name", BACKBONES)
def test_rare_events_are_the_same_in_every_frame_too(name):
    network = build(name, JETS, references=())
    cases = list(RARE)
    with torch.no_grad():
        expected = network(bare(*RARE.values())).split(9)
        for transformation in TRANSFORMATIONS.values():
            found = network(bare(*map(transformation, RARE.values()))).split(9)
            far = {case: float((a - b).abs().max()) for case, a, b in zip(cases, found, expected, strict=True)}
            assert max(far.values()) < 1e-8, far


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("kind", ["learned", "so3", "so2"])
@pytest.mark.parametrize("references", [(), ("beam", "time")], ids=["alone", "references"])
def test_gradients_are_finite_where_frames_are_not_unique(name, kind, references):
    network = build(name, JETS, frames=kind, references=references).train()
    space_like = some(3) * torch.tensor([1.0, 1.0, 1.0, 0.999])
    parallel = some(1) * MULTIPLES
    beam = torch.tensor([0.0, 0.0, 5.0, 5.0], dtype=torch.float64).expand(9, 2, 4)
    jets = bare(*RARE.values(), space_like, parallel, beam, torch.zeros(9, 2, 4, dtype=torch.float64))
    momenta = jets.momenta.requires_grad_()
    logits = network(jets)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert momenta.grad is not None
    assert momenta.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", BACKBONES)
def test_one_frame_for_all_is_the_plain_network(name):
    encoded, sizes = events()
    network = build(name, sizes, frames="identity")
    other = backbone(name, sizes)
    other.load_state_dict(network.backbone.state_dict())
    assert torch.equal(other(encoded), network(encoded))


def lowered(state: Mapping[str, Tensor], heads: int, vectors: int) -> dict[str, Tensor]:
    """Weights whose keys have the space-like components of their four-vectors turned around, as the product has it."""
    found = dict(state)
    for name in (name for name in state if name.startswith("blocks") and ".project." in name):
        sign = torch.ones(3, heads, len(state[name]) // (3 * heads))
        sign[1, :, -4 * vectors :] = torch.tensor(lorentz.METRIC).repeat(vectors)
        found[name] = state[name] * sign.reshape(-1, *[1] * (state[name].ndim - 1))
    return found


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("features", ["kin", "kinpid", "full"])
def test_transport_between_equal_frames_is_the_plain_network(name, features, monkeypatch):
    """Features of local momenta and messages between frames, where every frame is the lab's, against copied weights."""
    inputs = Inputs(("mass", "delta"), features=features).double()
    encoded, sizes = inputs(make_batch(jet_events(20, max_particles=12), 12, torch.float64)), inputs.sizes(2)
    forward = lorentz.eta(encoded.momenta.sum(1)) > 0  # the others are mirrored
    encoded = Features(*(column[forward] for column in encoded))
    network = build(name, sizes, frames="so3")
    same = torch.eye(4, dtype=torch.float64)
    monkeypatch.setattr(
        LocalFrames, "frames", lambda self, momenta, scalars, mask, n: same.expand(len(momenta), n, 4, 4)
    )
    plain = backbone(name, sizes)
    state = network.backbone.state_dict()
    plain.load_state_dict(
        lowered(state, TINY[name]["heads"], TINY[name]["vectors"]) if "heads" in TINY[name] else state
    )
    torch.testing.assert_close(network(encoded), plain(encoded), rtol=1e-12, atol=1e-12)


def test_random_frames_are_for_training():
    encoded, sizes = events()
    network = build("lloca-transformer", sizes, frames="random")
    assert torch.equal(network(encoded), network(encoded))
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eval()
    assert not torch.allclose(network(encoded), network(encoded))


def test_random_frames_are_lorentz_matrices():
    torch.manual_seed(0)
    frames = lorentz.random_transformations(2000, torch.zeros(0, dtype=torch.float64))
    torch.testing.assert_close(frames.transpose(-1, -2) @ METRIC @ frames, METRIC.expand_as(frames))
    assert (frames[:, 3, 3] < 1.2).all()  # cosh of three components within three standard deviations
    turned = frames[:, :3, :3].mean(0)
    assert turned.abs().max() < 0.05  # no direction is preferred


@pytest.mark.parametrize("references", [(), ("beam", "time")], ids=["alone", "references"])
@pytest.mark.parametrize("name", BACKBONES)
def test_single_precision_is_enough_for_a_lone_massless_vector(name, references):
    """Missing momentum without objects: its mass, 0, is rounding, and no frame may be made of it."""
    encoded, sizes = events()
    lone = encoded._replace(mask=torch.zeros_like(encoded.mask))
    network = build(name, sizes, references=references)
    expected = network(lone)
    single = network(lone._replace(momenta=lone.momenta.float(), vectors=lone.vectors.float()))
    torch.testing.assert_close(single, expected, rtol=1e-4, atol=1e-5)
    assert (expected.std(0) > 1e-3).all() == bool(references)  # nothing else is known of it


def test_missing_momentum_is_one_more_object():
    encoded, sizes = events()
    network = build("lloca-transformer", sizes)
    assert network.backbone.norm.num_features == sizes.particles + 1
    more = encoded._replace(vectors=2 * encoded.vectors)
    assert ((network(more) - network(encoded)).abs() > 1e-6).all()
    other = encoded._replace(context=encoded.context + 1)
    assert torch.equal(network(other), network(encoded))


@pytest.mark.parametrize("name", BACKBONES)
def test_messages_carry_vectors(name):
    """With the same weights, channels that are scalars say something else than channels that are four-vectors."""
    encoded, sizes = events()
    some, none = build(name, sizes), build(name, sizes, vectors=(0, 0) if name == "lloca-particlenet" else 0)
    none.load_state_dict(some.state_dict())
    assert ((some(encoded) - none(encoded)).abs() > 1e-6).all()


def test_more_vectors_than_channels():
    with pytest.raises(ValueError, match="4 four-vectors need 16 channels, and each head has 12"):
        build("lloca-transformer", JETS, vectors=4)


def test_numbers_of_vectors_for_each_block():
    with pytest.raises(ValueError, match="1 numbers of four-vectors for the 2 blocks after the first"):
        build("lloca-particlenet", JETS, vectors=(1,))
    with pytest.raises(ValueError, match="5 four-vectors need 20 channels, and each object has 16"):
        build("lloca-particlenet", JETS, vectors=(1, 5))


@pytest.mark.parametrize("name", BACKBONES)
def test_single_precision_stands_boosts(name):
    """Frames and momenta are float64 inside a network of float32: the answer moves as little as its own rounding."""
    encoded, sizes = events()
    network = build(name, sizes, references=()).float()
    single = encoded._replace(
        particles=encoded.particles.float(), pairs=encoded.pairs.float(), context=encoded.context.float()
    )
    assert apart(network, single, boost(50.0, 4)) < 1e-3
