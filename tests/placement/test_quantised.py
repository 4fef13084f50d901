"""Quantised checkpoints: what reads activations runs, what reads weights is refused."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import mcinterp
from conftest import save_checkpoint, tokenizer
from mcinterp import divergence
from mcinterp.chain import Chain, load_pair
from mcinterp.errors import InputError
from mcinterp.landmarks import final_distribution

pytest.importorskip("bitsandbytes")

TEXTS = ["Are bugs real?", "yes or no"]


WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A small pair in full precision; kernels for four bits on the CPU want widths that 32 divides."""
    root = tmp_path_factory.mktemp("whole")
    base = save_checkpoint(root / "base", "llama", seed=0, **WIDE)
    tuned = save_checkpoint(root / "tuned", "llama", seed=1, noise_of=base, chat=True, **WIDE)
    return load_pair(str(base), str(tuned))


@pytest.fixture(scope="module", params=[4, 8])
def quantised(request: pytest.FixtureRequest, whole: Chain, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The same pair whose tuned stage was saved in 4 or 8 bits."""
    bits = request.param
    settings = BitsAndBytesConfig(
        load_in_4bit=bits == 4, load_in_8bit=bits == 8, bnb_4bit_compute_dtype=torch.float32, bnb_4bit_quant_type="nf4"
    )
    folder = tmp_path_factory.mktemp(f"bits{bits}") / "tuned"
    model = AutoModelForCausalLM.from_pretrained(
        whole.tuned.checkpoint.location, quantization_config=settings, device_map={"": "cpu"}, dtype=torch.float32
    )
    model.save_pretrained(folder)
    tokenizer(chat=True).save_pretrained(folder)
    return load_pair(whole.base.checkpoint.location, str(folder))


def test_the_last_layer_reads_as_transformers_own_logits(quantised: Chain) -> None:
    sequences = mcinterp.teacher_force(
        quantised, quantised.render(mcinterp.Prompts.from_texts(TEXTS)), mcinterp.Decoding(0)
    )
    lens = mcinterp.logit_lens(quantised, sequences, positions="last")
    read = final_distribution(lens)["entropy"].isel(stage=1).sel(position=0)
    model = AutoModelForCausalLM.from_pretrained(quantised.tuned.checkpoint.location, device_map={"": "cpu"})
    for prompt, ids in enumerate(sequences.ids):
        with torch.inference_mode():
            own = divergence.log_probs(model(torch.tensor([ids])).logits[0, -1])
        assert abs(float(divergence.entropy(own)) - read.sel(prompt=prompt).item()) < 0.05


def test_patches_run(quantised: Chain) -> None:
    patched = mcinterp.patch(quantised, mcinterp.Prompts.from_texts(TEXTS), verify=4)
    assert np.isfinite(patched["entropy"]).all()
    assert patched.attrs["engine"] == "fast"
    assert patched.attrs["verified_difference"] < 0.1


@pytest.mark.parametrize(
    "analysis",
    [mcinterp.graft_sweep, mcinterp.update_attribution, mcinterp.direct_logit_attribution, mcinterp.interpolate],
)
def test_what_reads_weights_is_refused(quantised: Chain, analysis) -> None:
    with pytest.raises(InputError, match="is quantised and this reads its weights"):
        analysis(quantised, mcinterp.Prompts.from_texts(TEXTS))


def test_neurons_are_refused(quantised: Chain) -> None:
    with pytest.raises(InputError, match="is quantised"):
        mcinterp.neuron_statistics(quantised, mcinterp.Prompts.from_texts(TEXTS))


def test_layers_of_a_quantised_checkpoint_are_not_streamed(quantised: Chain) -> None:
    with pytest.raises(InputError, match="quantised"):
        load_pair(*(stage.checkpoint.spec for stage in quantised.stages), placement="stream")
