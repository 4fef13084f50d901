"""The token ids of every prompt under all stages' tokenizers compared."""

from collections.abc import Sequence
from dataclasses import replace

from mcinterp.alignment.report import AlignedProperty, Alignment, Verdict
from mcinterp.errors import quoted
from mcinterp.rendering import RenderedPrompts


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
