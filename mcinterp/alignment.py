"""Proof that checkpoints can be compared: same shapes, same vocabulary, the same token ids for every prompt.

The report is made from configurations and tokenizers alone, before any weight is read.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mcinterp.checkpoints import Checkpoint
from mcinterp.errors import InputError, quoted
from mcinterp.readout import logit_multiplier, text_config
from mcinterp.rendering import RenderedPrompts, encode

Verdict = Literal["same", "reported", "cut", "refused"]


class AlignmentError(InputError):
    """Checkpoints that must not be compared; the message names the property, the values and what to do."""


@dataclass(frozen=True)
class AlignedProperty:
    """One property of every stage, and what follows from its values."""

    name: str
    values: tuple[str, ...]
    verdict: Verdict
    remedy: str = ""


@dataclass(frozen=True)
class Alignment:
    """The properties of all stages side by side, the vocabulary they share, and the prompts' token ids."""

    stages: tuple[str, ...]
    properties: tuple[AlignedProperty, ...]
    vocabulary: int
    context: int
    prompts: tuple[tuple[tuple[int, ...], ...], ...] = ()

    @property
    def refused(self) -> tuple[AlignedProperty, ...]:
        """The properties for which the stages must not be compared."""
        return tuple(entry for entry in self.properties if entry.verdict == "refused")

    def require(self) -> "Alignment":
        """The report itself if nothing is refused, else an `AlignmentError` about the first refused property."""
        for entry in self.refused:
            shown = [shorten(value, 80) for value in entry.values]
            pairs = ", ".join(f"{stage}: {value}" for stage, value in zip(self.stages, shown, strict=True))
            raise AlignmentError(f"the checkpoints differ in {entry.name} ({pairs}); {entry.remedy}.")
        return self

    def __str__(self) -> str:
        width = max(len(entry.name) for entry in self.properties)
        columns = [
            max(len(stage), *(len(shorten(e.values[i])) for e in self.properties))
            for i, stage in enumerate(self.stages)
        ]
        rows = [("property", self.stages, "verdict")]
        rows += [(e.name, tuple(shorten(v) for v in e.values), e.verdict) for e in self.properties]
        return "\n".join(
            f"{name:<{width}}  " + "  ".join(f"{v:<{w}}" for v, w in zip(values, columns, strict=True)) + f"  {verdict}"
            for name, values, verdict in rows
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for run.json: the token ids once, since every stage has the same."""
        return {
            "aligned": not self.refused,
            "stages": list(self.stages),
            "vocabulary": self.vocabulary,
            "context": self.context,
            "properties": {
                e.name: {"values": dict(zip(self.stages, e.values, strict=True)), "verdict": e.verdict}
                for e in self.properties
            },
            "prompt_token_ids": prompt_ids_by_stage(self.stages, self.prompts),
        }


def prompt_ids_by_stage(stages: Sequence[str], prompts: Sequence[Sequence[Sequence[int]]]) -> Any:
    """Token ids of every prompt under each tokenizer; under "all stages" where they agree."""
    if not prompts:
        return {}
    if all(ids == prompts[0] for ids in prompts):
        return {"all stages": [list(ids) for ids in prompts[0]]}
    return {stage: [list(ids) for ids in each] for stage, each in zip(stages, prompts, strict=True)}


def shorten(text: str, limit: int = 36) -> str:
    """Text on one line of at most `limit` characters."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: 2 * limit])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def attribute(*names: str) -> Callable[[Any], Any]:
    """A reader of the first of several configuration attributes that is there."""

    def read(config: Any) -> Any:
        return next((getattr(config, name) for name in names if getattr(config, name, None) is not None), None)

    return read


def n_key_value_heads(config: Any) -> Any:
    """Key-value heads; as many as heads where the architecture does not group them."""
    return attribute("num_key_value_heads", "num_attention_heads")(config)


def d_head(config: Any) -> Any:
    """Width of one head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def d_mlp(config: Any) -> Any:
    """Width of the MLP; four times the model's where a GPT-2 configuration leaves it out."""
    return attribute("intermediate_size", "n_inner", "ffn_dim")(config) or 4 * config.hidden_size


SHAPES: dict[str, Callable[[Any], Any]] = {
    "n_layers": attribute("num_hidden_layers"),
    "d_model": attribute("hidden_size"),
    "n_heads": attribute("num_attention_heads"),
    "n_key_value_heads": n_key_value_heads,
    "d_head": d_head,
    "d_mlp": d_mlp,
    "logit softcap": attribute("final_logit_softcapping"),
    "logit multiplier": logit_multiplier,
}

REPORTED: dict[str, Callable[[Any], Any]] = {
    "context": attribute("max_position_embeddings"),
    "tied unembedding": attribute("tie_word_embeddings"),
    "stored dtype": attribute("dtype"),
    "rotary embedding": attribute("rope_parameters"),
}


def align_checkpoints(checkpoints: Sequence[Checkpoint]) -> Alignment:
    """Compare configurations and tokenizers of all stages; refusals are in the report, not raised.

    Raises `InputError` for a checkpoint that is none: no causal language model, or weight files that are not whole.
    """
    configs = [text_config(checkpoint.config) for checkpoint in checkpoints]
    for checkpoint in checkpoints:
        checkpoint.require_weights()
    architectures = [checkpoint.config.architectures[0] for checkpoint in checkpoints]
    properties = [must_agree("architecture", architectures)]
    properties += [must_agree(name, [read(config) for config in configs]) for name, read in SHAPES.items()]
    properties += [reported(name, [read(config) for config in configs]) for name, read in REPORTED.items()]
    properties += align_tokenizers(checkpoints)
    sizes = [int(config.vocab_size) for config in configs]
    return Alignment(
        stages=tuple(checkpoint.name for checkpoint in checkpoints),
        properties=(*properties, vocabulary_size(sizes)),
        vocabulary=min(sizes),
        context=min(int(attribute("max_position_embeddings")(config) or 2**31) for config in configs),
    )


def must_agree(name: str, values: Iterable[Any]) -> AlignedProperty:
    """A property that refuses the comparison where it differs."""
    texts = tuple(str(value) for value in values)
    remedy = "give checkpoints of one architecture and shape, tuned from the same base"
    return AlignedProperty(name, texts, "same" if len(set(texts)) == 1 else "refused", remedy)


def reported(name: str, values: Iterable[Any]) -> AlignedProperty:
    """A property that may differ, and is said when it does."""
    texts = tuple(str(value) for value in values)
    return AlignedProperty(name, texts, "same" if len(set(texts)) == 1 else "reported")


def vocabulary_size(sizes: Sequence[int]) -> AlignedProperty:
    """Rows of the unembedding; a padded or extended one is cut to the part all stages have."""
    verdict: Verdict = "same" if len(set(sizes)) == 1 else "cut"
    return AlignedProperty("vocabulary rows", tuple(str(size) for size in sizes), verdict)


def align_tokenizers(checkpoints: Sequence[Checkpoint]) -> list[AlignedProperty]:
    """Which token each id means, special tokens, BOS rule, chat template, generation settings."""
    tokenizers = [checkpoint.tokenizer for checkpoint in checkpoints]
    return [
        same_tokens(checkpoints),
        reported("tokens in the tokenizer", [len(tokenizer) for tokenizer in tokenizers]),
        reported("BOS token", [tokenizer.bos_token for tokenizer in tokenizers]),
        reported("BOS put before raw text", [begins_with_bos(tokenizer) for tokenizer in tokenizers]),
        reported("end token", [tokenizer.eos_token for tokenizer in tokenizers]),
        reported("padding token", [tokenizer.pad_token for tokenizer in tokenizers]),
        reported("chat template", [describe_template(tokenizer) for tokenizer in tokenizers]),
        reported("generation settings", [checkpoint.generation_settings or "none" for checkpoint in checkpoints]),
    ]


def begins_with_bos(tokenizer: Any) -> str:
    """Whether the tokenizer puts a BOS token before raw text of its own accord."""
    ids = encode(tokenizer, "", "raw")
    return "yes" if tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id] else "no"


