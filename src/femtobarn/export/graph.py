"""Graph: the whole function from named columns to scores, latent vectors or vectors of particles, as ONNX file."""

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
from femtobarn.export.facts import KEY, OUTPUT_NAMES, Depth, Facts
from femtobarn.inputs import Batch
from femtobarn.models import Network
from femtobarn.nn.frames import FrameNet
from femtobarn.physics import lorentz
from femtobarn.physics.objects import JET_KINDS, NAMES, PADDING
from femtobarn.tasks.classification.classifier import Classifier

#: Input of the graph, not of the file, whose length is the number of slots that are computed.
PLACES = "places"

#: Minimum length of it: the exporter of torch takes every axis to be longer than 1.
MIN_PLACES = 2

#: Version of the operators: supported by onnxruntime 1.15 (2023) and later.
OPSET = 18

Column = Float[Tensor, "batch particles"]
EventColumn = Float[Tensor, " batch"]


class Graph(nn.Module):
    """Function of an exported file: named columns to calibrated score and class probabilities, or to another depth.

    The `slots` hardest particles of an event are used, in any slots of the columns. As many slots are computed as the
    fullest event of the batch has particles. Momenta and the features made of them are float64 inside: the mass of two
    light collinear particles is a small difference of large numbers. Local frames are float64 too, except for the
    network that predicts them. An event with NaN, infinity or an unknown type gets NaN.

    Args:
        network: network from raw particles to logits.
        task: task that turns logits into scores.
        slots: number of particles that the network was trained with.
        depth: depth that the file computes: `outputs` gives score and probabilities, `latent` one vector per event,
            `objects` one vector per particle, in the slots of the columns.
    """

    def __init__(self, network: Network, task: Classifier, slots: int, depth: Depth = "outputs") -> None:
        super().__init__()
        self.network = network
        self.task = task
        self.slots = slots
        self.depth = depth

    def forward(
        self,
        places: Shaped[Tensor, " places"],
        pt: Column,
        eta: Column,
        phi: Column,
        E: Column,
        type: Int[Tensor, "batch particles"],
        MET: EventColumn,
        phi_MET: EventColumn,
    ) -> tuple[Tensor, ...]:
        """Outputs of the depth for each event, in float32."""
        finite = (pt.isfinite() & eta.isfinite() & phi.isfinite() & E.isfinite()) | (type == PADDING)
        is_type = (type >= 0) & (type < len(NAMES))
        invalid = ~(finite & is_type).all(1) | ~(MET.isfinite() & phi_MET.isfinite())
        kind = torch.where(finite & is_type, type, PADDING)
        order, (pt, eta, phi, E, kind) = self.hardest(places.shape[0], kind, pt, eta, phi, E)
        batch = Batch(
            momenta=lorentz.from_ptetaphie(pt, eta, phi, E),
            kind=kind,
            mask=kind != PADDING,
            context=torch.stack([MET, phi_MET], dim=-1).double(),
            tracks=pt[..., None][..., :0],
        )
        return self.outputs(batch, order, type, invalid)

    def outputs(
        self,
        batch: Batch,
        order: Int[Tensor, "batch places"],
        type: Int[Tensor, "batch particles"],
        invalid: Bool[Tensor, " batch"],
    ) -> tuple[Tensor, ...]:
        """Outputs of the depth in float32, NaN for invalid events.

        Args:
            batch: the hardest particles.
            order: slot of each of them in the columns.
            type: column of the types.
            invalid: True for events with NaN, infinity or an unknown type.
        """
        if self.depth == "latent":
            return (torch.where(invalid[:, None], torch.nan, self.network.latent(batch)).float(),)
        if self.depth == "objects":
            objects = self.network.objects(batch)
            index = order[..., None].expand(-1, -1, objects.shape[-1])
            slots = objects.new_zeros(type.shape[0], type.shape[1] + self.slots, objects.shape[-1])
            in_columns = slots.scatter(1, index, objects)[:, : type.shape[1]]
            return (torch.where(invalid[:, None, None], torch.nan, in_columns).float(),)
        logits = self.network(batch).double()  # float32 would tie events close to a score of 1
        score, probabilities = self.task(logits), self.task.log_posterior(logits).exp()
        score = torch.where(invalid, torch.nan, score)
        probabilities = torch.where(invalid[:, None], torch.nan, probabilities)
        return score.float(), probabilities.float()

    def hardest(
        self, places: int | torch.SymInt, kind: Int[Tensor, "batch particles"], *columns: Column
    ) -> tuple[Int[Tensor, "batch places"], tuple[Tensor, ...]]:
        """Slots of the hardest particles by falling pT, and their columns in float64; 0 where there is no particle."""
        real = kind != PADDING
        filled = (torch.where(real, column, 0.0).double() for column in columns)
        # `slots` empty slots at the end: there are enough for any number of places, also in events without particles
        pt, *rest, kind = (nn.functional.pad(column, (0, self.slots)) for column in (*filled, kind))
        softness = torch.where(kind != PADDING, -pt, torch.inf)
        order = softness.topk(places, dim=1, largest=False, sorted=True).indices
        return order, tuple(column.gather(1, order) for column in (pt, *rest, kind))


