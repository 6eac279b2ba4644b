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
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

import femtobarn
from femtobarn.export.columns import FORMS, MEANING
from femtobarn.export.facts import KEY, Facts
from femtobarn.inputs import Batch
from femtobarn.models import Network
from femtobarn.nn.frames import FrameNet
from femtobarn.physics import lorentz
from femtobarn.physics.objects import KINDS, NAMES, PADDING
from femtobarn.tasks import Classifier

OUTPUTS = ("score", "probabilities")

#: Of the operators: understood by onnxruntime from 1.15 (2023) on.
OPSET = 18

Objects = Float[Tensor, "batch objects"]
Event = Float[Tensor, " batch"]


class Graph(nn.Module):
    """What an exported file computes: named columns in, calibrated score and class probabilities out.

    The `slots` hardest objects of an event count, wherever they stand among padding; without so many, all. Momenta and
    the features made of them are float64 inside: the mass of two light collinear objects is a small difference of large
    numbers. So are local frames. An event that holds NaN, infinity or a type that is not in `NAMES` has the score NaN.

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
        pt, eta, phi, E, kind = self.hardest(kind, pt, eta, phi, E)
        batch = Batch(
            momenta=lorentz.from_ptetaphie(pt, eta, phi, E),
            kind=kind,
            mask=kind != PADDING,
            context=torch.stack([MET, phi_MET], dim=-1).double(),
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

    def hardest(self, kind: Int[Tensor, "batch objects"], *columns: Objects) -> tuple[Tensor, ...]:
        """The `slots` hardest objects by falling pT, the columns in float64 and zeros where there is no object."""
        real = kind != PADDING
        filled = (torch.where(real, column, 0.0).double() for column in columns)
        # as many empty slots as count behind the objects: events of any multiplicity, none included, fill up
        pt, *rest, kind = (nn.functional.pad(column, (0, self.slots)) for column in (*filled, kind))
        softness = torch.where(kind != PADDING, -pt, torch.inf)
        chosen = softness.topk(self.slots, dim=1, largest=False, sorted=True).indices
        return tuple(column.gather(1, chosen) for column in (pt, *rest, kind))


class JetGraph(Graph):
    """What the exported file of a jet tagger computes: the named columns of constituents in, as for `Graph`.

    A jet that holds NaN, infinity or a type that is not in `KINDS` has the score NaN.
    """

    def forward(
        self, pt: Objects, eta: Objects, phi: Objects, E: Objects, type: Int[Tensor, "batch objects"], *tracks: Objects
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch classes"]]:
        """Score and class probabilities of each jet, in float32."""
        numbers = (pt, eta, phi, E, *tracks)
        finite = torch.stack([column.isfinite() for column in numbers]).all(0) | (type == PADDING)
        known = (type >= 0) & (type < len(KINDS))
        kind = torch.where(finite & known, type, PADDING)
        pt, eta, phi, E, *rest, kind = self.hardest(kind, *numbers)
        batch = Batch(
            momenta=lorentz.from_ptetaphie(pt, eta, phi, E),
            kind=kind,
            mask=kind != PADDING,
            context=torch.zeros_like(pt[:, :2]),
            tracks=torch.stack(rest, dim=-1) if rest else pt[..., None][..., :0],
        )
        return self.said(self.network(batch).double(), ~(finite & known).all(1))


def write(graph: Graph, facts: Facts, path: Path) -> None:
    """Writes the graph as one ONNX file, with the facts in its metadata.

    Raises:
        RuntimeError: the network does something that ONNX cannot express, or the packages for it are missing.
    """
    try:
        from femtobarn.export.double import FUNCTIONS
    except ImportError:
        raise RuntimeError("onnx and onnxscript are missing; pip install 'femtobarn[export]'") from None
    graph = copy.deepcopy(graph).eval().requires_grad_(False)
    for module in graph.modules():
        if isinstance(module, FrameNet):
            module.double()
    events, objects = torch.export.Dim("events"), torch.export.Dim("objects")
    names = FORMS[facts.features]._fields
    example = _example(graph.slots, names)
    axes = [{0: events, 1: objects} if tensor.ndim == 2 else {0: events} for tensor in example]
    # the tracks of a jet's graph are one argument
    shapes = (*axes[:5], tuple(axes[5:])) if isinstance(graph, JetGraph) and axes[5:] else tuple(axes)
    with _quiet():
        try:
            exported = torch.onnx.export(
                graph,
                example,
                input_names=list(names),
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=shapes,
                custom_translation_table=FUNCTIONS,
                optimize=False,  # its rewriter drops what is added to a number if it is small
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise RuntimeError(f"{facts.label} cannot be written as ONNX: {str(error).splitlines()[0]}") from error
    assert exported is not None  # as it is for dynamo=False
    model = exported.model
    _tidy(model)
    model.producer_name, model.producer_version = "femtobarn", femtobarn.__version__
    model.metadata_props.clear()
    model.metadata_props[KEY] = facts.json()
    model.doc_string = f"{facts.label}: score of {', '.join(facts.signal)} against {', '.join(facts.background)}"
    for value in model.graph.inputs:
        value.doc_string = MEANING[str(value.name)]
    exported.save(path, external_data=False)


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


def _example(slots: int, names: Sequence[str]) -> tuple[Tensor, ...]:
    """Events to trace with.

    No two axes have one length by chance, or they would count as the same axis; nor is a tensor given twice, or the two
    inputs would count as the same input.
    """
    events, objects = slots + 3, slots + 7
    values = {"pt": 50.0, "eta": 0.5, "phi": 1.0, "E": 60.0, "MET": 80.0, "phi_MET": 2.0}
    values |= {"charge": -1.0, "d0": 0.1, "d0_error": 0.2, "dz": 0.3, "dz_error": 0.4}
    shapes = {name: (events,) if name in ("MET", "phi_MET") else (events, objects) for name in names}
    return tuple(
        torch.ones(events, objects, dtype=torch.long) if name == "type" else torch.full(shapes[name], values[name])
        for name in names
    )


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
