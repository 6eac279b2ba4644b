"""Weights of weaver-core in our networks, against its networks written out in their own words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from femtobarn.inputs import Encoded, Sizes
from femtobarn.models import ParT, ParticleNet, weaver

LAYERS = ((6, 6), (8, 8))
K, FEATURES, CLASSES, SLOTS = 3, 5, 4, 7


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
    """ParticleNet for events without padding, with the parameter names of weaver-core."""

    def __init__(self) -> None:
        super().__init__()
        self.bn_fts = nn.BatchNorm1d(FEATURES)
        self.edge_convs = nn.ModuleList(
            [TheirEdgeConv(before, widths) for before, widths in zip((FEATURES, LAYERS[0][-1]), LAYERS, strict=True)]
        )
        self.fc = nn.Sequential(
            nn.Sequential(nn.Linear(LAYERS[-1][-1], 9), nn.ReLU(), nn.Dropout(0.1)), nn.Linear(9, CLASSES)
        )

    def forward(self, points: Tensor, x: Tensor) -> Any:
        x = self.bn_fts(x)
        for number, conv in enumerate(self.edge_convs):
            x = conv(points if number == 0 else x, x)
        return self.fc(x.mean(-1))


def disturbed(network: nn.Module) -> nn.Module:
    """Away from zeros and ones, so that each parameter and buffer counts."""
    for seed, (name, value) in enumerate(network.state_dict().items()):
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=torch.Generator().manual_seed(seed), dtype=value.dtype)
            value.copy_(0.5 + noise if "running_var" in name else value + noise - 0.5)
    return network.double().eval()


def momenta(count: int) -> tuple[Tensor, Tensor]:
    """Massless momenta with their (eta, phi), far from where azimuths wrap."""
    random = torch.Generator().manual_seed(4)
    pt, eta, phi = (torch.rand(count, SLOTS, generator=random, dtype=torch.float64) for _ in range(3))
    pt = 20 + 50 * pt
    p = torch.stack([pt * phi.cos(), pt * phi.sin(), pt * eta.sinh(), pt * eta.cosh()], -1)
    return p, torch.stack([eta, phi], 1)


@pytest.mark.parametrize("prefix", ["", "mod.", "module.mod."])
def test_particlenet_gives_weavers_answers(prefix, tmp_path):
    theirs = disturbed(TheirParticleNet())
    torch.save({prefix + name: value for name, value in theirs.state_dict().items()}, tmp_path / "their_state.pt")
    found = weaver.read(tmp_path / "their_state.pt")
    assert found[:3] == ("particlenet", FEATURES, CLASSES)
    ours = ParticleNet(Sizes(FEATURES, 0, 0, CLASSES), k=K, blocks=LAYERS, fc=(9,)).double().eval()
    missing = ours.load_state_dict(found.weights, strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    p, points = momenta(20)
    x = torch.randn(20, SLOTS, FEATURES, dtype=torch.float64)
    mask = torch.ones(20, SLOTS, dtype=torch.bool)
    pairs, context = torch.zeros(20, SLOTS, SLOTS, 0), torch.zeros(20, 0, dtype=torch.float64)
    said = ours(Encoded(x, pairs, context, mask, p, mask.long(), p[:, :0]))
    torch.testing.assert_close(said, theirs(points, x.transpose(1, 2)), rtol=1e-9, atol=1e-10)


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
    norm("embed.input_bn", FEATURES, buffers=True)
    for at, (before, after) in zip((0, 3), ((FEATURES, 16), (16, width)), strict=True):
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
    assert found[:3] == ("part", FEATURES, CLASSES)
    ours = ParT(
        Sizes(FEATURES, 4, 0, CLASSES),
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
