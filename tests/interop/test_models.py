"""Chains of models in memory: the numbers of checkpoints loaded from disk, and models that are left as they were."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

import mcinterp
from conftest import SHAPES, save_checkpoint, tokenizer
from interop.conftest import NAMES, TEXTS, bridge_of, model_of, tokenizer_of
from known_collapse import PROMPTS
from mcinterp.alignment import AlignmentError
from mcinterp.chain import Chain, load_pair
from mcinterp.errors import InputError
from mcinterp.heads import head_scores
from mcinterp.interop.bridging import twin_of
from mcinterp.landmarks import final_distribution
from mcinterp.organisms import pocket_path
from mcinterp.results import load, provenance_of, save
from mcinterp.sequences import Sequences, with_completions

Same = Callable[..., None]
PATCHES = {"sites": ("resid_pre", "attn_out", "mlp_out", "z"), "verify": 1}
ANALYSES: dict[str, Callable[[Chain], xr.Dataset]] = {
    "lens": lambda chain: mcinterp.logit_lens(chain, written(chain)),
    "patch": lambda chain: mcinterp.patch(chain, TEXTS, **PATCHES),
    "update": lambda chain: mcinterp.update_attribution(chain, TEXTS),
    "grafts": lambda chain: mcinterp.graft_sweep(chain, TEXTS),
    "screen": lambda chain: mcinterp.attribution_patching(chain, TEXTS),
    "direct": lambda chain: mcinterp.direct_logit_attribution(chain, TEXTS),
}


def written(chain: Chain) -> Sequences:
    """The tuned stage's greedy completions."""
    return mcinterp.teacher_force(chain, chain.render(mcinterp.Prompts.from_texts(TEXTS)), mcinterp.Decoding(6))


def state(model: torch.nn.Module) -> dict[str, Any]:
    """Everything about a model of transformers that a reader could change."""
    return {
        "weights": {name: (weight, weight.clone(), weight.requires_grad) for name, weight in model.named_parameters()},
        "buffers": {name: buffer.clone() for name, buffer in model.named_buffers()},
        "modules": {name: (type(module), module.training) for name, module in model.named_modules()},
        "hooks": {name: len(module._forward_hooks) for name, module in model.named_modules()},
        "config": model.config.to_dict() | {"attention": model.config._attn_implementation},
    }


def assert_unchanged(model: torch.nn.Module, before: dict[str, Any]) -> None:
    """That a model is the very same as before."""
    after = state(model)
    assert {k: after[k] for k in ("modules", "hooks", "config")} == {
        k: before[k] for k in ("modules", "hooks", "config")
    }
    assert all(torch.equal(after["buffers"][name], buffer) for name, buffer in before["buffers"].items())
    for name, (weight, values, asks) in before["weights"].items():
        now = after["weights"][name]
        assert now[0] is weight
        assert torch.equal(now[1], values)
        assert now[2] == asks
        assert weight.grad is None


@pytest.mark.parametrize("analysis", ANALYSES)
@pytest.mark.parametrize("kind", ["models", "bridges"])
def test_the_numbers_are_those_of_the_checkpoints_bit_for_bit(
    request: pytest.FixtureRequest,
    kind: str,
    analysis: str,
    loaded: Chain,
    tokenizers: dict[str, Any],
    assert_same: Same,
) -> None:
    chain = mcinterp.chain_from_models(request.getfixturevalue(kind), tokenizer=tokenizers)
    found, wanted = ANALYSES[analysis](chain), ANALYSES[analysis](loaded)
    assert_same(found, wanted)
    assert {k: v for k, v in found.attrs.items() if k != "provenance"} == {
        k: v for k, v in wanted.attrs.items() if k != "provenance"
    }


@pytest.mark.slow
def test_locating_and_patched_writing_give_what_the_checkpoints_give(
    models: dict[str, Any], loaded: Chain, tokenizers: dict[str, Any], assert_same: Same
) -> None:
    chain = mcinterp.chain_from_models(models, tokenizer=tokenizers)
    assert_same(
        mcinterp.generate_patched(chain, TEXTS[:2], sites=["mlp_out"], decoding=mcinterp.Decoding(4)),
        mcinterp.generate_patched(loaded, TEXTS[:2], sites=["mlp_out"], decoding=mcinterp.Decoding(4)),
    )
    ours, theirs = (mcinterp.locate(each, PROMPTS, verification=False) for each in (chain, loaded))
    assert ours.said == theirs.said
    assert ours.named
    assert_same(ours.sites, theirs.sites)


