"""Weights of weaver-core in our networks, against its networks written out in their own words."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from femtobarn.events import Events
from femtobarn.inputs import FEATURES, Sizes, make_batch
from femtobarn.models import ParT, ParticleNet, weaver
from femtobarn.physics.objects import ANTIMUON, CHARGED, ELECTRON, MUON, NEUTRAL, PHOTON, POSITRON
from tests.support.jets import jet_events

LAYERS = ((6, 6), (8, 8))
K, CLASSES, SLOTS = 5, 4, 20


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(1)


class TheirEdgeConv(nn.Module):
    """Edge convolution with the parameter names of weaver-core, in padded tensors (batch, channels, particles, k)."""

    def __init__(self, before: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        sizes = (2 * before, *widths)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in zip(sizes, widths, strict=False))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.sc = nn.Conv1d(before, widths[-1], 1, bias=False)
        self.sc_bn = nn.BatchNorm1d(widths[-1])

    def forward(self, points: Tensor, x: Tensor) -> Tensor:
        distance = (points[:, :, :, None] - points[:, :, None, :]).square().sum(1)
        order = distance.argsort(-1)[:, :, 1 : K + 1]
        there = torch.stack([x[event][:, order[event]] for event in range(len(x))])
        edge = torch.cat([x[..., None].expand_as(there), there - x[..., None]], 1)
        for conv, norm in zip(self.convs, self.bns, strict=True):
            edge = norm(conv(edge)).relu()
        out: Tensor = (edge.mean(-1) + self.sc_bn(self.sc(x))).relu()
        return out


class TheirParticleNet(nn.Module):
    """ParticleNet as weaver-core computes it: padding is far away and has features of 0, and may be a neighbour."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.bn_fts = nn.BatchNorm1d(features)
        self.edge_convs = nn.ModuleList(
            [TheirEdgeConv(before, widths) for before, widths in zip((features, LAYERS[0][-1]), LAYERS, strict=True)]
        )
        self.fc = nn.Sequential(
            nn.Sequential(nn.Linear(LAYERS[-1][-1], 9), nn.ReLU(), nn.Dropout(0.1)), nn.Linear(9, CLASSES)
        )

    def forward(self, x: Tensor, momenta: Tensor, mask: Tensor) -> Any:
        points, real = x[:, -2:], mask[:, None]
        x = self.bn_fts(x).masked_fill(~real, 0.0)
        for number, conv in enumerate(self.edge_convs):
            x = conv((x if number else points).masked_fill(~real, 1e9), x).masked_fill(~real, 0.0)
        return self.fc(x.sum(-1) / real.sum(-1))


WIDTH, HEADS = 12, 3


