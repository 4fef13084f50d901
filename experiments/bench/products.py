"""The matrix products of a sweep alone: the rows that it cannot do without, through weights as large as the pair's.

What a sweep would take if everything but its products were free. It is above the arithmetic floor, since products of
few rows through weights that are not in a cache run below the machine's best rate.
"""

import time

import torch

from bench.workloads import Shape, Workload


def rows_by_layer(shape: Shape, workload: Workload) -> list[int]:
    """Tokens of the recipient that run through each layer: the prompts', and those of the cells that have begun."""
    lengths = [len(ids) for ids in workload.sequences(shape)]
    rows = [sum(lengths)] * shape.n_layers
    for cell in workload.cells(shape):
        new = sum(1 if cell.position is None else length - cell.position for length in lengths)
        for layer in range(cell.layer + (cell.site != "resid_pre"), shape.n_layers):
            rows[layer] += new
    return rows


def layer_weights(shape: Shape) -> list[torch.Tensor]:
    """Weights of the seven products of one layer."""
    square = [torch.randn(shape.d_model, shape.d_model) for _ in range(4)]
    wide = [torch.randn(shape.d_mlp, shape.d_model) for _ in range(2)]
    return [*square, *wide, torch.randn(shape.d_model, shape.d_mlp)]


def weights(shape: Shape) -> list[list[torch.Tensor]]:
    """Weights of all layers; one model's stand for both, since a pass over all of them leaves none in a cache."""
    return [layer_weights(shape) for _ in range(shape.n_layers)]


def seconds(shape: Shape, workload: Workload, model: list[list[torch.Tensor]]) -> float:
    """Seconds of the products of a sweep in one direction: the donor's clean pass and the recipient's rows."""
    clean = sum(len(ids) for ids in workload.sequences(shape))
    taken = 0.0
    for rows in ([clean] * shape.n_layers, rows_by_layer(shape, workload)):
        inputs = {each: (torch.randn(each, shape.d_model), torch.randn(each, shape.d_mlp)) for each in set(rows)}
        start = time.perf_counter()
        for each, layer in zip(rows, model, strict=True):
            narrow, wide = inputs[each]
            for weight in layer:
                torch.nn.functional.linear(wide if weight.shape[1] == shape.d_mlp else narrow, weight)
        taken += time.perf_counter() - start
    return taken