@pytest.mark.parametrize("architecture", [name for name in SHAPES if name != "llama"])
def test_other_architectures_give_the_numbers_of_their_checkpoints(
    architecture: str, tiny: Callable[..., Path], assert_same: Same
) -> None:
    places = {"base": tiny(architecture), "tuned": tiny(architecture, "tuned")}
    loaded = load_pair(*map(str, places.values()), names=list(places))
    chain = mcinterp.chain_from_models(
        {name: model_of(place) for name, place in places.items()},
        tokenizer={name: tokenizer_of(place) for name, place in places.items()},
    )
    texts = ["Are bugs real?", "yes or no"]
    assert_same(mcinterp.patch(chain, texts, interaction=False), mcinterp.patch(loaded, texts, interaction=False))
    assert_same(mcinterp.graft_sweep(chain, texts, by="kind"), mcinterp.graft_sweep(loaded, texts, by="kind"))


class Seen:
    """How often a hook was called."""

    times = 0

    def hook(self, *_: object) -> None:
        """Count."""
        self.times += 1


def test_a_model_and_its_hooks_are_left_as_they_were(models: dict[str, Any], tokenizers: dict[str, Any]) -> None:
    seen = Seen()
    models["base"].train()
    models["base"].model.layers[1].register_forward_hook(seen.hook)
    models["sft"].requires_grad_(False)
    before = {name: state(model) for name, model in models.items()}
    tokenizer_before = str(tokenizers["base"])
    chain = mcinterp.chain_from_models(models, tokenizer=tokenizers)
    for analyse in ANALYSES.values():
        analyse(chain)
    with pytest.raises(InputError, match="unknown"):
        mcinterp.patch(chain, TEXTS, metrics=["nothing"])
    with mcinterp.grafted(chain) as stage:
        theirs = stage.bridge(torch.tensor([[0, 5, 7]]))
    for name, model in models.items():
        assert_unchanged(model, before[name])
    assert seen.times, "a hook of the caller's own rides along, and is the very same"
    assert str(tokenizers["base"]) == tokenizer_before
    base = models["base"].eval()
    assert not torch.allclose(theirs, models["sft"](torch.tensor([[0, 5, 7]])).logits)
    assert torch.allclose(theirs, base(torch.tensor([[0, 5, 7]])).logits, atol=1e-4)


def test_a_bridge_is_given_back_without_hooks_and_with_its_weights(
    bridges: dict[str, Any], tokenizers: dict[str, Any]
) -> None:
    for bridge in bridges.values():
        bridge(torch.tensor([[0, 5, 7]]))  # at its first run a bridge puts hooks of its own on its layers
    before = {name: state(bridge.original_model) for name, bridge in bridges.items()}
    chain = mcinterp.chain_from_models(bridges, tokenizer=tokenizers)
    assert chain.base.bridge is bridges["base"]
    for analyse in ANALYSES.values():
        analyse(chain)
    for name, bridge in bridges.items():
        assert_unchanged(bridge.original_model, before[name])
        assert all(not point.fwd_hooks and not point.bwd_hooks for point in bridge.hook_dict.values())


def test_weights_lie_in_the_same_memory_and_tied_ones_stay_tied(tmp_path: Path) -> None:
    place = save_checkpoint(tmp_path / "tied", "llama", seed=3, tie_word_embeddings=True)
    model = model_of(place)
    twin = twin_of(model)
    theirs = dict(twin.named_parameters())
    assert all(theirs[name].data_ptr() == weight.data_ptr() for name, weight in model.named_parameters())
    assert all(theirs[name] is not weight for name, weight in model.named_parameters())
    assert twin.lm_head.weight is twin.model.embed_tokens.weight
    assert twin.config is not model.config


def test_results_say_which_weights_they_are_of_and_can_be_saved(
    models: dict[str, Any], loaded: Chain, tokenizers: dict[str, Any], tmp_path: Path, assert_same: Same
) -> None:
    chain = mcinterp.chain_from_models(models, tokenizer=tokenizers["base"])
    lens = mcinterp.logit_lens(chain, written(chain))
    made = provenance_of(lens)["checkpoints"]
    assert [each["spec"] for each in made] == ["memory:base", "memory:sft"]
    assert [each["revision"] for each in made] == [f"sha256:{stage.fingerprint}" for stage in loaded.stages]
    assert_same(load(save(lens, tmp_path / "lens.nc")), lens)
    with torch.no_grad():
        models["base"].lm_head.weight[3, 5] += 1
    changed = mcinterp.chain_from_models(models, tokenizer=tokenizers["base"])
    assert changed.base.checkpoint.revision != made[0]["revision"]


