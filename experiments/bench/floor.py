"""The arithmetic that a sweep cannot do without, in floating-point operations (a multiply-add counts as two)."""

from bench.workloads import Cell, Shape, Workload


def attention_weights(shape: Shape) -> int:
    """Weights of one of the four projections of attention."""
    return shape.d_model**2


def mlp_weights(shape: Shape) -> int:
    """Weights of gate, up and down."""
    return 3 * shape.d_model * shape.d_mlp


def block(shape: Shape, rows: int, keys: int) -> int:
    """One whole layer over `rows` tokens that attend to `keys` keys each."""
    weights = 4 * attention_weights(shape) + mlp_weights(shape)
    return rows * (2 * weights + scores(shape, keys))


def scores(shape: Shape, keys: int) -> int:
    """Attention scores and the weighted sum of the values for one token."""
    return 4 * keys * shape.d_model


def layers(shape: Shape, first: int, rows: int, keys: int) -> int:
    """Layers from `first` on over the last `rows` tokens; in the last layer all but the final one need k and v only."""
    if first >= shape.n_layers:
        return 0
    last = block(shape, 1, keys) + (rows - 1) * 4 * attention_weights(shape)
    return (shape.n_layers - 1 - first) * block(shape, rows, keys) + last


def entry(shape: Shape, layer: int, rows: int, keys: int) -> int:
    """The layer that a patched residual enters: the later tokens keep their q, k and v there."""
    if rows == 1:
        return block(shape, 1, keys)
    after = 2 * (attention_weights(shape) + mlp_weights(shape)) + scores(shape, keys)
    if layer == shape.n_layers - 1:
        return after + 4 * attention_weights(shape)
    return block(shape, 1, keys) + (rows - 1) * after


def cell(shape: Shape, patched: Cell, tokens: int) -> int:
    """What one cell has to compute anew on a prompt: the rest of the patched layer, the layers above, one readout."""
    rows = 1 if patched.position is None else tokens - patched.position
    unembedding = 2 * shape.d_model * shape.vocabulary
    here = {
        "resid_pre": entry(shape, patched.layer, rows, tokens),
        "z": 2 * (attention_weights(shape) + mlp_weights(shape)),
        "attn_out": 2 * mlp_weights(shape),
        "mlp_out": 0,
    }[patched.site]
    return here + layers(shape, patched.layer + 1, rows, tokens) + unembedding


def clean(shape: Shape, tokens: int) -> int:
    """One clean pass over a prompt with the readout of its final token."""
    return layers(shape, 0, tokens, tokens) + 2 * shape.d_model * shape.vocabulary


def sweep(shape: Shape, workload: Workload, *, ends: int = 2) -> int:
    """A whole sweep in one direction: `ends` clean passes (two directions share theirs: one each), and every cell."""
    patched = workload.cells(shape)
    lengths = [len(ids) for ids in workload.sequences(shape)]
    return sum(ends * clean(shape, n) + sum(cell(shape, each, n) for each in patched) for n in lengths)