def describe_template(tokenizer: Any) -> str:
    """The chat template's length and beginning, or that there is none."""
    template = tokenizer.chat_template
    return "none" if not template else f"{len(str(template))} characters: {shorten(str(template), 24)}"


def same_tokens(checkpoints: Sequence[Checkpoint]) -> AlignedProperty:
    """Whether every id of the shared vocabulary means the same token; special tokens may be renamed."""
    rows = min(int(text_config(checkpoint.config).vocab_size) for checkpoint in checkpoints)
    tables = [id_to_token(checkpoint.tokenizer, rows) for checkpoint in checkpoints]
    special = set().union(*(checkpoint.tokenizer.added_tokens_decoder for checkpoint in checkpoints))
    base = tables[0]
    for table in tables[1:]:
        differing = sorted(i for i in base.keys() | table.keys() if base.get(i) != table.get(i) and i not in special)
        if differing:
            first = differing[0]
            values = tuple(f"id {first} is {each.get(first, 'no token')!r}" for each in tables)
            remedy = (
                "give checkpoints that share one tokenizer, since activations of another vocabulary mean other tokens"
            )
            return AlignedProperty("vocabulary", values, "refused", remedy)
    renamed = any(table.get(i) != base.get(i) for table in tables[1:] for i in special if i in base and i in table)
    values = tuple(f"{len(table)} tokens" for table in tables)
    return AlignedProperty("vocabulary", values, "reported" if renamed else "same")


