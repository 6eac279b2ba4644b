"""Graph: the whole function from named columns to the score, and its ONNX file."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

import femtobarn
from femtobarn.export.checksum import BLANK, CHECKSUM, write_checksum
from femtobarn.export.columns import FORMS, MEANING
from femtobarn.export.facts import KEY, Facts
from femtobarn.inputs import Batch
from femtobarn.models import Network
from femtobarn.nn.frames import FrameNet
from femtobarn.physics import lorentz
from femtobarn.physics.objects import KINDS, NAMES, PADDING
from femtobarn.tasks.classification.classifier import Classifier

OUTPUTS = ("score", "probabilities")

#: Input of the graph, not of the file, that is as long as there are places; fewer than so many there never are, for
#: torch's exporter takes every axis to be longer than 1.
PLACES, MIN_BACKGROUND = "places", 2

#: Of the operators: understood by onnxruntime from 1.15 (2023) on.
OPSET = 18

Objects = Float[Tensor, "batch objects"]
Event = Float[Tensor, " batch"]


class Graph(nn.Module):
    """What an exported file computes: named columns in, calibrated score and class probabilities out.

    The `slots` hardest objects of an event count, wherever they stand among padding; without so many, all. As many are
    computed as the fullest event of the batch has. Momenta and the features made of them are float64 inside: the mass
    of two light collinear objects is a small difference of large numbers. So are local frames, but for the network that
    finds them. An event that holds NaN, infinity or a type that is not in `NAMES` has the score NaN.

    Args:
        network: raw objects to logits.
        task: logits to score.
        slots: objects that the network was trained with.
    """

    def __init__(self, network: Network, task: Classifier, slots: int) -> None:
        super().__init__()
        self.network = network
        self.task = task
        self.slots = slots

    def forward(
        self,
        places: Shaped[Tensor, " places"],
        pt: Objects,
        eta: Objects,
        phi: Objects,
        E: Objects,
        type: Int[Tensor, "batch objects"],
        MET: Event,
        phi_MET: Event,
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch classes"]]:
        """Score and class probabilities of each event, in float32."""
        finite = (pt.isfinite() & eta.isfinite() & phi.isfinite() & E.isfinite()) | (type == PADDING)
        known = (type >= 0) & (type < len(NAMES))
        wrong = ~(finite & known).all(1) | ~(MET.isfinite() & phi_MET.isfinite())
        kind = torch.where(finite & known, type, PADDING)
        pt, eta, phi, E, kind = self.hardest(places.shape[0], kind, pt, eta, phi, E)
        batch = Batch(
            momenta=lorentz.from_ptetaphie(pt, eta, phi, E),
            kind=kind,
            mask=kind != PADDING,
            context=torch.stack([MET, phi_MET], dim=-1).double(),
            tracks=pt[..., None][..., :0],
        )
        logits = self.network(batch).double()  # float32 would tie events close to a score of 1
        return self.said(logits, wrong)

    def said(
        self, logits: Float[Tensor, "batch classes"], wrong: Bool[Tensor, " batch"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch classes"]]:
        """Score and class probabilities in float32, NaN for events that make no sense."""
        score, probabilities = self.task(logits), self.task.log_posterior(logits).exp()
        score = torch.where(wrong, torch.nan, score)
        probabilities = torch.where(wrong[:, None], torch.nan, probabilities)
        return score.float(), probabilities.float()

    def hardest(
        self, places: int | torch.SymInt, kind: Int[Tensor, "batch objects"], *columns: Objects
    ) -> tuple[Tensor, ...]:
        """The hardest objects by falling pT in so many places, in float64 and zeros where there is no object."""
        real = kind != PADDING
        filled = (torch.where(real, column, 0.0).double() for column in columns)
        # as many empty slots as count behind the objects: events of any multiplicity, none included, fill up
        pt, *rest, kind = (nn.functional.pad(column, (0, self.slots)) for column in (*filled, kind))
        softness = torch.where(kind != PADDING, -pt, torch.inf)
        chosen = softness.topk(places, dim=1, largest=False, sorted=True).indices
        return tuple(column.gather(1, chosen) for column in (pt, *rest, kind))


class JetGraph(Graph):
    """What the exported file of a jet tagger computes: the named columns of constituents in, as for `Graph`.

    A jet that holds NaN, infinity or a type that is not in `KINDS` has the score NaN.
    """

    def forward(
        self,
        places: Shaped[Tensor, " places"],
        pt: Objects,
        eta: Objects,
        phi: Objects,
        E: Objects,
        type: Int[Tensor, "batch objects"],
        *tracks: Objects,
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch classes"]]:
        """Score and class probabilities of each jet, in float32."""
        numbers = (pt, eta, phi, E, *tracks)
        finite = torch.stack([column.isfinite() for column in numbers]).all(0) | (type == PADDING)
        known = (type >= 0) & (type < len(KINDS))
        kind = torch.where(finite & known, type, PADDING)
        pt, eta, phi, E, *rest, kind = self.hardest(places.shape[0], kind, *numbers)
        batch = Batch(
            momenta=lorentz.from_ptetaphie(pt, eta, phi, E),
            kind=kind,
            mask=kind != PADDING,
            context=torch.zeros_like(pt[:, :2]),
            tracks=torch.stack(rest, dim=-1) if rest else pt[..., None][..., :0],
        )
        return self.said(self.network(batch).double(), ~(finite & known).all(1))


def has_frames(network: Network) -> bool:
    """Whether a network finds a local frame for each object."""
    return any(isinstance(module, FrameNet) for module in network.modules())


def write(graph: Graph, facts: Facts, path: Path, *, double_frames: bool = False) -> None:
    """Writes the graph as one ONNX file, with the facts and its own checksum in its metadata.

    Args:
        graph: what the file computes.
        facts: what it says of itself.
        path: of the file.
        double_frames: local frames are found in float64, not in the float32 of the run: exact where directions are
            nearly parallel, and three times slower.

    Raises:
        RuntimeError: the network does something that ONNX cannot express, or the packages for it are missing.
    """
    try:
        from femtobarn.export.double import FUNCTIONS
        from femtobarn.export.places import count_inside
    except ImportError:
        raise RuntimeError("onnx and onnxscript are missing; pip install 'femtobarn[export]'") from None
    graph = copy.deepcopy(graph).eval().requires_grad_(False)
    for module in graph.modules():
        if isinstance(module, FrameNet) and double_frames:
            module.double()
    names = FORMS[facts.features]._fields
    example = _example(graph.slots, names, getattr(torch, facts.precision))
    with _quiet():
        try:
            exported = torch.onnx.export(
                graph,
                example,
                input_names=[PLACES, *names],
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=_shapes(graph, example),
                custom_translation_table=FUNCTIONS,
                optimize=False,  # its rewriter drops what is added to a number if it is small
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise RuntimeError(f"{facts.label} cannot be written as ONNX: {str(error).splitlines()[0]}") from error
    assert exported is not None  # as it is for dynamo=False
    model = exported.model
    count_inside(model, PLACES, MIN_BACKGROUND, graph.slots)
    _tidy(model)
    model.producer_name, model.producer_version = "femtobarn", femtobarn.__version__
    model.metadata_props.clear()
    model.metadata_props[KEY] = facts.json()
    model.metadata_props[CHECKSUM] = BLANK.decode()
    model.doc_string = f"{facts.label}: score of {', '.join(facts.signal)} against {', '.join(facts.background)}"
    for value in model.graph.inputs:
        value.doc_string = MEANING[str(value.name)]
    exported.save(path, external_data=False)
    write_checksum(path)


def _tidy(model: Any) -> None:
    """Takes out what the exporter leaves behind: constants to be computed, copies, and where on this machine it ran."""
    from onnx_ir.passes import common
    from onnxscript import optimizer

    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    for tidy in (
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.ClearMetadataAndDocStringPass(),
    ):
        tidy(model)


def _example(slots: int, names: Sequence[str], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Events to trace with: as many places as objects count, then the columns.

    No two axes have one length by chance, or they would count as the same axis; nor is a tensor given twice, or the two
    inputs would count as the same input.
    """
    places, events, objects = slots - 1 if _grows(slots) else slots, slots + 3, slots + 7
    values = {"pt": 50.0, "eta": 0.5, "phi": 1.0, "E": 60.0, "MET": 80.0, "phi_MET": 2.0}
    values |= {"charge": -1.0, "d0": 0.1, "d0_error": 0.2, "dz": 0.3, "dz_error": 0.4}
    shapes = {name: (events,) if name in ("MET", "phi_MET") else (events, objects) for name in names}
    columns = (
        torch.ones(events, objects, dtype=torch.long)
        if name == "type"
        else torch.full(shapes[name], values[name], dtype=dtype)
        for name in names
    )
    return torch.zeros(places, dtype=torch.bool), *columns


def _grows(slots: int) -> bool:
    """Whether the number of places follows the events: an axis that may have one length alone is fixed."""
    return slots > MIN_BACKGROUND


def _shapes(graph: Graph, example: Sequence[Tensor]) -> tuple[Any, ...]:
    """The axes of the arguments that may have any length."""
    events, objects = torch.export.Dim("events"), torch.export.Dim("objects")
    places = {0: torch.export.Dim(PLACES, min=MIN_BACKGROUND, max=graph.slots)} if _grows(graph.slots) else {}
    columns = [{0: events, 1: objects} if tensor.ndim == 2 else {0: events} for tensor in example[1:]]
    # the tracks of a jet's graph are one argument
    tracks = (tuple(columns[5:]),) if isinstance(graph, JetGraph) and columns[5:] else tuple(columns[5:])
    return (places, *columns[:5], *tracks)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about packages nobody needs and names that inputs share."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(before)
