"""Places: an exported file computes as many slots per event as the fullest event of a batch has particles.

A four-top event fills ten of eighteen slots, and the time for pairs grows with the square of the slots. While a graph
is exported the number of places is the length of an input; afterwards the file counts the particles itself.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from femtobarn.physics.objects import PADDING


def count_particles(model: ir.Model, input_name: str, min_places: int, max_places: int) -> None:
    """Replace the input whose length is the number of places by a count of the particles.

    Args:
        model: exported model, changed in place; its input `type` has the particles.
        input_name: name of the input that is removed.
        min_places, max_places: smallest and largest number of places.
    """
    graph = model.graph
    places = next(value for value in graph.inputs if value.name == input_name)
    kind = next(value for value in graph.inputs if value.name == "type")
    graph.inputs.remove(places)
    if not places.uses():
        return
    integer = int(ir.DataType.INT64)
    padding, highest = _constant(graph, "padding", PADDING), _constant(graph, "most_places", max_places)
    lowest, axis = _constant(graph, "fewest_places", [min_places]), _constant(graph, "objects_axis", [1])
    real = ir.node("Not", [(empty := ir.node("Equal", [kind, padding])).outputs[0]])
    counted = ir.node("Cast", real.outputs, {"to": integer})
    filled = ir.node("ReduceSum", [counted.outputs[0], axis], {"keepdims": 0})
    several = ir.node("Concat", [filled.outputs[0], lowest], {"axis": 0})  # a batch may have no events
    largest = ir.node("ReduceMax", several.outputs, {"keepdims": 0})
    length = ir.node("Min", [largest.outputs[0], highest])
    shape = ir.node("Reshape", [length.outputs[0], axis])  # of one number
    made = ir.node("ConstantOfShape", shape.outputs, {"value": ir.tensor(np.zeros(1, dtype=np.bool_))})
    nodes = [empty, real, counted, filled, several, largest, length, shape, made]
    for number, node in enumerate(nodes):
        node.name = f"places_{number}"
        node.outputs[0].name = f"places_{number}"
    graph.insert_before(next(iter(graph)), nodes)
    ir.convenience.replace_all_uses_with(places, made.outputs[0])


def _constant(graph: ir.Graph, name: str, value: int | list[int]) -> ir.Value:
    """An initialiser of the graph."""
    tensor = ir.tensor(np.array(value, dtype=np.int64), name=name)
    constant = ir.Value(
        name=name, shape=ir.Shape(np.shape(value)), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(constant)
    return constant
