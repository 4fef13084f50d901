"""The numbers by which `locate` decides; chosen on the development half of the planted benchmark."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Limits of the gate and of the verdict.

    A prompt has collapsed where KL(tuned || base) is at least `kl` and the loss of entropy at least `fall` nats
    (`selected_fall` at a position that was searched for); the gate wants a mean loss of at least that, and of at least
    `share` of the base's entropy, or `strong` prompts that lose half their entropy and at least `strong_fall` nats.

    A set of sites makes the collapse where its base weights undo, and its tuned weights alone bring, at least `makes`
    of it. Two sites interact where what they do together differs from what they do one by one by `interaction` of the
    collapse; they are redundant only where each alone brings `brings` of it, joint only where undoing each undoes
    `undoes` of it, and either only where each has a score of `partner` at least: what moved along with a site, and
    breaks the tuned stage when it is undone, has a low one. Pairs of the `candidates` best sites are looked at. The
    verification reverts at most `most_sites` sites, until `regain` of the lost entropy is back.
    """

    kl: float = 0.1
    fall: float = 0.1
    selected_fall: float = 0.5
    share: float = 0.1
    strong: int = 3
    strong_fall: float = 0.5
    makes: float = 0.6
    interaction: float = 0.25
    brings: float = 0.5
    undoes: float = 0.6
    partner: float = 0.3
    candidates: int = 5
    regain: float = 0.8
    most_sites: int = 6
