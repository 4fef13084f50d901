"""What is written and read to measure planning."""

from dataclasses import dataclass

from mcinterp.errors import InputError


@dataclass(frozen=True)
class Planning:
    """Texts, targets and layers.

    `samples` texts of at most `steps` tokens a prompt; targets are the tokens `ahead` steps on and the end of the line.
    A probe tells the `classes` commonest targets of its training texts apart from each other and from the rest. At most
    `layers` layers are read, evenly spaced, the last among them.
    """

    samples: int = 4
    steps: int = 48
    ahead: tuple[int, ...] = (1, 2, 4, 8)
    classes: int = 64
    layers: int = 12
    matched_on: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        least = min(self.samples, self.classes, self.layers, self.matched_on, self.steps - 1, *self.ahead)
        if least < 1:
            raise InputError(f"got {self}; all numbers must be 1 or more, steps 2 or more.")

    def chosen_layers(self, n_layers: int) -> list[int]:
        """The layers that are read of a model of `n_layers`."""
        count = min(self.layers, n_layers)
        return sorted({round((number + 1) * n_layers / count) - 1 for number in range(count)})
