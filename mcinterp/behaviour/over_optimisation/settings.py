"""How a run is measured: how much is sampled, and the constants of every measure."""

from dataclasses import dataclass

from mcinterp.completions import Decoding
from mcinterp.errors import InputError


@dataclass(frozen=True)
class Following:
    """`samples` texts of at most `max_new_tokens` a prompt and stage, at temperature 1 as KL demands.

    Strings of 1 to `longest` words are looked for. The ending of a text is its last `ending_tokens`; endings of all
    stages fall into `clusters` together. Behind `documents` of the base a prompt, with and without the `separator`,
    stages write at most `behind_tokens`. Chance is the mean of `permutations`.
    """

    samples: int = 8
    max_new_tokens: int = 96
    seed: int = 0
    longest: int = 8
    ending_tokens: int = 16
    clusters: int = 50
    documents: int = 2
    behind_tokens: int = 48
    separator: str = "\n\n***\n\n"
    permutations: int = 50

    def __post_init__(self) -> None:
        least = {"samples": 2, "longest": 1, "ending_tokens": 1, "clusters": 1, "documents": 1, "permutations": 1}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise InputError(f"got {name}={getattr(self, name)}; give {smallest} or more.")
        if self.documents > self.samples:
            raise InputError(
                f"got documents={self.documents} of samples={self.samples}; give as many as there are, or fewer."
            )

    @property
    def decoding(self) -> Decoding:
        """How samples are written."""
        return Decoding(self.max_new_tokens, 1.0, self.seed)

    @property
    def behind(self) -> Decoding:
        """How a stage writes on behind a finished document."""
        return Decoding(self.behind_tokens, 1.0, self.seed + 1)


DEFAULT = Following()
