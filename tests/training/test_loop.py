"""The loop: what it yields, what it leaves behind, and that a kill changes nothing."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from femtobarn.training import EpochResult, TrainingConfig, fit, predict_outputs
from femtobarn.training import checkpoint as files
from femtobarn.training.history import early_stop
from tests.support.training_sample import SETTINGS, TASK, Classify, Regress, Toy, data, full_loss, train

OPTIMIZERS = ["adamw", "adam", "nadam", "radam", "ranger", "lion", "sgd"]


class Interrupted(Classify):
    """Classification whose n-th loss is interrupted, or multiplied by a factor."""

    def __init__(self, n_losses: int, factor: float | None = None) -> None:
        super().__init__(TASK.classes)
        self.remaining, self.factor = n_losses, factor

    def loss(self, *arguments: Any) -> Tensor:
        self.remaining -= 1
        if self.remaining == 0 and self.factor is None:
            raise KeyboardInterrupt
        return super().loss(*arguments) * (self.factor if self.remaining == 0 and self.factor else 1.0)


def numbers(history: list[EpochResult]) -> list[EpochResult]:
    """All but the time it took."""
    return [replace(epoch, seconds=0.0) for epoch in history]


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_it_learns_and_says_so():
    history = list(train(Toy(), epochs=20))
    assert [epoch.number for epoch in history] == list(range(1, 21))
    assert history[-1].train_loss < 0.75 * history[0].train_loss
    assert all(epoch.seconds > 0 for epoch in history)
    lowest = float("inf")
    for epoch in history:
        assert epoch.best is (epoch.valid_loss < lowest)
        lowest = min(lowest, epoch.valid_loss)


def test_same_seed_same_numbers_another_seed_others():
    networks = [Toy() for _ in range(3)]
    histories = [
        list(fit(network, TASK, data(), data(100, 1), SETTINGS, seed=seed))
        for network, seed in zip(networks, (5, 5, 6), strict=True)
    ]
    assert numbers(histories[0]) == numbers(histories[1])
    assert same_weights(networks[0], networks[1])
    assert numbers(histories[0]) != numbers(histories[2])


def refuse(graph: Any, inputs: Any) -> Any:
    raise OSError("no C++ compiler")


@pytest.mark.parametrize("backend", ["eager", refuse])
def test_compiled_or_not_it_learns_the_same(backend, monkeypatch):
    """Without code for the processor, which takes minutes: what torch captures is what it would compile."""
    plain, other = Toy(), Toy()
    other.load_state_dict(plain.state_dict())
    history = list(train(plain, epochs=3))
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: compile_(network, backend=backend))
    if backend is refuse:
        with pytest.warns(UserWarning, match="cannot compile this network .*no C\\+\\+ compiler.*; it trains as it is"):
            again = list(train(other, epochs=3, compile=True))
    else:
        again = list(train(other, epochs=3, compile=True))
    assert numbers(again) == numbers(history)
    assert same_weights(plain, other)


def test_nothing_the_caller_does_with_random_numbers_matters():
    quiet, noisy = Toy(), Toy()
    history, disturbed = list(train(quiet)), []
    for epoch in train(noisy):
        torch.rand(epoch.number)
        disturbed.append(epoch)
    assert numbers(history) == numbers(disturbed)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_network_holds_the_best_weights_when_it_ends(ema):
    network = Toy()
    history = list(train(network, ema=ema, lr=0.3, epochs=8))
    best = min(epoch.valid_loss for epoch in history)
    assert best < history[-1].valid_loss  # or the test shows nothing
    assert full_loss(network, data(100, 1)) == pytest.approx(best, rel=1e-6)
    assert not network.training


def test_also_when_the_caller_breaks():
    network, history = Toy(), []
    for epoch in train(network, lr=0.3):
        history.append(epoch)
        if epoch.number == 4:
            break
    best = min(epoch.valid_loss for epoch in history)
    assert full_loss(network, data(100, 1)) == pytest.approx(best, rel=1e-6)


def test_validation_loss_is_the_weighted_mean_whatever_the_batches():
    losses = {
        size: next(iter(train(Toy(), lr=1e-12, ema=None, batch_size=size))).valid_loss for size in (200, 201, 1000)
    }
    valid = data(100, 1)
    labels = torch.from_numpy((valid.events.process == "b").astype(int))
    weights = torch.from_numpy(valid.events.weight)
    network = Toy()
    network(data().batch)  # the running statistics of the epoch: one batch of everything
    losses_of_events = nn.functional.cross_entropy(predict_outputs(network, valid.batch, 7), labels, reduction="none")
    expected = float((losses_of_events * weights).sum() / weights.sum())
    for loss in losses.values():
        assert loss == pytest.approx(expected, rel=1e-4)


def test_training_loss_counts_every_event_once():
    network = Toy().eval()
    linear = nn.Sequential(network.layers[0], network.layers[4])

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = linear

        def forward(self, batch: Any) -> Tensor:
            outputs: Tensor = self.layers(batch.momenta.sum(1))
            return outputs

    expected = full_loss(Plain(), data())
    settings = TrainingConfig(epochs=1, batch_size=33, lr=1e-12)  # 200 = 6 x 33 + 2
    (epoch,) = fit(Plain(), TASK, data(), data(100, 1), settings, seed=0)
    assert epoch.train_loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "ema", "task"),
    [*itertools.product(OPTIMIZERS, [None, 0.9], [TASK]), ("adamw", 0.9, Regress(TASK.classes))],
)
def test_resumed_it_is_the_same(tmp_path, optimizer, ema, task):
    changes: dict[str, Any] = {"optimizer": optimizer, "ema": ema, "epochs": 5, "task": task}
    unbroken, broken, resumed = Toy(), Toy(), Toy()
    unbroken_history = list(train(unbroken, **changes))
    path = tmp_path / "checkpoint.safetensors"
    for epoch in train(broken, path, **changes):
        if epoch.number == 3:
            break
    for parameter in resumed.parameters():  # the file decides, not the start
        parameter.data.normal_()
    torch.manual_seed(1234)
    history = list(train(resumed, path, **changes))
    assert numbers(history) == numbers(unbroken_history)
    assert same_weights(resumed, unbroken)


def test_killed_in_the_middle_of_an_epoch(tmp_path):
    """A loss that raises takes the whole epoch with it; the next attempt begins that epoch again."""
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        list(fit(Toy(), Interrupted(20), data(), data(100, 1), SETTINGS, seed=5, checkpoint=path))
    unbroken, resumed = Toy(), Toy()
    assert numbers(list(train(resumed, path))) == numbers(list(train(unbroken)))
    assert same_weights(resumed, unbroken)


def test_killed_for_real(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.support.training_sample", str(path)]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != b"2":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    unbroken, resumed = Toy(), Toy()
    history = list(train(resumed, path))
    assert numbers(history) == numbers(list(train(unbroken)))
    assert same_weights(resumed, unbroken)


def test_a_finished_training_is_not_repeated(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    first, again = Toy(), Toy()
    history = list(train(first, path))
    written = path.stat().st_mtime_ns
    assert list(train(again, path)) == history  # the very same, seconds too
    assert same_weights(first, again)
    assert path.stat().st_mtime_ns == written


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    next(train(Toy(), path))
    with pytest.raises(
        ValueError, match=r"checkpoint.safetensors is of another training: lr was 0.003 there and is 0.5"
    ):
        next(train(Toy(), path, lr=0.5))
    assert next(train(Toy(), path, threads=None)).number == 1  # where it is computed does not matter


def test_a_broken_checkpoint_is_named(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    next(train(Toy(), path))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"checkpoint.safetensors is no checkpoint .*; delete it to start anew"):
        next(train(Toy(), path))


def test_killed_while_writing_the_old_checkpoint_stays(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    files.save(path, {"epoch": 1}, network={"w": torch.ones(3)})

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
        files.save(path, {"epoch": 2}, network={"w": torch.zeros(3)})
    facts, groups = files.load(path)
    assert facts == {"epoch": 1}
    assert torch.equal(groups["network"]["w"], torch.ones(3))


def test_early_stopping():
    history = list(train(Toy(), lr=0.5, epochs=60, patience=3, schedule="constant"))
    assert len(history) < 60
    assert not any(epoch.best for epoch in history[-3:])
    assert history[-4].best


def test_patience_counts_from_the_last_best():
    def history(*best: bool) -> list[EpochResult]:
        return [EpochResult(number + 1, 0.0, 0.0, 0.0, 0.0, flag) for number, flag in enumerate(best)]

    assert not early_stop([], 1)
    assert not early_stop(history(True), 1)
    assert not early_stop(history(True, False, True, False), 2)
    assert early_stop(history(True, False, True, False, False), 2)
    assert not early_stop(history(True, False, False, False), None)


@pytest.mark.parametrize(("when", "where"), [(3, "epoch 1, batch 3 of 7"), (8, "in epoch 1; ")])
def test_a_loss_that_is_not_finite_is_explained(when, where):
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 1") as error:
        list(fit(Toy(), Interrupted(when, float("nan")), data(), data(100, 1), SETTINGS, seed=5))
    assert where in str(error.value)
    assert "Lower training.lr (now 0.003)" in str(error.value)


def test_no_events_at_all():
    with pytest.raises(ValueError, match="no validation events"):
        next(fit(Toy(), TASK, data(), data(0), SETTINGS, seed=0))


def test_learning_rates_follow_the_schedule():
    history = list(train(Toy(), epochs=10, warmup=0))  # 7 steps an epoch
    assert [epoch.lr for epoch in history[:6]] == [3e-3] * 6
    assert history[-1].lr == pytest.approx(3e-3 * 0.01 ** ((69 / 70 - 0.7) / 0.3))


def test_no_two_steps_drop_the_same_numbers():
    """Random numbers are seeded again at intervals within an epoch; each interval and epoch has its own."""
    masks: list[tuple[float, ...]] = []

    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, batch: Any) -> Tensor:
            if self.training:
                masks.append(tuple(nn.functional.dropout(torch.ones(64), 0.5).tolist()))
            outputs: Tensor = self.layer(batch.momenta.sum(1))
            return outputs

    settings = TrainingConfig(epochs=2, batch_size=1, lr=1e-3, threads=1)
    list(fit(Dropping(), TASK, data(150), data(20, 1), settings, seed=5))
    assert len(masks) == 300
    assert len(set(masks)) == 300
