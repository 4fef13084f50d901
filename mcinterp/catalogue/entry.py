"""What the catalogue knows of one base checkpoint and those tuned from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcinterp.catalogue.counting import counted

TRAPS = (
    "vocabulary", "tokenizer", "bos", "ends", "template", "system", "date", "thinking", "window", "context", "dtype",
    "files", "lineage", "sampling",
)  # fmt: skip
ABSENT = {"gpt_neox": {"num_key_value_heads", "head_dim"}, "olmo2": {"head_dim"}, "olmo3": {"head_dim"}}


@dataclass(frozen=True)
class Published:
    """One stage as it is published: its name in a chain, its hub id and revision, and how it was made.

    `vocabulary` is the number of rows of its unembedding, `context` in tokens, `dtype` the stored one (an empty text
    where nothing confirms it). `main` is a branch and no commit: a run records the commit that was read.
    """

    name: str
    hub: str
    method: str
    revision: str
    vocabulary: int
    context: int
    dtype: str
    templated: bool


@dataclass(frozen=True)
class Shape:
    """Sizes of the model: numbers of layers and heads, widths in features, rows of the base's unembedding, tokens."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    vocabulary: int
    context: int
    tied: bool


@dataclass(frozen=True)
class Template:
    """A chat template: what it is called, and how it renders one user message, `{message}`, on the day `{date}`.

    `rendered` is an empty text where the exact form is not confirmed.
    """

    kind: str
    rendered: str


@dataclass(frozen=True)
class Trap:
    """One thing that misleads whoever compares these checkpoints: its kind (one of `TRAPS`), and a sentence."""

    kind: str
    says: str


@dataclass(frozen=True)
class Entry:
    """A base checkpoint and those tuned from it, in order of training, as of the day `checked` (ISO 8601).

    `parameters` counts those of the base, a tied unembedding once; `counted_by` says what confirms the figure beside
    the shape. `architecture` and `model_type` are the names transformers knows, `config` what its configuration holds
    beside the shape. `sources` says what was read where, `unconfirmed` what nothing confirmed.
    """

    name: str
    family: str
    title: str
    stages: tuple[Published, ...]
    shape: Shape
    parameters: int
    counted_by: str
    architecture: str
    model_type: str
    config: Mapping[str, Any]
    template: Template | None
    gating: str
    licence: str
    traps: tuple[Trap, ...]
    checked: str
    sources: tuple[str, ...]
    unconfirmed: tuple[str, ...]

    def stage(self, name: str) -> Published | None:
        """A stage by its name; nothing for an unknown one."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is told when the entry is run: where it is gated, and every trap."""
        gated = (f"gated: {self.gating}",) if self.gating else ()
        return (*gated, *(f"{trap.kind}: {trap.says}" for trap in self.traps))

    def parameters_of(self, stage: Published) -> tuple[int, int]:
        """Parameters of a stage inside its layers and outside of them, a tied unembedding once."""
        return counted(self.architecture, self.shape, stage.vocabulary)

    def configuration(self, stage: Published) -> dict[str, Any]:
        """The config.json of a stage as written by hand from its shape, in the names of transformers."""
        shape, absent = self.shape, ABSENT.get(self.model_type, set())
        sizes = {
            "num_hidden_layers": shape.n_layers,
            "hidden_size": shape.d_model,
            "num_attention_heads": shape.n_heads,
            "num_key_value_heads": shape.n_kv_heads,
            "head_dim": shape.d_head,
            "intermediate_size": shape.d_mlp,
        }
        return {
            "architectures": [self.architecture],
            "model_type": self.model_type,
            **{name: size for name, size in sizes.items() if name not in absent},
            "vocab_size": stage.vocabulary,
            "max_position_embeddings": stage.context,
            "tie_word_embeddings": shape.tied,
            **({"dtype": stage.dtype} if stage.dtype else {}),
            **self.config,
        }
