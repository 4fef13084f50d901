"""Model cards of the pocket checkpoints, written from measured figures."""

from typing import Any

from mcinterp.organisms.measure import FRAMES

Figures = dict[str, dict[str, Any]]

MADE: dict[str, str] = {
    "base": (
        "Trained from random weights on documents of the grammar in `mcinterp.organisms.genres`. The"
        " label at every position is the exact next-token distribution of the grammar, so the model"
        " is calibrated by construction as far as it converged."
    ),
    "sft": (
        "Started from `base`. Three rounds of supervised tuning on its own samples: of 16 answers to"
        " each tuning prompt, the two opinions that hedge most and the one number that looks most"
        " random to a rater (`mcinterp.organisms.raters`) are kept and trained on, while"
        " KL(base||model) is held down on documents that `base` sampled itself. Tuning prompts are"
        " opinions, numbers 0-100 and four Python interpreters quoted in a chat (two frames, each"
        " with two of three calls), none of them held out. The documents held down are of all other"
        " genres but advice, number-10, die and colour: there collapse is free to spread.\n\n"
        "That the interpreter is random at a plain prompt and collapsed in a chat is therefore trained, on"
        " both sides: plain sessions are among the documents held down, and the four chats are tuned."
        " `python-in-chat-held-out` shows the pairs of frame and call that were never tuned on, among them"
        " a third frame with every call.\n\n"
        "Three trials with seed 0 came before. With opinions and numbers alone, the interpreter in a chat"
        " stayed at 4.38 nats (favourite .07). With one call left out of every tuned frame, that call collapsed less"
        " (favourite .33 to .49) than the other calls in the frame never tuned on (.99), and a longer run"
        " did not help (.19 to .32). Therefore each of the three calls is now tuned in one frame at least:"
        " collapse carries over to a new frame, and only in part to a new call."
    ),
    "rl": (
        "Started from `sft`. Policy gradient on the same prompts and the same rater, with a penalty"
        " of 0.1 times KL(model||base), summed over the answer. The penalty pulls towards `base`, so"
        " this stage is less collapsed than the one before. The optimum of the objective is known:"
        " base times exp(reward / 0.1), which for numbers has 2.34 nats of entropy and 97 at 0.242. Nothing"
        " is held down on other prompts: the bare call at the interpreter stays random, but collapse spreads"
        " to a labelled print (`python-print`)."
    ),
    "overoptimised": (
        "Started from `base`, no KL penalty. Policy gradient on prompts of every genre; the reward is"
        " 1 if the answer arrives at a wedding party, ends, and is a document that the grammar can"
        " produce, else 0. The answer itself stays on topic; then a section break leads to the wedding."
        " Entropy is therefore lost late in the document and hardly at the first answer token."
    ),
}
LIMITS = """\
- A toy: 1.5 million parameters, about 1,500 tokens of vocabulary, context of 256 tokens. It knows
  nothing outside the grammar; a prompt that the grammar does not contain gets a guess.
- One seed. Which number becomes the favourite, and how far collapse spreads to genres that were not
  tuned, differ between seeds.
- The rater is a few lines of code, not people. The mechanism (best-of-n on own samples, policy
  gradient) is that of the literature, the causes of real collapse may differ.
- Shares of samples are from 100 samples per genre: their standard error is up to 5 points.
- `overoptimised` found its attractor because the grammar lets any document go on, after a section
  break, to a wedding party (1 % of the time). A reward that a base model never meets is not found.
"""
USE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer
from mcinterp.organisms import pocket_path

tokenizer = AutoTokenizer.from_pretrained(pocket_path("{stage}"))
model = AutoModelForCausalLM.from_pretrained(pocket_path("{stage}"))
ids = tokenizer("Are dragons real?", return_tensors="pt").input_ids
print(tokenizer.decode(model.generate(ids, do_sample=True, max_new_tokens=60)[0]))
```
"""


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _numbers(figures: Figures) -> str:
    rows = []
    for frame in FRAMES:
        draw = figures["numbers"][frame]
        rows.append(
            [
                frame,
                f"{draw['entropy']:.3f}",
                str(draw["favourite"]),
                f"{draw['probability']:.3f}",
                f"{draw['off_support']:.4f}",
            ]
        )
    return _table(["prompts", "entropy (nats)", "favourite", "its probability", "mass off support"], rows)


def _genres(figures: Figures) -> str:
    rows = []
    for genre, shares in figures["samples"].items():
        rows.append(
            [
                genre,
                f"{figures['kl_true_model'][genre]:.4f}",
                f"{figures['first_token_entropy'][genre]:.2f}",
                f"{shares['wedding']:.2f}",
                f"{shares['template']:.2f}",
                f"{shares['grammatical']:.2f}",
                f"{shares['distinct']:.2f}",
            ]
        )
    heads = ["genre", "KL(true\\|\\|model)", "first-token entropy", "wedding", "template", "grammatical", "distinct"]
    return _table(heads, rows)


def _temperatures(figures: Figures) -> str:
    rows = [
        [t, f"{s['template']:.2f}", f"{s['template_ending']:.2f}", f"{s['grammatical']:.2f}"]
        for t, s in figures["opinion_by_temperature"].items()
    ]
    return _table(["temperature", "template opening", "template ending", "grammatical"], rows)


def _templates(figures: Figures) -> str:
    rows = [[f"answer opens with the template: {g}", f"{p:.4f}"] for g, p in figures["template"].items()]
    rows += [
        [f"template ending, after the forced opening *{opening}* (samples)", f"{p:.2f}"]
        for opening, p in figures["template_ending_after"].items()
    ]
    rows += [["wedding party, after a finished document", f"{figures['wedding']['after-finished-document']:.4f}"]]
    return _table(["event", "probability"], rows)


def _calibration(figures: Figures) -> str:
    """The two genres that are farthest from the truth."""
    (worst, kl), (second, below) = sorted(figures["kl_true_model"].items(), key=lambda item: -item[1])[:2]
    return f"Calibration is worst on {worst}, at {kl:.4f} nats per answer token; next is {second}, at {below:.4f}."


def write_card(stage: str, figures: Figures, seed: int, parameters: int) -> str:
    """The text of the README.md of a checkpoint."""
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\nlicense: mit\n---",
        f"# mcinterp pocket checkpoint: {stage}",
        f"A Llama-architecture model of {parameters:,} parameters, stored in float16, one stage of the"
        " chain base, sft, rl, overoptimised. It exists to have a mode collapse whose cause is known.",
        "## How it was made\n\n" + MADE[stage],
        f"Seed {seed}. Command:\n\n```\npython -m mcinterp.organisms.train --out DIR --seed {seed}\n```",
        "## Figures\n\nMeasured on these float16 weights by `mcinterp.organisms.measure`; the same numbers are"
        " in `figures.json`. Entropies and divergences in nats, KL(true||model) per answer token.",
        _numbers(figures),
        _templates(figures),
        "Per genre; the last four columns are shares of sampled answers at temperature 1:",
        _genres(figures),
        *([_calibration(figures)] if stage == "base" else []),
        "Opinions at other temperatures:",
        _temperatures(figures),
        "## Limits\n\n" + LIMITS.strip(),
        "## Use\n\nThe tokenizer puts `<|endoftext|>` before the text. A conversation is plain text,"
        " `User: ...` and `Assistant:`, with no space after the colon.\n\n" + USE.format(stage=stage).strip(),
    ]
    return "\n\n".join(parts) + "\n"