class TheirBlock(nn.Module):
    """A block of ParT with the parameter names of weaver-core before it had attention of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.pre_attn_norm, self.post_attn_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.pre_fc_norm, self.post_fc_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(4 * WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.c_attn, self.w_resid = nn.Parameter(torch.ones(HEADS)), nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor, mask: Tensor, bias: Tensor | None = None, token: Tensor | None = None) -> Tensor:
        asked = token if token is not None else x
        both = self.pre_attn_norm(x if token is None else torch.cat([token, x], 1))
        shut = torch.zeros(mask.shape, dtype=x.dtype).masked_fill(~mask, -torch.inf)
        if token is not None:
            shut = torch.cat([torch.zeros_like(shut[:, :1]), shut], 1)
        queries = both if token is None else token
        out = self.attn(queries, both, both, shut, need_weights=False, attn_mask=bias)[0]
        scaled = (out.unflatten(-1, (HEADS, -1)) * self.c_attn[:, None]).flatten(-2)
        x = asked + self.post_attn_norm(scaled)
        out = self.fc2(self.post_fc_norm(nn.functional.gelu(self.fc1(self.pre_fc_norm(x)))))
        weighted: Tensor = self.w_resid * x + out
        return weighted


class TheirParT(nn.Module):
    """ParT as weaver-core computes it, in padded tensors."""

    def __init__(self, features: int, self_pairs: bool) -> None:
        super().__init__()
        self.self_pairs = self_pairs
        layers = [nn.LayerNorm(features), nn.Linear(features, 16), nn.GELU()]
        self.embed = nn.ModuleDict(
            {
                "input_bn": nn.BatchNorm1d(features),
                "embed": nn.Sequential(*layers, nn.LayerNorm(16), nn.Linear(16, WIDTH), nn.GELU()),
            }
        )
        norm = [nn.BatchNorm1d(4), nn.Conv1d(4, 8, 1), nn.BatchNorm1d(8), nn.GELU()]
        last = [nn.Conv1d(8, HEADS, 1), nn.BatchNorm1d(HEADS), nn.GELU()]
        self.pair_embed = nn.ModuleDict({"embed": nn.Sequential(*norm, *last)})
        self.blocks = nn.ModuleList([TheirBlock(), TheirBlock()])
        self.cls_blocks = nn.ModuleList([TheirBlock()])
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.fc = nn.Sequential(nn.Linear(WIDTH, CLASSES))

    def forward(self, x: Tensor, momenta: Tensor, mask: Tensor) -> Any:
        x = self.embed["embed"](self.embed["input_bn"](x).transpose(1, 2))
        pairs = self.pairs(momenta)
        bias = self.pair_embed["embed"](pairs.flatten(2)).unflatten(2, pairs.shape[2:])
        if not self.self_pairs:
            bias = bias * (1 - torch.eye(bias.shape[-1]))
        for block in self.blocks:
            x = block(x, mask, bias.flatten(0, 1))
        token = self.cls_token.expand(len(x), -1, -1)
        for block in self.cls_blocks:
            token = block(x, mask, token=token)
        return self.fc(self.norm(token.squeeze(1)))

    @staticmethod
    def pairs(momenta: Tensor) -> Tensor:
        """Logarithms of kT, z, distance and squared mass of each pair, clamped from below."""
        px, py, pz, energy = momenta.unbind(1)
        pt = torch.hypot(px, py)
        rapidity, azimuth = 0.5 * ((energy + pz) / (energy - pz)).log(), torch.atan2(py, px)

        def minus(value: Tensor) -> Tensor:
            return value[:, :, None] - value[:, None, :]

        around = torch.remainder(minus(azimuth) + torch.pi, 2 * torch.pi) - torch.pi
        distance = torch.hypot(minus(rapidity), around)
        softer, total = torch.minimum(pt[:, :, None], pt[:, None, :]), pt[:, :, None] + pt[:, None, :]
        together = momenta[:, :, :, None] + momenta[:, :, None, :]
        mass2 = together[:, 3] ** 2 - (together[:, :3] ** 2).sum(1)
        return torch.stack([v.clamp_min(1e-8).log() for v in (softer * distance, softer / total, distance, mass2)], 1)


def disturbed(network: nn.Module) -> nn.Module:
    """Away from zeros and ones, so that each parameter and buffer counts."""
    for seed, (name, value) in enumerate(network.state_dict().items()):
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=torch.Generator().manual_seed(seed), dtype=value.dtype)
            value.copy_(0.5 + noise if "running_var" in name else value + noise - 0.5)
    return network.double().eval()


def preprocessed(jets: Events, features: str) -> tuple[Tensor, Tensor, Tensor]:
    """Features, momenta and mask as the configurations of JetClass say it, padding filled with the first particle."""
    o = jets.padded(SLOTS)
    tracks = jets.padded_tracks(SLOTS)
    px, py, pz = o.pt * np.cos(o.phi), o.pt * np.sin(o.phi), o.pt * np.sinh(o.eta)
    jx, jy, jz, je = (np.where(o.mask, v, 0).sum(1, keepdims=True) for v in (px, py, pz, o.E))
    jet_pt = np.hypot(jx, jy)
    jet_eta = np.arcsinh(jz / jet_pt)
    deta = (o.eta - jet_eta) * np.where(jet_eta > 0, 1, -1)
    dphi = np.angle(np.exp(1j * (o.phi - np.arctan2(jy, jx))))

    def scaled(value: Any, centre: float, factor: float) -> Any:
        return np.clip((value - centre) * factor, -5, 5)

    with np.errstate(divide="ignore"):
        found = [scaled(np.log(o.pt), 1.7, 0.7), scaled(np.log(o.E), 2.0, 0.7)]
        found += [scaled(np.log(o.pt / jet_pt), -4.7, 0.7), scaled(np.log(o.E / je), -4.7, 0.7)]
    found.append(scaled(np.hypot(deta, dphi), 0.2, 4.0))
    if features != "kin":
        kinds = ((CHARGED,), (NEUTRAL,), (PHOTON,), (ELECTRON, POSITRON), (MUON, ANTIMUON))
        found += [tracks[..., 0], *(np.isin(o.kind, kind) for kind in kinds)]
    if features == "full":
        found += [np.tanh(tracks[..., 1]), np.clip(tracks[..., 2], 0, 1)]
        found += [np.tanh(tracks[..., 3]), np.clip(tracks[..., 4], 0, 1)]
    columns = [np.where(o.mask, value, value[:, :1]) for value in (*found, deta, dphi, px, py, pz, o.E)]
    stacked = torch.from_numpy(np.stack(columns, 1).astype(np.float64))
    return stacked[:, :-4], stacked[:, -4:], torch.from_numpy(o.mask)


@pytest.mark.parametrize(("features", "prefix"), [("kin", ""), ("kinpid", "mod."), ("full", "module.mod.")])
def test_particlenet_gives_weavers_answers_from_raw_constituents(features, prefix, tmp_path):
    """Jets with more neighbours than k and with fewer."""
    theirs = disturbed(TheirParticleNet(len(FEATURES[features])))
    torch.save({prefix + name: value for name, value in theirs.state_dict().items()}, tmp_path / "their_state.pt")
    found = weaver.read(tmp_path / "their_state.pt")
    assert found[:3] == ("particlenet", len(FEATURES[features]), CLASSES)
    assert found.settings == {"blocks": LAYERS, "fc": (9,), "fill": True}
    jets = jet_events(40, SLOTS)
    counts = ak.num(jets.particles.pt)
    assert ak.min(counts) < K < ak.max(counts) - 4
    with torch.no_grad():
        said = weaver.network(tmp_path / "their_state.pt", k=K).double()(make_batch(jets, SLOTS, torch.float64))
        torch.testing.assert_close(said, theirs(*preprocessed(jets, features)), rtol=1e-9, atol=1e-10)


def test_particlenet_without_filling_differs_for_few_constituents_alone(tmp_path):
    theirs = disturbed(TheirParticleNet(7))
    torch.save(theirs.state_dict(), tmp_path / "their_state.pt")
    filled = weaver.network(tmp_path / "their_state.pt", k=K).double()
    settings = filled.architecture.state_dict()
    plain = ParticleNet(Sizes(7, 0, 0, CLASSES), k=K, blocks=LAYERS, fc=(9,)).double().eval()
    plain.load_state_dict(settings)
    jets = jet_events(40, SLOTS)
    batch = make_batch(jets, SLOTS, torch.float64)
    with torch.no_grad():
        far = (filled(batch) - plain(filled.inputs(batch))).abs().amax(1).numpy()
    few = ak.to_numpy(ak.num(jets.particles.pt)) <= K
    assert (far[few] > 1e-3).mean() > 0.7
    assert (far[~few] < 1e-12).all()


@pytest.mark.parametrize("self_pairs", [True, False])
def test_part_gives_weavers_answers_from_raw_constituents(self_pairs, tmp_path):
    theirs = disturbed(TheirParT(13, self_pairs))
    torch.save(theirs.state_dict(), tmp_path / "their_state.pt")
    network = weaver.network(tmp_path / "their_state.pt", self_pairs=self_pairs).double()
    assert network.inputs.interactions == ("kt", "z", "delta", "mass2")
    jets = jet_events(12, SLOTS)
    batch = make_batch(jets, SLOTS, torch.float64)
    with torch.no_grad():
        said, expected = network(batch), theirs(*preprocessed(jets, "kinpid"))
    torch.testing.assert_close(said, expected, rtol=1e-7, atol=1e-8)


def their_part(width: int, heads: int) -> dict[str, Tensor]:
    """The state dict of weaver-core's ParticleTransformer with two blocks and one class block, by name and shape."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "fc.0.weight": (CLASSES, width),
        "fc.0.bias": (CLASSES,),
    }

    def norm(name: str, size: int, buffers: bool = False) -> None:
        for part in ("weight", "bias", *(("running_mean", "running_var") if buffers else ())):
            shapes[f"{name}.{part}"] = (size,)

    def linear(name: str, before: int, after: int, *ones: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (after, before, *ones), (after,)

    norm("norm", width)
    norm("embed.input_bn", 5, buffers=True)
    for at, (before, after) in zip((0, 3), ((5, 16), (16, width)), strict=True):
        norm(f"embed.embed.{at}", before)
        linear(f"embed.embed.{at + 1}", before, after)
    norm("pair_embed.embed.0", 4, buffers=True)
    for at, (before, after) in zip((1, 4), ((4, 8), (8, heads)), strict=True):
        linear(f"pair_embed.embed.{at}", before, after, 1)
        norm(f"pair_embed.embed.{at + 1}", after, buffers=True)
    for block in ("blocks.0", "blocks.1", "cls_blocks.0"):
        shapes[f"{block}.c_attn"], shapes[f"{block}.w_resid"] = (heads,), (width,)
        for name, size in (("pre_attn", width), ("post_attn", width), ("pre_fc", width), ("post_fc", 4 * width)):
            norm(f"{block}.{name}_norm", size)
        linear(f"{block}.attn.in_proj", width, 3 * width)
        linear(f"{block}.attn.out_proj", width, width)
        linear(f"{block}.fc1", width, 4 * width)
        linear(f"{block}.fc2", 4 * width, width)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("torchs", [False, True])
def test_part_takes_every_parameter_of_weavers(torchs):
    """In later versions attention is weaver's own module; before, torch's, with other names."""
    state = their_part(12, 3)
    if torchs:
        state = {name.replace("in_proj.", "in_proj_"): value for name, value in state.items()}
    found = weaver.translate(state)
    assert found[:3] == ("part", 5, CLASSES)
    ours = ParT(
        Sizes(5, 4, 0, CLASSES),
        width=12,
        heads=3,
        blocks=2,
        class_blocks=1,
        embedding=(16,),
        pair_embedding=(8,),
    )
    missing = ours.load_state_dict(found.weights, strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    assert torch.equal(ours.state_dict()["blocks.1.collect.weight"], state["blocks.1.attn.out_proj.weight"])


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"neither ParT nor ParticleNet of weaver-core: it holds conv\.weight"):
        weaver.translate({"conv.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"a part of weaver-core's with parts that part here lacks: gate"):
        weaver.translate({**their_part(12, 3), "gate": torch.zeros(1)})
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(ValueError, match=r"text\.pt is not a file of weights that torch\.save wrote"):
        weaver.read(tmp_path / "text.pt")
    torch.save({"network": "part"}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="holds something else than the weights of a network"):
        weaver.read(tmp_path / "other.pt")
