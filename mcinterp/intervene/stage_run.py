"""One stage's part of a batch of patched runs: its clean and branch tokens, taken through the layers one at a time."""

from collections.abc import Sequence

import numpy as np
import torch

from mcinterp.batching import pad
from mcinterp.budget import allowed
from mcinterp.chain import Stage
from mcinterp.intervene.dissection import KeyStore, Recorded, record, run_layer
from mcinterp.intervene.editing import Editor
from mcinterp.intervene.layout import Entry, Group, Ids, Tokens, entry_of, group_size, groups_of

CALL_BYTES = 8 * 2**20


class StageRun:
    """One stage's part of a batch: its tokens, their hidden states, keys and values, and its edits."""

    stage: Stage
    editor: Editor
    tokens: Tokens
    reads: np.ndarray

    def __init__(
        self, stage: Stage, editor: Editor, ids: Sequence[Sequence[int]], active: Sequence[bool], reads: np.ndarray
    ) -> None:
        self.stage, self.editor, self.tokens, self.reads = stage, editor, editor.tokens, reads
        self.recorded: Recorded = record(stage, pad(ids))
        hidden = self.recorded.hidden
        self.hidden: torch.Tensor = hidden.new_zeros(self.tokens.n + 1, hidden.shape[-1])
        self.restart()
        self.store: KeyStore = KeyStore(self.tokens.n)
        self.clean_end: tuple[torch.Tensor, torch.Tensor] = (self.hidden[:0], self.hidden[:0])
        self.laid_out: tuple[tuple[bytes | int, ...], list[Entry]] | None = None
        self.masks: dict[tuple[int, int], torch.Tensor] = {}
        none = np.empty(0, dtype=np.int64)
        self.trunks: list[Ids] = [self.tokens.trunk(i) if on else none for i, on in enumerate(active)]
        self.clean: Ids = np.concatenate(self.trunks)

    @property
    def number(self) -> int:
        """The stage's number in the chain."""
        return self.editor.number

    def restart(self) -> None:
        """Put the clean tokens back before the first layer."""
        hidden = self.recorded.hidden
        self.hidden[: self.tokens.n_trunk] = hidden.reshape(-1, hidden.shape[-1])

    def begin(self, layer: int) -> list[Ids]:
        """Let the branches of a layer begin as copies of their clean tokens; gives all branch tokens alive."""
        tokens = self.tokens
        new = np.flatnonzero(tokens.layer[tokens.n_trunk : tokens.n] == layer) + tokens.n_trunk
        if len(new):
            twins = tokens.trunk_id(tokens.sequence[new], tokens.column[new])
            self.hidden[self.put(new)] = self.hidden[self.put(twins)]
        return tokens.branches(layer)

    def put(self, ids: np.ndarray) -> torch.Tensor:
        """Token numbers as a tensor beside the hidden states."""
        return torch.from_numpy(np.ascontiguousarray(ids)).to(self.hidden.device)

    def donors(self) -> set[int]:
        """Other stages whose clean tokens are needed in any layer."""
        waited = set().union(*(self.waits_for(layer) for layer in range(self.stage.n_layers)))
        return waited - {self.number}

    def waits_for(self, layer: int) -> set[int]:
        """Stages whose clean tokens must have run this layer before branches here can be edited in it."""
        found = set()
        for place in self.editor.places(layer):
            for group in self.editor.groups.get(place, ()):
                if group.kind == "stage":
                    elsewhere = group.stage != self.number
                    other = any(
                        target.donor // self.tokens.width != target.own // self.tokens.width for target in group.targets
                    )
                    found |= {group.stage} if elsewhere or other else set()
        return found

    def enter(self, layer: int, alive: list[Ids], *, trunk: bool, branches: bool) -> None:
        """Run a layer for the clean tokens, those of branches, or both."""
        entering = [
            np.concatenate([clean if trunk else clean[:0], own if branches else own[:0]])
            for clean, own in zip(self.trunks, alive, strict=True)
        ]
        if layer < self.stage.n_layers - 1:
            return self.call(layer, entering, alive)
        whole = self.needed(layer)
        self.call(layer, [ids[~np.isin(ids, whole)] for ids in entering], alive, stop=True)
        return self.call(layer, [ids[np.isin(ids, whole)] for ids in entering], alive)

    def needed(self, layer: int) -> Ids:
        """Tokens that must leave the last layer: those read, kept or edited in it."""
        edited = [
            target.id
            for place in self.editor.places(layer)
            for group in self.editor.groups.get(place, ())
            for target in group.targets
        ]
        kept = [self.editor.wanted_at(layer), self.editor.wanted_at(layer + 1)]
        return np.unique(np.concatenate([self.reads, np.asarray(edited, dtype=np.int64), *kept]))

    def call(self, layer: int, entering: list[Ids], alive: list[Ids], *, stop: bool = False) -> None:
        """Run a layer for some tokens, in calls that keep its activations small."""
        counts = [len(ids) for ids in entering]
        if not sum(counts):
            return
        for entry in self.entries(counts, entering, alive):
            self.call_entry(layer, entry, stop=stop)

    def entries(self, counts: list[int], entering: list[Ids], alive: list[Ids]) -> list[Entry]:
        """Tokens laid out for a layer; kept for the next layer, which often takes the same ones."""
        key = (*(ids.tobytes() for ids in entering), *(len(own) for own in alive))
        if self.laid_out is None or self.laid_out[0] != key:
            groups = list(groups_of(self.tokens, entering, alive, self.size(counts, entering, alive)))
            each = max(1, self.tokens_a_call() // max(len(group.ids) for group in groups))
            parts = [groups[start : start + each] for start in range(0, len(groups), each)]
            self.laid_out = (key, [entry_of(self.tokens, part, self.stage.device) for part in parts])
            self.masks.clear()
        return self.laid_out[1]

    def size(self, counts: list[int], entering: list[Ids], alive: list[Ids]) -> int:
        """Tokens a group, from how many enter and how many stored tokens of its branch each attends to."""
        stored = sum(len(own) for ids, own in zip(entering, alive, strict=True) if len(ids)) / sum(counts)
        return group_size(counts, self.tokens.width, stored, int(self.stage.bridge.cfg.d_model))

    def tokens_a_call(self) -> int:
        """Tokens whose widest activation fits in `CALL_BYTES`, more where a device is faster than its launches."""
        config = self.stage.bridge.cfg
        widest = max(int(config.d_model), int(getattr(config, "d_mlp", 0) or 0))
        scale = 1 if self.stage.device == "cpu" else 16
        return allowed(max(256, scale * CALL_BYTES // (4 * widest)))

    def call_entry(self, layer: int, entry: Entry, *, stop: bool) -> None:
        """Run a layer for some tokens at once."""
        self.editor.expect(layer, None if stop else entry)
        mask = self.mask(entry, self.recorded.allowed[layer])
        self.store.expect(entry.ids, entry.keys, stop=stop)
        hidden = self.hidden[entry.ids]
        out = run_layer(self.stage, self.recorded, layer, hidden, entry.sequence, entry.column, mask, self.store)
        self.editor.expect(layer, None)
        if out is not None:
            self.hidden.index_copy_(0, entry.ids.flatten(), out.flatten(0, 1).to(self.hidden.device))

    def mask(self, entry: Entry, allowed: torch.Tensor) -> torch.Tensor:
        """The mask of some tokens; layers of one kind share it as long as the same tokens enter."""
        key = (id(entry), id(allowed))
        if key not in self.masks:
            self.masks[key] = entry.mask(allowed, self.hidden.dtype)
        return self.masks[key]

    def normed(self, ids: Ids) -> torch.Tensor:
        """The final norm of some tokens, its hooks firing; rows in order."""
        groups = [Group(0, ids, ids[:0])]
        self.editor.expect(self.stage.n_layers, final_entry(self.tokens, groups[0], self.stage.device))
        rows = self.stage.bridge.ln_final(self.hidden[self.put(ids)].unsqueeze(0))
        self.editor.expect(self.stage.n_layers, None)
        return rows[0].to(self.stage.readout.weight.device, torch.float32)


def final_entry(tokens: Tokens, group: Group, device: str) -> Entry:
    """Tokens behind the last layer, where nothing is attended to."""
    ids = torch.from_numpy(group.ids[None]).to(device)
    none = torch.zeros(1, len(group.ids), 0, dtype=torch.bool, device=device)
    return Entry(ids, ids, ids, None, ids[:, :0], none)
