"""Random-weight Llama-shaped pairs in Hugging Face format, and this machine's rate of matrix products."""

import statistics
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench.workloads import CONTEXT, Shape

NOISE = 0.3
END = "<end>"
ROWS = (512, 1024)
PRODUCTS = 10


def save_pair(folder: Path, shape: Shape, seed: int = 0) -> list[str]:
    """Save a base model, and the same with noise of 0.3 times each tensor's spread; their two directories."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(configuration(shape)).float()
    places = [folder / "base", folder / "tuned"]
    save(model, places[0], shape)
    with torch.no_grad():
        for weight in model.parameters():
            weight += NOISE * weight.std() * torch.randn_like(weight)
    save(model, places[1], shape)
    return [str(place) for place in places]


def configuration(shape: Shape) -> LlamaConfig:
    """A Llama with as many key and value heads as query heads, and its own unembedding."""
    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_mlp,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        eos_token_id=0,
        pad_token_id=0,
    )


def save(model: LlamaForCausalLM, folder: Path, shape: Shape) -> None:
    """A checkpoint with its tokenizer."""
    model.save_pretrained(folder)
    tokenizer(shape.vocabulary).save_pretrained(folder)


def tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Words t1, t2, ... with spaces between them, one token each; token 0 ends a text."""
    table = {END: 0, **{f"t{index}": index for index in range(1, vocabulary)}}
    raw = Tokenizer(models.WordLevel(table, unk_token=END))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token=END, eos_token=END, pad_token=END)


def product_seconds(shape: Shape, rows: int) -> list[float]:
    """Seconds of products [rows, d_model] x [d_model, d_mlp], after one for warming up."""
    inputs, weight = torch.randn(rows, shape.d_model), torch.randn(shape.d_mlp, shape.d_model)
    taken = []
    for _ in range(PRODUCTS + 1):
        start = time.perf_counter()
        torch.nn.functional.linear(inputs, weight)
        taken.append(time.perf_counter() - start)
    return taken[1:]


def best_rate(shape: Shape, rounds: list[dict[int, list[float]]]) -> float:
    """The best of the median rates over the numbers of rows, in floating-point operations a second."""
    work = {rows: 2 * rows * shape.d_model * shape.d_mlp for rows in ROWS}
    return max(work[rows] / statistics.median(t for each in rounds for t in each[rows]) for rows in ROWS)
