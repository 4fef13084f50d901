"""What a sweep asks for: one cell for every site, layer, head and position, each a set of edits that hold together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.intervene.places import PositionChoice, chosen_positions
from mcinterp.intervene.sites import BY_HEAD, SITES, SiteName, label, parts, require_sites
from mcinterp.sequences import Sequences

Heads = Literal["each"] | Sequence[int] | None
Neurons = Sequence[int] | Mapping[int, Sequence[int]] | None


class Edit(NamedTuple):
    """One activation to replace: all of a site, or some of its heads or neurons. `layer` is n_layers after the last."""

    site: str
    layer: int
    part: tuple[int, ...] | None


class Cell(NamedTuple):
    """One patched run: edits that hold together, and the labels under which its result stands."""

    site: str
    layer: int
    head: int | None
    position: int | None
    edits: tuple[Edit, ...]

    @property
    def first_layer(self) -> int:
        """The layer from which its run differs from the clean one."""
        return min(edit.layer for edit in self.edits)


@dataclass(frozen=True)
class Request:
    """Which cells are asked for.

    `window` layers are patched together from each layer on. `heads`: None patches all heads of a site at once, `each`
    (or numbers) one at a time. `neurons` chooses some for `mlp_post`, for every layer or by layer. With
    `each_position` every position of the choice is a cell of its own, else they are patched together.
    """

    sites: tuple[SiteName, ...]
    layers: tuple[int, ...]
    positions: PositionChoice = "last"
    each_position: bool = False
    heads: Heads = None
    neurons: Neurons = None
    window: int = 1

    def labels(self) -> list[str]:
        """Names of the sites, as they stand in the result."""
        return [label(site) for site in self.sites]


def request_for(
    chain: Chain,
    sites: Sequence[SiteName],
    layers: int | Sequence[int] | None,
    positions: PositionChoice,
    *,
    each_position: bool,
    heads: Heads,
    neurons: Neurons,
    window: int,
) -> Request:
    """A request whose sites, layers, heads and neurons were found to exist; `InputError` says which does not."""
    n_layers = chain.base.n_layers
    listed = [layers] if isinstance(layers, int) else layers
    chosen = tuple(range(n_layers - window + 1)) if listed is None else tuple(int(layer) for layer in listed)
    if window < 1 or not chosen or any(not 0 <= layer <= n_layers - window for layer in chosen):
        raise InputError(
            f"got layers {list(chosen)} with a window of {window} and the model has layers 0 to {n_layers - 1}; "
            f"choose layers and a window inside."
        )
    named = tuple((sites,) if isinstance(sites, str) else sites)
    if not named:
        raise InputError(f"no site was given; give some of {', '.join(SITES)}.")
    for stage in chain.stages:
        require_sites(stage, [part for site in named for part in parts(site)])
    each = each_position or positions == "each"
    request = Request(named, chosen, positions, each, heads, neurons, window)
    require_parts(chain.base, request)
    return request


def require_parts(stage: Stage, request: Request) -> None:
    """Refuse heads and neurons that do not exist, or that no asked site has."""
    if request.heads is not None:
        require_heads(stage, request)
    if request.neurons is not None:
        require_neurons(stage, request)


def require_heads(stage: Stage, request: Request) -> None:
    """Refuse heads that no asked site has."""
    odd = [part for site in request.sites for part in parts(site) if SITES[part].axis not in BY_HEAD]
    if odd:
        raise InputError(f"heads were asked for and site {odd[0]!r} has none; ask for z, q, k, v or pattern alone.")
    if request.heads == "each" or request.heads is None:
        return
    most = max(n_heads(stage, site) for site in request.sites)
    beyond = [head for head in request.heads if not 0 <= head < most]
    if beyond:
        raise InputError(f"head {beyond[0]} was asked for and there are {most}; choose below.")
    if not request.heads:
        raise InputError("no head was given; give numbers, each, or leave heads out.")


def require_neurons(stage: Stage, request: Request) -> None:
    """Refuse neurons that the layers do not have, or that no asked site has."""
    if not any("mlp_post" in parts(site) for site in request.sites):
        raise InputError("neurons were chosen and no site has them; add the site mlp_post or leave neurons out.")
    by_layer = request.neurons if isinstance(request.neurons, Mapping) else {0: request.neurons or ()}
    odd = [layer for layer in by_layer if not 0 <= layer < stage.n_layers]
    if odd:
        raise InputError(
            f"neurons of layer {odd[0]} were chosen and the model has layers 0 to {stage.n_layers - 1}; choose inside."
        )
    chosen = [neuron for neurons in by_layer.values() for neuron in neurons]
    width = int(stage.bridge.cfg.d_mlp)
    beyond = [neuron for neuron in chosen if not 0 <= neuron < width]
    if beyond:
        raise InputError(
            f"neuron {beyond[0]} was asked for and layers have neurons 0 to {width - 1}; choose among them."
        )
    if not chosen:
        raise InputError("no neuron was given; give numbers or leave neurons out.")


def n_heads(stage: Stage, site: SiteName) -> int:
    """How many heads a site has in all its parts: keys and values may have fewer than queries."""
    config = stage.bridge.cfg
    grouped = any(part in ("k", "v") for part in parts(site))
    return int(config.n_key_value_heads or config.n_heads) if grouped else int(config.n_heads)


def cells_of(stage: Stage, request: Request, positions: Sequence[int | None]) -> list[Cell]:
    """All cells of a request; `positions` are the labels of single positions, or one None where they go together."""
    cells = []
    for site in request.sites:
        for layer in request.layers:
            for head in heads_of(stage, request, site):
                edits = edits_of(stage, request, parts(site), layer, head)
                cells += [Cell(label(site), layer, head, place, edits) for place in positions if edits]
    if not cells:
        raise InputError(
            f"no cell is left of sites {', '.join(request.labels())} in layers {list(request.layers)}: the final norm "
            f"stands behind the last layer, and neurons may be chosen in other layers only; ask for more layers."
        )
    return cells


def heads_of(stage: Stage, request: Request, site: SiteName) -> Sequence[int | None]:
    """The heads that are patched one at a time, or one None for all at once."""
    if request.heads is None:
        return [None]
    count = n_heads(stage, site)
    return [h for h in (range(count) if request.heads == "each" else request.heads) if h < count]


def edits_of(stage: Stage, request: Request, singles: Sequence[str], layer: int, head: int | None) -> tuple[Edit, ...]:
    """The edits of one cell: its sites in every layer of the window; the final norm only behind the last layer."""
    edits = []
    for single in singles:
        if single == "final_scale":
            edits += [Edit(single, stage.n_layers, None)] if layer + request.window == stage.n_layers else []
            continue
        for place in range(layer, layer + request.window):
            edits.append(Edit(single, place, (head,) if head is not None else neurons_of(request, single, place)))
    return tuple(edit for edit in edits if edit.part != ())


def neurons_of(request: Request, site: str, layer: int) -> tuple[int, ...] | None:
    """The chosen neurons of a layer, or None for the whole of a site."""
    if site != "mlp_post" or request.neurons is None:
        return None
    if isinstance(request.neurons, Mapping):
        return tuple(int(n) for n in request.neurons.get(layer, ()))
    return tuple(int(n) for n in request.neurons)


def position_labels(sequences: Sequences, request: Request) -> Sequence[int | None]:
    """The positions that become an axis of the result, or one None where positions are patched together."""
    if not request.each_position:
        return [None]
    found = {p for i in range(len(sequences)) for p in chosen_positions(sequences, i, request.positions, optional=True)}
    if not found:
        raise InputError("no position that any prompt has was chosen; name one at least.")
    return sorted(found)
