"""Local canonicalization: a network with the particles in local frames is Lorentz-equivariant, whatever its layers.

Spinner et al., *Lorentz Local Canonicalization: How to Make Any Network Lorentz-Equivariant*, arXiv:2505.20280;
Favaro et al., *Lorentz-Equivariance without Limitations*, arXiv:2508.14898.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, TypeVar

from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from femtobarn.inputs.feature_batch import Features, Sizes
from femtobarn.models.part import ParT
from femtobarn.models.particlenet import ParticleNet
from femtobarn.models.registry import model
from femtobarn.models.settings_schema import described_hints
from femtobarn.models.transformer import Transformer
from femtobarn.nn import LocalFrames, Reference
from femtobarn.nn.frames import FrameType

Probability = Annotated[float, Field(ge=0, lt=1)]
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]

C = TypeVar("C", bound="LocallyCanonicalized")

#: Settings of the network that predicts frames, small enough for tests.
SMALL_FRAMES: dict[str, Any] = {"frames_net": (8, 8), "frames_dropout": 0.0}


class LocallyCanonicalized(nn.Module):
    """Any backbone on particles in local frames.

    Args:
        sizes: widths of the inputs and outputs.
        backbone: class whose `latent` and `objects` take features and transport.
        frames: type of frame. `learned`: predicted for each particle; `so3`: the same, at rest in the laboratory;
            `so2`: a rotation around the beam; `random`: one random frame per event in training; `identity`: none.
        vectors: number of four-vectors among the channels, one entry per layer with messages.
        references: directions that the frames may depend on, which reduces the symmetry to that of the references.
        frames_net: widths of the network that predicts the frames.
        frames_dropout: dropout probability after each layer of `frames_net`.
        settings: settings of the backbone.
    """

    def __init__(
        self,
        sizes: Sizes,
        backbone: type[nn.Module],
        *,
        frames: FrameType = "learned",
        vectors: Sequence[int],
        references: tuple[Reference, ...] = ("beam", "time"),
        frames_net: Widths = (128, 128),
        frames_dropout: Probability = 0.0,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.local = LocalFrames(sizes, frames, references, vectors, widths=frames_net, dropout=frames_dropout)
        self.backbone: Any = backbone(self.local.sizes, **settings)

    @property
    def head(self) -> nn.Module:
        """Layers from the latent vector to the outputs."""
        head: nn.Module = self.backbone.head
        return head

    def forward(self, features: Features) -> Float[Tensor, "batch outputs"]:
        """Outputs of each event."""
        outputs: Tensor = self.head(self.latent(features))
        return outputs

    def latent(self, features: Features) -> Float[Tensor, "batch width"]:
        """Latent vector of the backbone."""
        latent: Tensor = self.backbone.latent(*self.local(features))
        return latent

    def objects(self, features: Features) -> Float[Tensor, "batch particles width"]:
        """Vectors of the particles from the backbone, each in its local frame."""
        objects: Tensor = self.backbone.objects(*self.local(features))
        return objects[:, : features.mask.shape[1]]  # missing momentum is the last one

    def vectors(self, features: Features) -> Float[Tensor, "batch particles vectors 4"]:
        """Vectors of the particles from the backbone as four-vectors, four channels each, in the laboratory frame.

        Raises:
            ValueError: `frames` is `identity` or `random`, without a frame for each particle.
        """
        local, transport = self.local(features)
        objects = self.backbone.objects(local, transport)[:, : features.mask.shape[1]]
        return self.local.vectors_in_lab(objects, features, transport)


def inherit_settings(backbone: type[nn.Module], *, without: Sequence[str] = ()) -> Callable[[type[C]], type[C]]:
    """Add the settings of a backbone and of the frames to the signature of a class.

    They come with their types, defaults and descriptions. The `__init__` of the class gets them, complete with
    defaults, as its `**` argument. A setting that it declares itself replaces the inherited one.

    Args:
        backbone: its keyword-only arguments are the settings.
        without: settings that are left out.
    """
    inherited = [
        parameter
        for owner in (backbone, LocallyCanonicalized)
        for parameter in inspect.signature(owner.__init__).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in without
    ]
    hints = {name: hint for owner in (backbone, LocallyCanonicalized) for name, hint in described_hints(owner).items()}

    def decorate(cls: type[C]) -> type[C]:
        init: Callable[..., None] = cls.__init__
        signature = inspect.signature(init)
        declared = {p.name: p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD}
        positional = [p for p in declared.values() if p.kind is not p.KEYWORD_ONLY]
        settings = [declared.get(p.name, p) for p in inherited]
        defaults = {p.name: p.default for p in settings if p.name not in declared}

        @wraps(init)
        def __init__(self: C, sizes: Sizes, **given: Any) -> None:
            unknown = sorted(set(given) - {p.name for p in settings})
            if unknown:
                raise TypeError(f"{cls.__name__} has no setting {', '.join(unknown)}")
            init(self, sizes, **{**defaults, **given})

        types = {**hints, **described_hints(cls)}
        parameters = [*positional, *settings]
        __init__.__annotations__ = {p.name: types[p.name] for p in parameters if p.name in types}
        __init__.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        cls.__init__ = __init__  # type: ignore[method-assign, assignment]
        return cls

    return decorate


@model(
    "lloca-transformer",
    family="Lorentz-equivariant",
    small={"width": 16, "blocks": 2, "heads": 2, "pair_embedding": (8,), **SMALL_FRAMES},
    lorentz={"references": ()},
)
@inherit_settings(Transformer)
class LLoCaTransformer(LocallyCanonicalized):
    """Transformer on particles in local frames, with messages transported between them (LLoCa-Transformer).

    Without references the output is exactly Lorentz-invariant. The defaults are those for top tagging.

    Args:
        sizes: widths of the inputs and outputs.
        vectors: number of four-vectors among the channels of each head.
        frames_dropout: dropout probability after each layer of `frames_net`.
        settings: settings of `transformer` and of the frames.
    """

    def __init__(
        self, sizes: Sizes, *, vectors: NonNegativeInt = 1, frames_dropout: Probability = 0.1, **settings: Any
    ) -> None:
        check_vectors(vectors, settings["width"] // settings["heads"], "head")
        super().__init__(sizes, Transformer, vectors=(vectors,), frames_dropout=frames_dropout, **settings)


@model(
    "lloca-part",
    family="Lorentz-equivariant",
    small={
        "width": 16,
        "blocks": 2,
        "class_blocks": 1,
        "heads": 2,
        "embedding": (16,),
        "pair_embedding": (8,),
        "dropout": 0.0,
        **SMALL_FRAMES,
    },
    lorentz={"references": ()},
)
@inherit_settings(ParT, without=("self_pairs",))
class LLoCaParT(LocallyCanonicalized):
    """ParT on particles in local frames, with messages transported between them (LLoCa-ParT).

    The particle blocks transport their messages. The class token, which has no frame, attends to the features of the
    particles in their local frames. Without references and with invariant pairwise features, such as `mass`, the output
    is exactly Lorentz-invariant.

    Args:
        sizes: widths of the inputs and outputs.
        vectors: number of four-vectors among the channels of each head.
        settings: settings of `part` and of the frames.
    """

    def __init__(self, sizes: Sizes, *, vectors: NonNegativeInt = 2, **settings: Any) -> None:
        check_vectors(vectors, settings["width"] // settings["heads"], "head")
        super().__init__(sizes, ParT, vectors=(vectors,), **settings)


@model(
    "lloca-particlenet",
    family="Lorentz-equivariant",
    small={"k": 3, "blocks": ((8, 8), (8, 8)), "fc": (8,), "dropout": 0.0, "vectors": (1,), **SMALL_FRAMES},
    lorentz={"references": ()},
)
@inherit_settings(ParticleNet, without=("fill",))
class LLoCaParticleNet(LocallyCanonicalized):
    """ParticleNet on particles in local frames, with messages transported between them (LLoCa-ParticleNet).

    The first block, whose messages are the features of the particles, finds neighbours in eta and phi in the local
    frame of each particle. The messages of the later blocks contain four-vectors; their neighbours are the nearest in
    the features, each in its own frame. Without references and with invariant pairwise features, such as `mass`, the
    output is exactly Lorentz-invariant.

    Args:
        sizes: widths of the inputs and outputs.
        vectors: number of four-vectors among the input channels of each block but the first.
        settings: settings of `particlenet` and of the frames.
    """

    def __init__(self, sizes: Sizes, *, vectors: tuple[NonNegativeInt, ...] = (8, 16), **settings: Any) -> None:
        blocks = settings["blocks"]
        if len(vectors) != len(blocks) - 1:
            raise ValueError(f"{len(vectors)} numbers of four-vectors for the {len(blocks) - 1} blocks after the first")
        for count, channels in zip(vectors, blocks, strict=False):
            check_vectors(count, channels[-1], "object")
        super().__init__(sizes, ParticleNet, vectors=vectors, **settings)


def check_vectors(vectors: int, channels: int, owner: str) -> None:
    """Check that the four-vectors fit into the channels.

    Raises:
        ValueError: they need more channels than there are.
    """
    if 4 * vectors > channels:
        raise ValueError(f"{vectors} four-vectors need {4 * vectors} channels, and each {owner} has {channels}")
