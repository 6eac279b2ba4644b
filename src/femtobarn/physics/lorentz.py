"""Four-vectors: (px, py, pz, E) in the coordinates of a collider, and back.

Every function takes momenta in GeV with the components on the last axis, works in the precision it is given, and has
finite gradients everywhere, at rest and along the beam included.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from femtobarn.physics.constants import TINY_PT

#: Signs of (px, py, pz, E) in invariant products.
METRIC = (-1.0, -1.0, -1.0, 1.0)


#: Standard deviation of the rapidity of a random boost.
RAPIDITY_STD = 0.1

#: Maximum rapidity of a random boost, in standard deviations.
MAX_RAPIDITY_STDS = 3.0


def safe_sqrt(value: Tensor) -> Tensor:
    """Square root; 0 at and below 0, where its gradient is 0 as well.

    The gradient of the plain square root is infinite at 0; times a masked 0 it is NaN in the backward pass.
    """
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1.0).sqrt(), 0.0)


def from_ptetaphie(pt: Tensor, eta: Tensor, phi: Tensor, energy: Tensor) -> Float[Tensor, "*shape 4"]:
    """(px, py, pz, E) from transverse momentum (GeV), pseudorapidity, azimuth (radians) and energy (GeV)."""
    components = (pt * phi.cos(), pt * phi.sin(), pt * eta.sinh(), energy)
    like = pt + eta + phi + energy  # the shape all four broadcast to
    return torch.stack([component.expand_as(like) for component in components], dim=-1)


def from_ptetaphim(pt: Tensor, eta: Tensor, phi: Tensor, mass: Tensor) -> Float[Tensor, "*shape 4"]:
    r"""(px, py, pz, E) from transverse momentum, pseudorapidity, azimuth and mass (GeV).

    .. math:: E = \sqrt{p_T^2 \cosh^2 \eta + m^2}
    """
    return from_ptetaphie(pt, eta, phi, safe_sqrt((pt * eta.cosh()).square() + mass.square()))


def pt(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape"]:
    """Transverse momentum in GeV."""
    return safe_sqrt(momenta[..., 0].square() + momenta[..., 1].square())


def eta(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape"]:
    r"""Pseudorapidity: 0 across the beam, large along it, and finite even there (`TINY_PT`).

    .. math:: \eta = \operatorname{arsinh}(p_z / p_T) = -\ln \tan (\theta / 2)
    """
    return torch.asinh(momenta[..., 2] / pt(momenta).clamp_min(TINY_PT))


def phi(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape"]:
    """Azimuth in radians, in [-π, π]; 0 for a particle along the beam, which has none."""
    px, py = momenta[..., 0], momenta[..., 1]
    # atan2(0, -0.0) is π, and the slope of atan2(0, 0) is NaN
    return torch.atan2(py, torch.where((px == 0) & (py == 0), 1.0, px))


def rapidity(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape"]:
    r"""Rapidity: a boost along the beam adds the same number to every particle's.

    .. math:: y = \tfrac12 \ln \frac{E + p_z}{E - p_z} = \operatorname{arsinh} \frac{p_z}{\sqrt{p_T^2 + m^2}}

    The second form does not lose its digits in E - pz. A space-like momentum (m² < 0, from rounding or resolution)
    counts as massless, so that y is η.
    """
    transverse = momenta[..., 0].square() + momenta[..., 1].square()
    return torch.asinh(momenta[..., 2] / safe_sqrt(transverse + mass2(momenta).clamp_min(0)).clamp_min(TINY_PT))


def mass2(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape"]:
    r"""Invariant mass squared in GeV², negative where the momentum is space-like.

    .. math:: m^2 = (E - p_z)(E + p_z) - p_x^2 - p_y^2

    The factors cancel less than E² - p² does. What remains is the rounding of the momenta themselves, about
    ε E²: a mass below E sqrt(ε) (3e-4 E in float32) is not in the numbers any more.
    """
    px, py, pz, energy = momenta.unbind(-1)
    return (energy - pz) * (energy + pz) - px.square() - py.square()


def mass(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape"]:
    """Invariant mass in GeV, 0 where the momentum is space-like."""
    return safe_sqrt(mass2(momenta))


def dot(first: Float[Tensor, "*#shape 4"], second: Float[Tensor, "*#shape 4"]) -> Tensor:
    """The product E E' - p·p' in GeV², the same in every inertial frame."""
    product = first * second
    return product[..., 3] - product[..., 2] - product[..., 1] - product[..., 0]


def velocity(momenta: Float[Tensor, "*shape 4"]) -> Float[Tensor, "*shape 3"]:
    """Velocity p/E in units of c: `boost(p, -velocity(q))` sees p from the rest frame of q."""
    return momenta[..., :3] / momenta[..., 3:]


def boost(momenta: Float[Tensor, "*#shape 4"], beta: Float[Tensor, "*#shape 3"]) -> Tensor:
    r"""Momenta after a boost that gives something at rest the velocity beta.

    .. math::
        E' = \gamma (E + \beta \cdot p), \quad
        p' = p + \left(\frac{\gamma^2}{\gamma + 1} \beta \cdot p + \gamma E\right) \beta

    Args:
        momenta: (px, py, pz, E) in GeV.
        beta: velocity in units of c, |beta| < 1, broadcast against the momenta.

    Source: Jackson, *Classical Electrodynamics*, 3rd ed., eq. 11.19, with (γ-1)/β² = γ²/(γ+1), regular at rest.
    """
    gamma = (1 - beta.square().sum(-1, keepdim=True)).rsqrt()
    along = (momenta[..., :3] * beta).sum(-1, keepdim=True)
    energy = momenta[..., 3:]
    space = momenta[..., :3] + (gamma.square() / (gamma + 1) * along + gamma * energy) * beta
    return torch.cat([space, gamma * (energy + along)], dim=-1)


def to_rest(velocity: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 4 4"]:
    r"""The matrix of the boost into the rest frame of what moves with the four-velocity (u, γ), u = γβ.

    .. math:: B = \begin{pmatrix} 1 + u u^T / (1 + \gamma) & -u \\ -u^T & \gamma \end{pmatrix}, \quad
        \gamma = \sqrt{1 + u^2}

    Regular at rest, and a Lorentz matrix for every u: no γ is made of a β that rounding has brought to 1.
    """
    gamma = (1 + velocity.square().sum(-1, keepdim=True)).sqrt()
    turned = velocity[..., None] * (velocity / (1 + gamma))[..., None, :]
    space = torch.cat([turned + torch.eye(3, dtype=velocity.dtype, device=velocity.device), -velocity[..., None]], -1)
    return torch.cat([space, torch.cat([-velocity, gamma], -1)[..., None, :]], dim=-2)


def rotation_as_lorentz(rotation: Float[Tensor, "*shape 3 3"]) -> Float[Tensor, "*shape 4 4"]:
    """Lorentz matrix of a rotation."""
    time = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=rotation.dtype, device=rotation.device)
    return torch.cat([torch.nn.functional.pad(rotation, (0, 1)), time.expand(*rotation.shape[:-2], 1, 4)], dim=-2)


def random_transformations(n_events: int, like: Tensor) -> Float[Tensor, "batch 4 4"]:
    """One random Lorentz transformation per event: a boost with normally distributed rapidity, then a uniform rotation.

    Source: arXiv:2508.14898, section 2 (data augmentation as random global frames).
    """
    quaternion = torch.randn(n_events, 4, dtype=like.dtype, device=like.device)
    a, b, c, d = (quaternion / quaternion.square().sum(-1, keepdim=True).sqrt()).unbind(-1)
    rotation = [
        torch.stack([1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)], -1),
        torch.stack([2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)], -1),
        torch.stack([2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)], -1),
    ]
    normal = torch.randn(n_events, 3, dtype=like.dtype, device=like.device)
    rapidity = RAPIDITY_STD * normal.clamp(-MAX_RAPIDITY_STDS, MAX_RAPIDITY_STDS)
    return rotation_as_lorentz(torch.stack(rotation, -2)) @ to_rest(rapidity.sinh())
