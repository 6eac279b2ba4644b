"""Losses of classification, event by event."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def cross_entropy(logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    r"""Surprise of the classifier at the true class, :math:`-\ln p_t`, for each event."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def focal(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    gamma: float,
    alpha: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, " batch"]:
    r"""Cross-entropy that cares less about events it already has right, for each event.

    .. math:: -\alpha_t\,(1 - p_t)^\gamma \ln p_t

    Args:
        logits: unnormalised log-probabilities.
        labels: index of the true class.
        gamma: how fast easy events lose weight; 0 gives the cross-entropy.
        alpha: weight of each true class; None weighs all by 1.

    Source: Lin et al., *Focal Loss for Dense Object Detection*, arXiv:1708.02002, eq. 5.
    """
    surprise = cross_entropy(logits, labels)
    if gamma:
        # 1 - p_t = 1 - exp(-surprise); expm1 keeps its digits when p_t is close to 1, and the floor keeps the slope of
        # x^gamma finite at x = 0 for gamma < 1
        surprise = surprise * (-torch.expm1(-surprise)).clamp_min(1e-12) ** gamma
    return surprise if alpha is None else alpha[labels] * surprise


def unfocal(
    logits: Float[Tensor, "batch classes"],
    gamma: float,
    alpha: Float[Tensor, " classes"] | None = None,
    temperature: Float[Tensor, ""] | float = 1.0,
) -> Float[Tensor, "batch classes"]:
    r"""Logarithms of class probabilities from the outputs of a network trained with the focal loss.

    The focal loss is smallest at outputs :math:`v` that are flatter than the true class probabilities
    :math:`\eta`; setting its gradient to zero gives

    .. math:: \alpha_k \eta_k \propto \frac{v_k}{(1 - v_k)^\gamma - \gamma (1 - v_k)^{\gamma - 1} v_k \ln v_k}

    which is the softmax itself for :math:`\gamma = 0`. The :math:`\ln \eta_k` are divided by the temperature and
    normalised anew.

    Source: Charoenphakdee et al., *On Focal Loss for Class-Posterior Probability Estimation*, arXiv:2011.09172,
    theorem 11; the division by alpha follows from weighting class k by it.
    """
    log_v = nn.functional.log_softmax(logits, dim=-1)
    if gamma:
        # ln(1 - v) from the other classes, not from 1 - v: it must keep its digits for v close to 1
        others = torch.stack(
            [torch.cat([log_v[:, :k], log_v[:, k + 1 :]], dim=-1).logsumexp(-1) for k in range(log_v.shape[-1])], -1
        )
        # (1-v)^gamma - gamma (1-v)^(gamma-1) v ln v = (1-v)^(gamma-1) [(1-v) - gamma v ln v]
        bracket = (others.exp() - gamma * log_v.exp() * log_v).clamp_min(1e-30)
        log_v = log_v - (gamma - 1) * others - bracket.log()
    if alpha is not None:
        log_v = log_v - alpha.log()
    return nn.functional.log_softmax(log_v / temperature, dim=-1)