def test_the_alignment_report_is_that_of_the_checkpoints(
    models: dict[str, Any], loaded: Chain, tokenizers: dict[str, Any]
) -> None:
    chain = mcinterp.chain_from_models(models, tokenizer=tokenizers)
    ours, theirs = chain.alignment.properties, loaded.alignment.properties
    assert [each for each in ours if each.name != "stored dtype"] == [e for e in theirs if e.name != "stored dtype"]


def test_one_model_alone_is_a_chain_for_what_is_measured_on_one(
    bridges: dict[str, Any], loaded: Chain, tokenizers: dict[str, Any]
) -> None:
    one = mcinterp.chain_from_models({"base": bridges["base"]}, tokenizer=tokenizers["base"])
    sequences = written(one)
    both = mcinterp.logit_lens(loaded, sequences)
    alone = mcinterp.logit_lens(one, sequences)
    for name in ("entropy", "top_token", "kl_final_to_lens", "next_log_prob"):
        assert np.array_equal(alone[name].sel(stage="base"), both[name].sel(stage="base"), equal_nan=True)
    for analyse in (head_scores, mcinterp.neuron_statistics):
        ours, theirs = analyse(one, TEXTS), analyse(loaded, TEXTS)
        for name in [name for name in ours.data_vars if "stage" in ours[name].dims]:
            assert np.array_equal(ours[name].sel(stage="base"), theirs[name].sel(stage="base"), equal_nan=True), name
    direct = mcinterp.direct_logit_attribution(one, TEXTS, attractor=542)["attribution"].sel(stage="base")
    wanted = mcinterp.direct_logit_attribution(loaded, TEXTS, attractor=542)["attribution"].sel(stage="base")
    assert np.array_equal(direct, wanted)
    patterns = mcinterp.attention_patterns(one, sequences)
    name = next(iter(patterns.data_vars))
    assert np.array_equal(patterns[name].sel(stage="base"), mcinterp.attention_patterns(loaded, sequences)[name][0])
    with pytest.raises(InputError, match="own activations back"):
        mcinterp.patch(one, TEXTS)
    with pytest.raises(InputError, match="own activations back"):
        mcinterp.graft_sweep(one, TEXTS)


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_models_are_read_and_their_weights_refused(bits: int, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("bitsandbytes")
    wide = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    place = save_checkpoint(tmp_path / "base", "llama", seed=0, **wide)
    settings = transformers.BitsAndBytesConfig(
        load_in_4bit=bits == 4, load_in_8bit=bits == 8, bnb_4bit_compute_dtype=torch.float32
    )
    model = AutoModelForCausalLM.from_pretrained(
        place, quantization_config=settings, device_map={"": "cpu"}, dtype=torch.float32
    )
    chain = mcinterp.chain_from_models({"base": model_of(place), "tuned": model}, tokenizer=tokenizer())
    lens = mcinterp.logit_lens(chain, with_completions(
        chain, chain.render(mcinterp.Prompts.from_texts(["yes or no"])), [()]
    ), positions="last")  # fmt: skip
    read = float(final_distribution(lens)["entropy"].sel(stage="tuned", position=0, prompt=0))
    with torch.inference_mode():
        logits = model(torch.tensor([chain.render(mcinterp.Prompts.from_texts(["yes or no"])).token_ids[0]])).logits
    own = torch.distributions.Categorical(logits=logits[0, -1].float()).entropy()
    assert abs(float(own) - read) < 0.05
    with pytest.raises(InputError, match="quantised"):
        mcinterp.graft_sweep(chain, ["yes or no"])


def processed() -> Any:
    """A bridge with folded norms."""
    bridge = bridge_of(pocket_path("base"))
    bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge


def with_split_heads() -> Any:
    """A bridge with one of TransformerLens' switches on."""
    bridge = bridge_of(pocket_path("base"))
    bridge.set_use_split_qkv_input(True)
    return bridge


def in_training() -> Any:
    """A bridge in training mode."""
    return bridge_of(pocket_path("base")).train()


def wrapped() -> Any:
    """A model that a bridge was put around."""
    return bridge_of(pocket_path("base")).original_model


def replaced() -> Any:
    """A model of which one forward pass was replaced."""
    model = model_of(pocket_path("base"))
    layer = model.model.layers[2]
    layer.forward = copy.copy(layer.forward)
    return model


def broken() -> Any:
    """A model with a weight that is no number."""
    model = model_of(pocket_path("base"))
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.nan
    return model


def without_values() -> Any:
    """A model on meta."""
    return model_of(pocket_path("base")).to("meta")


def headless() -> Any:
    """The layers of a model, without its unembedding."""
    return model_of(pocket_path("base")).model


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (processed, "processed weights"),
        (with_split_heads, "use_split_qkv_input on"),
        (in_training, "training mode"),
        (wrapped, "give that bridge"),
        (replaced, "forward pass of its module 'model.layers.2' was replaced"),
        (broken, "NaN or infinite"),
        (without_values, "without values"),
        (headless, "is a 'LlamaModel'; a causal language model is wanted"),
        (lambda: torch.nn.Linear(2, 3), "is a Linear; give a PreTrainedModel"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_models_that_cannot_be_compared_are_refused(
    build: Callable[[], Any], said: str, models: dict[str, Any], tokenizers: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=said):
        mcinterp.chain_from_models({"base": build(), "sft": models["sft"]}, tokenizer=tokenizers["base"])


def test_an_adapter_that_is_not_merged_is_refused(models: dict[str, Any], tokenizers: dict[str, Any]) -> None:
    peft = pytest.importorskip("peft")
    models["sft"].add_adapter(peft.LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(InputError, match="merge the adapter first"):
        mcinterp.chain_from_models(models, tokenizer=tokenizers)
    adapted = peft.get_peft_model(models["base"], peft.LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(InputError, match="is a PeftModel; give a PreTrainedModel"):
        mcinterp.chain_from_models({"base": adapted}, tokenizer=tokenizers["base"])


def test_names_tokenizers_and_shapes_that_do_not_fit_are_refused(
    models: dict[str, Any], bridges: dict[str, Any], tokenizers: dict[str, Any], tiny: Callable[..., Path]
) -> None:
    with pytest.raises(InputError, match="give a mapping such as"):
        mcinterp.chain_from_models({}, tokenizer=tokenizers["base"])
    with pytest.raises(InputError, match="named 'difference'"):
        mcinterp.chain_from_models({"difference": models["base"]}, tokenizer=tokenizers["base"])
    with pytest.raises(InputError, match="characters that can be shown"):
        mcinterp.chain_from_models({"": models["base"]}, tokenizer=tokenizers["base"])
    with pytest.raises(InputError, match="one bridge stands for two stages"):
        mcinterp.chain_from_models({"a": bridges["base"], "b": bridges["base"]}, tokenizer=tokenizers["base"])
    with pytest.raises(InputError, match="stage 'sft' has no tokenizer"):
        mcinterp.chain_from_models(models, tokenizer={"base": tokenizers["base"]})
    with pytest.raises(InputError, match="has a NoneType as its tokenizer"):
        mcinterp.chain_from_models(models, tokenizer=None)
    with pytest.raises(AlignmentError, match="differ in vocabulary"):
        mcinterp.chain_from_models(models, tokenizer={**tokenizers, "sft": tokenizer()})
    with pytest.raises(InputError, match="so it is another model's"):
        mcinterp.chain_from_models({"tiny": model_of(tiny("llama"))}, tokenizer=tokenizers["base"])
    with pytest.raises(AlignmentError, match="differ in n_layers"):
        mcinterp.chain_from_models({"a": models["base"], "b": model_of(tiny("llama"))}, tokenizer=tokenizer())


def test_what_reads_files_is_refused(models: dict[str, Any], tokenizers: dict[str, Any], tmp_path: Path) -> None:
    chain = mcinterp.chain_from_models(models, tokenizer=tokenizers)
    with pytest.raises(InputError, match="is a model in memory and this reads a checkpoint's files"):
        mcinterp.uncollapse(chain, ["unembed"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_bridge_in_compatibility_mode_without_processing_gives_the_same_numbers(
    loaded: Chain, tokenizers: dict[str, Any], assert_same: Same
) -> None:
    bridges = {name: bridge_of(pocket_path(name)) for name in NAMES}
    for bridge in bridges.values():
        assert isinstance(bridge, TransformerBridge)
        bridge.enable_compatibility_mode(disable_warnings=True, no_processing=True)
    chain = mcinterp.chain_from_models(bridges, tokenizer=tokenizers)
    assert_same(ANALYSES["patch"](chain), ANALYSES["patch"](loaded))
    assert_same(ANALYSES["grafts"](chain), ANALYSES["grafts"](loaded))
