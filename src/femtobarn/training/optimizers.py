"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer, RAdam

OptimizerName = Literal["adamw", "adam", "nadam", "radam", "ranger", "lion", "sgd"]

#: Optimizers that take each optional argument.
OPTIMIZER_ARGUMENTS: Mapping[str, tuple[OptimizerName, ...]] = {
    "betas": ("adamw", "adam", "nadam", "radam", "ranger", "lion"),
    "eps": ("adamw", "adam", "nadam", "radam", "ranger"),
    "momentum": ("sgd",),
}


def optimizer(
    name: OptimizerName,
    network: nn.Module,
    lr: float,
    weight_decay: float,
    slow: Collection[str] = (),
    share: float = 1.0,
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> Optimizer:
    """Optimizer over the trainable parameters of a network; weight decay acts on matrices alone.

    Args:
        name: name of the optimizer.
        network: its parameters are grouped by `share`, the fraction of the learning rate; the fastest group is first.
        lr: learning rate.
        weight_decay: weight decay of matrices.
        slow: names of the parameters with a lower learning rate.
        share: their fraction of the learning rate.
        arguments: `betas`, `eps` or `momentum`; default: those of the optimizer.

    Raises:
        ValueError: the network has nothing to train.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for label, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((share if label in slow else 1.0, parameter.ndim > 1), []).append(parameter)
    if not groups:
        raise ValueError(f"{type(network).__name__} has no parameter to train")
    # biases, norms and scales have no direction in which they should shrink
    decay = {True: weight_decay, False: 0.0}
    parameter_groups = [
        {"params": groups[part, matrix], "lr": lr * part, "share": part, "weight_decay": decay[matrix]}
        for part, matrix in sorted(groups, reverse=True)
    ]
    optimizer_class, defaults = _OPTIMIZERS[name]
    chosen = {**defaults, **arguments}
    if "momentum" in chosen:
        chosen["nesterov"] = chosen["momentum"] > 0
    return optimizer_class(parameter_groups, lr=lr, **chosen)


class Ranger(RAdam):
    """RAdam with Lookahead: every few steps the weights go halfway back to where a slow copy of them stands.

    Liu et al., arXiv:1908.03265; Zhang et al., arXiv:1907.08610. ParT and ParticleNet were trained with it.
    """

    #: Steps between two updates of the slow weights.
    SYNC_INTERVAL = 6

    #: Fraction of the way from the slow to the fast weights.
    SYNC_FRACTION = 0.5

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for state, p in ((self.state[p], p) for group in self.param_groups for p in group["params"]):
            if "slow" not in state:
                state["slow"] = p.clone()
            elif int(state["step"]) % self.SYNC_INTERVAL == 0:
                p.copy_(state["slow"].lerp_(p, self.SYNC_FRACTION))
        return loss


class Lion(Optimizer):
    """Steps of equal length in every direction, by the sign of an averaged gradient; wants a third of AdamW's lr.

    Chen et al., *Symbolic Discovery of Optimization Algorithms*, arXiv:2302.06675.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            fast, slow = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                average: Tensor = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(torch.lerp(p.grad, average, fast).sign_(), alpha=-group["lr"])
                average.lerp_(p.grad, 1 - slow)
        return loss


_OPTIMIZERS: dict[OptimizerName, tuple[Callable[..., Optimizer], Mapping[str, Any]]] = {
    # fused: one pass over all parameters, also on processors, where a loop in Python would cost as much as a small net
    "adamw": (AdamW, {"fused": True}),
    "adam": (Adam, {"fused": True}),
    "nadam": (NAdam, {"decoupled_weight_decay": True}),
    "radam": (RAdam, {"decoupled_weight_decay": True}),
    "ranger": (Ranger, {"betas": (0.95, 0.999), "eps": 1e-5, "decoupled_weight_decay": True}),
    "lion": (Lion, {}),
    "sgd": (SGD, {"momentum": 0.9}),
}