class JetGraph(Graph):
    """Function of an exported jet tagger: named columns of constituents, and outputs as of `Graph`."""

    def forward(
        self,
        places: Shaped[Tensor, " places"],
        pt: Column,
        eta: Column,
        phi: Column,
        E: Column,
        type: Int[Tensor, "batch particles"],
        *tracks: Column,
    ) -> tuple[Tensor, ...]:
        """Outputs of the depth for each jet, in float32."""
        numbers = (pt, eta, phi, E, *tracks)
        finite = torch.stack([column.isfinite() for column in numbers]).all(0) | (type == PADDING)
        is_type = (type >= 0) & (type < len(JET_KINDS))
        kind = torch.where(finite & is_type, type, PADDING)
        order, (pt, eta, phi, E, *rest, kind) = self.hardest(places.shape[0], kind, *numbers)
        batch = Batch(
            momenta=lorentz.from_ptetaphie(pt, eta, phi, E),
            kind=kind,
            mask=kind != PADDING,
            context=torch.zeros_like(pt[:, :2]),
            tracks=torch.stack(rest, dim=-1) if rest else pt[..., None][..., :0],
        )
        return self.outputs(batch, order, type, ~(finite & is_type).all(1))


def has_frames(network: Network) -> bool:
    """True if a network predicts a local frame for each particle."""
    return any(isinstance(module, FrameNet) for module in network.modules())


def write(graph: Graph, facts: Facts, path: Path, *, double_frames: bool = False) -> None:
    """Write the graph as one ONNX file, with the facts and its own checksum in its metadata.

    Args:
        graph: function of the file.
        facts: metadata of the file.
        path: path of the file.
        double_frames: predict local frames in float64 instead of the float32 of the run: exact where directions are
            nearly parallel, and three times slower.

    Raises:
        RuntimeError: ONNX cannot express the network, or its packages are missing.
    """
    try:
        from femtobarn.export.double import FUNCTIONS
        from femtobarn.export.places import count_particles
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
                output_names=list(OUTPUT_NAMES[graph.depth]),
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=_shapes(graph, example),
                custom_translation_table=FUNCTIONS,
                optimize=False,  # its rewriter drops small constants in sums
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise RuntimeError(f"{facts.label} cannot be written as ONNX: {str(error).splitlines()[0]}") from error
    assert exported is not None  # None for dynamo=False
    model = exported.model
    count_particles(model, PLACES, MIN_PLACES, graph.slots)
    _tidy(model)
    model.producer_name, model.producer_version = "femtobarn", femtobarn.__version__
    model.metadata_props.clear()
    model.metadata_props[KEY] = facts.json()
    model.metadata_props[CHECKSUM] = BLANK.decode()
    classes = f"{', '.join(facts.signal)} against {', '.join(facts.background)}"
    model.doc_string = f"{facts.label}: {', '.join(OUTPUT_NAMES[graph.depth])} of {classes}"
    for value in model.graph.inputs:
        value.doc_string = MEANING[str(value.name)]
    exported.save(path, external_data=False)
    write_checksum(path)


def _tidy(model: Any) -> None:
    """Remove remains of the exporter: constants to be computed, duplicates, and paths of this machine."""
    from onnx_ir.passes import common
    from onnxscript import optimizer

    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    for simplify in (
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.ClearMetadataAndDocStringPass(),
    ):
        simplify(model)


def _example(slots: int, names: Sequence[str], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Inputs to trace the graph with: the slots that are computed, then the columns.

    All axes have different lengths, because equal ones would count as the same axis; no tensor is passed twice, because
    it would count as one input.
    """
    places, events, particles = slots - 1 if _grows(slots) else slots, slots + 3, slots + 7
    values = {"pt": 50.0, "eta": 0.5, "phi": 1.0, "E": 60.0, "MET": 80.0, "phi_MET": 2.0}
    values |= {"charge": -1.0, "d0": 0.1, "d0_error": 0.2, "dz": 0.3, "dz_error": 0.4}
    shapes = {name: (events,) if name in ("MET", "phi_MET") else (events, particles) for name in names}
    columns = (
        torch.ones(events, particles, dtype=torch.long)
        if name == "type"
        else torch.full(shapes[name], values[name], dtype=dtype)
        for name in names
    )
    return torch.zeros(places, dtype=torch.bool), *columns


def _grows(slots: int) -> bool:
    """True if the number of places depends on the events; an axis with a single possible length is fixed."""
    return slots > MIN_PLACES


def _shapes(graph: Graph, example: Sequence[Tensor]) -> tuple[Any, ...]:
    """Axes of the arguments that may have any length."""
    events, particles = torch.export.Dim("events"), torch.export.Dim("objects")
    places = {0: torch.export.Dim(PLACES, min=MIN_PLACES, max=graph.slots)} if _grows(graph.slots) else {}
    columns = [{0: events, 1: particles} if tensor.ndim == 2 else {0: events} for tensor in example[1:]]
    # the tracks of a jet's graph are one argument
    tracks = (tuple(columns[5:]),) if isinstance(graph, JetGraph) and columns[5:] else tuple(columns[5:])
    return (places, *columns[:5], *tracks)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings of the exporter about optional packages and names that inputs share."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(before)