def id_to_token(tokenizer: Any, rows: int) -> dict[int, str]:
    """The token string of every id below `rows`."""
    return {index: token for token, index in tokenizer.get_vocab().items() if index < rows}


def align_prompts(alignment: Alignment, rendered: Sequence[RenderedPrompts]) -> Alignment:
    """The report with every prompt's token ids under each stage's tokenizer; one difference refuses.

    `rendered` holds the same prompts rendered with each stage's tokenizer, in the order of the stages.
    """
    ids = tuple(each.token_ids for each in rendered)
    entries = (same_prompt_ids(rendered), known_to_all(rendered[0], alignment))
    return replace(alignment, properties=(*alignment.properties, *entries), prompts=ids)


def known_to_all(rendered: RenderedPrompts, alignment: Alignment) -> AlignedProperty:
    """Whether every stage has an embedding for every token of the prompts."""
    rows = next(entry for entry in alignment.properties if entry.name == "vocabulary rows").values
    largest = max(max(ids) for ids in rendered.token_ids)
    remedy = "render raw, or leave out the prompts with tokens that one stage lacks"
    verdict: Verdict = "refused" if largest >= alignment.vocabulary else "same"
    values = tuple(f"{count} rows, largest id {largest}" for count in rows)
    return AlignedProperty("embeddings of the prompts' tokens", values, verdict, remedy)


def same_prompt_ids(rendered: Sequence[RenderedPrompts]) -> AlignedProperty:
    """Whether all tokenizers give the same ids for every prompt; else where the first difference is."""
    for index, text in enumerate(rendered[0].texts):
        each = [stage.token_ids[index] for stage in rendered]
        if any(ids != each[0] for ids in each):
            where = next(p for p in range(max(map(len, each))) if len({ids[p : p + 1] for ids in each}) > 1)
            values = tuple(describe_token(stage, index, where) for stage in rendered)
            prompt = rendered[0].prompt_index[index]
            name = f"the token ids of prompt {prompt} ({quoted(text)}) at position {where}"
            remedy = "use one tokenizer (and one BOS rule) for all stages, another rendering, or leave this prompt out"
            return AlignedProperty(name, values, "refused", remedy)
    return AlignedProperty("prompt token ids", tuple(f"{len(rendered[0].texts)} prompts" for _ in rendered), "same")


def describe_token(rendered: RenderedPrompts, prompt: int, position: int) -> str:
    """A token by id and string, or that the prompt has ended there."""
    ids, tokens = rendered.token_ids[prompt], rendered.tokens[prompt]
    return f"{ids[position]} {tokens[position]!r}" if position < len(ids) else "no token"
