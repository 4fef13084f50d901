"""What callers may give for prompts, as sequences of tokens."""

from collections.abc import Sequence

from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.sequences import Sequences, with_completions

PromptsLike = Sequences | RenderedPrompts | Prompts | Sequence[str]


def as_sequences(chain: Chain, prompts: PromptsLike) -> Sequences:
    """Anything that stands for prompts as sequences; without completions where none were given."""
    if isinstance(prompts, Sequences):
        return prompts
    if isinstance(prompts, RenderedPrompts):
        rendered = prompts
    else:
        given = prompts if isinstance(prompts, Prompts) else Prompts.from_texts(prompts)
        rendered = chain.render(given)
    return with_completions(chain, rendered, [()] * len(rendered), "none")


def donor_ids(chain: Chain, sequences: Sequences, prompts: PromptsLike) -> list[tuple[int, ...]]:
    """Token ids of donor prompts, one for each prompt and as long as it."""
    donors = as_sequences(chain, prompts)
    if len(donors) != len(sequences):
        raise InputError(f"got {len(donors)} donor prompts for {len(sequences)} prompts; give one for each.")
    for index, (own, other) in enumerate(zip(sequences.ids, donors.ids, strict=True)):
        if len(own) != len(other):
            raise InputError(
                f"donor prompt {index} has {len(other)} tokens and its prompt {len(own)}, so their positions do not "
                f"line up; give donor prompts of equal length."
            )
    return donors.ids


def reads_of(sequences: Sequences, read_at: int | Sequence[int]) -> tuple[int, ...]:
    """The read positions, from the last prompt token on; some sequence must have each."""
    reads = tuple(sorted({int(p) for p in ([read_at] if isinstance(read_at, int) else read_at)}))
    if not reads or reads[0] < 0 or reads[-1] > sequences.positions[-1]:
        raise InputError(
            f"got read_at={list(reads)} and the sequences have positions 0 to {sequences.positions[-1]} from the last "
            f"prompt token on; choose among them, or teacher-force a longer completion."
        )
    return reads


def require_token(chain: Chain, attractor: int | None) -> int | None:
    """The attractor's id, refused where the vocabulary has no such token."""
    if attractor is not None and not 0 <= attractor < chain.alignment.vocabulary:
        raise InputError(f"attractor {attractor} is no token id below {chain.alignment.vocabulary}; give one that is.")
    return attractor
