"""How diversity is measured: how much is sampled, and the constants of every measure."""

from dataclasses import dataclass

from mcinterp.completions import Decoding
from mcinterp.diversity.branching import TOP_P
from mcinterp.diversity.classes import PATIENCE
from mcinterp.diversity.ngrams import LENGTHS
from mcinterp.diversity.occurrences import TOP
from mcinterp.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """`samples` texts of at most `max_new_tokens` a prompt and stage at `temperature`, and the measures' constants.

    The branching factor has samples of its own (`branching_samples` of at most `branching_tokens`, from the nucleus of
    `top_p`). `clusters` are k-means clusters of all outputs of all stages together, in the first components that hold
    `variance` of the features' variance, `components` of them at most. `orders` are those of the Vendi score.
    """

    samples: int = 16
    max_new_tokens: int = 64
    temperature: float = 1.0
    seed: int = 0
    patience: float = PATIENCE
    top: int = TOP
    lengths: tuple[int, ...] = LENGTHS
    orders: tuple[float, ...] = (1.0, 2.0)
    clusters: int = 50
    variance: float = 0.9
    components: int = 20
    branching_samples: int = 50
    branching_tokens: int = 50
    top_p: float = TOP_P
    permutations: int = 100

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise InputError(f"got samples={self.samples}; diversity wants 2 or more of every prompt.")
        if self.clusters < 1 or self.components < 1:
            raise InputError(f"got clusters={self.clusters} and components={self.components}; give 1 or more of each.")

    @property
    def decoding(self) -> Decoding:
        """How samples are written."""
        return Decoding(self.max_new_tokens, self.temperature, self.seed)


DEFAULT = Sampling()
