"""Optimisers, schedules, averages and devices against formulas."""

from __future__ import annotations

import ctypes
import math
import os
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from femtobarn.inputs import make_batch
from femtobarn.models import model_spec, networks
from femtobarn.training import TrainingConfig, resolve_device, seed_everything, use_threads
from femtobarn.training.devices import MMAP_THRESHOLD, TRIM_THRESHOLD, matmul_precision, retain_freed_memory
from femtobarn.training.ema import exponential_moving_average
from femtobarn.training.optimizers import OptimizerName, optimizer
from femtobarn.training.schedules import factor
from tests.models.test_contract import build
from tests.support.sample import make_events


def test_flat_then_decay():
    factors = [factor("flat_then_decay", step, 1000) for step in range(1001)]
    assert factors[:700] == [1.0] * 700
    assert factors[850] == pytest.approx(0.1)  # halfway down in the logarithm
    assert factors[1000] == pytest.approx(0.01)


def test_cosine():
    assert [factor("cosine", step, 4) for step in range(5)] == pytest.approx(
        [1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0]
    )


def test_warmup_multiplies():
    assert [factor("constant", step, 10, warmup=4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert factor("cosine", 1, 4, warmup=4) == pytest.approx(0.5 * factor("cosine", 1, 4))


class Bowl(nn.Module):
    """A matrix and a vector; the loss is their squared distance from 1."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.full((2, 3), start))
        self.vector = nn.Parameter(torch.full((3,), start))

    def step(self, opt: torch.optim.Optimizer) -> float:
        opt.zero_grad()
        loss = ((self.matrix - 1) ** 2).sum() + ((self.vector - 1) ** 2).sum()
        torch.autograd.backward(loss)
        opt.step()
        return float(loss.detach())


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_every_optimizer_finds_the_bottom(name):
    bowl = Bowl()
    opt = optimizer(name, bowl, 0.05 if name in ("radam", "ranger") else 0.02, 0.0)
    losses = [bowl.step(opt) for _ in range(300)]
    assert losses[0] == 9
    assert min(losses) < 0.01


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_weight_decay_pulls_matrices_alone(name):
    bowl = Bowl(1.0)  # the gradient is 0 there
    opt = optimizer(name, bowl, 0.01, 0.5)
    bowl.step(opt)
    assert bowl.matrix.max() < 1
    assert torch.equal(bowl.vector, torch.ones(3))


def test_lion_by_hand():
    p, average = 0.5, 0.0
    bowl = Bowl(p)
    opt = optimizer("lion", bowl, 0.1, 0.2)
    for _ in range(9):
        gradient = 2 * (p - 1)
        p = p * (1 - 0.1 * 0.2) - 0.1 * math.copysign(1, 0.9 * average + 0.1 * gradient)
        average = 0.99 * average + 0.01 * gradient
        bowl.step(opt)
        torch.testing.assert_close(bowl.matrix, torch.full((2, 3), p))


def test_ranger_is_radam_that_looks_back():
    """Every sixth step the weights are the mean of where RAdam got and of where they stood six steps before."""
    bowl, plain = Bowl(), Bowl()
    ranger = optimizer("ranger", bowl, 0.05, 0.0)
    radam = torch.optim.RAdam(plain.parameters(), lr=0.05, betas=(0.95, 0.999), eps=1e-5)
    slow: Any = None
    for step in range(1, 25):
        bowl.step(ranger)
        plain.step(radam)
        if step == 1:
            slow = plain.matrix.detach().clone()
        elif step % 6 == 0:
            slow = (slow + plain.matrix.detach()) / 2
            plain.matrix.data.copy_(slow)
            plain.vector.data.copy_(slow[0])
        torch.testing.assert_close(bowl.matrix, plain.matrix)


def test_nothing_to_train():
    with pytest.raises(ValueError, match="Flatten has no parameter to train"):
        optimizer("adamw", nn.Flatten(), 0.1, 0.0)


def test_average_by_hand():
    network: Any = nn.BatchNorm1d(1)
    average, expected = exponential_moving_average(network, 0.5), 1.0
    for step in range(8):
        network.weight.data.fill_(float(step))
        network.num_batches_tracked.add_(1)
        average.update_parameters(network)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    copy: Any = average.module
    assert float(copy.weight) == pytest.approx(expected)
    assert int(copy.num_batches_tracked) == 8
    assert float(copy.running_var) == 1.0  # what does not change is not rounded away either


def test_devices_by_name(monkeypatch):
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="'cuda' is not available here; cpu"):
        resolve_device("cuda")
    with pytest.raises(ValueError, match="no device is called 'gpu'; there are auto, cpu, cuda, mps"):
        resolve_device("gpu")


def test_seeds_repeat():
    draws = []
    for _ in range(2):
        seed_everything(11)
        draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1])


def test_threads():
    before = torch.get_num_threads()
    try:
        assert use_threads(1) == 1
        assert use_threads(None) == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": 0}, "greater than 0"),
        ({"optimiser": "adam"}, "Extra inputs"),
        ({"schedule": "linear"}, "flat_then_decay"),
    ],
)
def test_settings_are_strict(wrong, message):
    with pytest.raises(ValidationError, match=message):
        TrainingConfig(**wrong)


@pytest.mark.parametrize("name", networks())
def test_networks_compute_in_bf16(name):
    """On processors by rounding the factors of products; under autocast, as on GPUs, every operation takes bfloat16."""
    network = build(name, ("mass",) if model_spec(name).needs_pairs else ()).float()
    batch = make_batch(make_events(40), 16)
    with torch.no_grad():
        exact = network(batch)
        with matmul_precision("bf16", torch.device("cpu")):
            rounded = network(batch)
    scale = exact.abs().max() + 1
    assert (rounded - exact).abs().max() < 0.1 * scale
    torch.testing.assert_close(network(batch), exact)  # and all is as before
    network.train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network(batch)
    outputs.float().square().sum().backward()
    slopes = [p.grad for p in network.parameters() if p.grad is not None]
    assert slopes
    assert all(slope.isfinite().all() for slope in slopes)


def test_the_allocator_keeps_memory_on_processors_alone_and_for_that_time_alone(monkeypatch):
    """Which limits the C library is given; what they are worth is measured by `benchmarks/networks.py`."""
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    limits: dict[int, int] = {}
    trimmed: list[int] = []
    library = SimpleNamespace(mallopt=limits.__setitem__, malloc_trim=trimmed.append)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr("sys.platform", "linux")
    with retain_freed_memory(torch.device("cpu")):
        kept = dict(limits)
        assert not trimmed
    assert set(kept) == set(limits) == {MMAP_THRESHOLD, TRIM_THRESHOLD}
    assert all(limits[name] < kept[name] for name in kept)
    assert trimmed == [0]
    limits.clear()
    with retain_freed_memory(torch.device("cuda")):
        assert not limits
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")  # whoever sets one means it
    with retain_freed_memory(torch.device("cpu")):
        assert not limits


@pytest.mark.parametrize(
    ("settings", "defaults"),
    [
        ({"optimizer": "adamw", "betas": (0.8, 0.95), "eps": 1e-6}, {"betas": (0.9, 0.999), "eps": 1e-8}),
        ({"optimizer": "ranger", "eps": 1e-7}, {"betas": (0.95, 0.999), "eps": 1e-5}),
        ({"optimizer": "lion", "betas": (0.95, 0.98)}, {"betas": (0.9, 0.99)}),
        ({"optimizer": "sgd", "momentum": 0.5}, {"momentum": 0.9, "nesterov": True}),
        ({"optimizer": "sgd", "momentum": 0.0}, {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_optimizer_arguments_reach_the_optimizer(settings, defaults):
    for given in (settings, {"optimizer": settings["optimizer"]}):
        config = TrainingConfig(**given)
        built = optimizer(config.optimizer, nn.Linear(2, 2), 0.1, 0.0, arguments=config.optimizer_arguments)
        expected = defaults | {name: value for name, value in given.items() if name != "optimizer"}
        expected |= {"nesterov": given["momentum"] > 0} if "momentum" in given else {}
        assert {name: built.param_groups[0][name] for name in expected} == expected


@pytest.mark.parametrize(
    ("optimizer_name", "argument", "value", "right"),
    [
        ("sgd", "betas", (0.9, 0.99), "adamw or adam or nadam or radam or ranger or lion"),
        ("lion", "eps", 1e-6, "adamw or adam or nadam or radam or ranger"),
        ("adamw", "momentum", 0.9, "sgd"),
    ],
)
def test_optimizer_argument_that_it_lacks_is_an_error_with_the_optimizers_that_have_it(
    optimizer_name, argument, value, right
):
    with pytest.raises(ValueError, match=rf"training\.{argument} does not apply .*: {optimizer_name}; .*use {right}"):
        TrainingConfig(optimizer=optimizer_name, **{argument: value})
