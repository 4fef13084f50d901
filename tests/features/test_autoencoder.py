"""Encoding and decoding against SAELens' own numbers, and what an autoencoder reads is put together again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from features.dictionaries import orthogonal, sparse
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.features.autoencoder import SparseAutoencoder
from mcinterp.features.saelens import load_sae

CASES = Path(__file__).parent / "saelens"
NAMES = [
    "standard", "standard-plain", "standard-layer-norm", "topk", "topk-rescaled", "jumprelu", "batchtopk", "gated",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_numbers_are_those_of_saelens(name: str) -> None:
    sae, known = load_sae(CASES / name), load_file(CASES / name / "expected.safetensors")
    activations = sae.encode(known["inputs"])
    assert float((activations > 0).float().mean()) > 0.1
    torch.testing.assert_close(activations, known["activations"], rtol=1e-5, atol=1e-5)
    decoded = sae.decode(known["activations"], known["inputs"])
    torch.testing.assert_close(decoded, known["reconstruction"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae.error(known["inputs"]), known["inputs"] - known["reconstruction"], rtol=0, atol=1e-5)


def test_the_one_that_ships_encodes_as_in_saelens() -> None:
    sae, known = load_sae("pocket:sae"), load_file(CASES / "trained" / "expected.safetensors")
    activations = sae.encode(known["inputs"])
    assert (sae.activation, sae.k, sae.n_features, sae.hook) == ("topk", 32, 512, "blocks.4.hook_resid_post")
    torch.testing.assert_close(activations, known["activations"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae.decode(activations), known["reconstruction"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_features_and_rest_are_the_activation(name: str) -> None:
    sae, x = load_sae(CASES / name), load_file(CASES / name / "expected.safetensors")["inputs"]
    code = sae.read(x)
    torch.testing.assert_close(code.activations, sae.encode(x), rtol=0, atol=0)
    torch.testing.assert_close(code.coefficients @ sae.W_dec + code.rest, x, rtol=1e-6, atol=1e-6)
    if sae.normalize_activations == "none":
        torch.testing.assert_close(code.rest - sae.b_dec, sae.error(x), rtol=1e-5, atol=1e-5)


def test_topk_by_a_plain_loop() -> None:
    sae = sparse()
    x = torch.randn(7, 24, generator=torch.Generator().manual_seed(1))
    for row, found in zip(x, sae.encode(x), strict=True):
        before = (row - sae.b_dec) @ sae.W_enc + sae.b_enc
        kept = sorted(range(31), key=lambda f, b=before: -float(b[f]))[:5]
        expected = torch.tensor([max(0.0, float(before[f])) if f in kept else 0.0 for f in range(31)])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_an_orthogonal_dictionary_has_no_error() -> None:
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(orthogonal().error(x), torch.zeros(5, 24), rtol=0, atol=1e-4)


def test_decoding_wants_the_size_that_a_normalisation_took_off() -> None:
    sae = replace(orthogonal(), normalize_activations="layer_norm")
    with pytest.raises(InputError, match="decode without the activations that were encoded, whose size it needs"):
        sae.decode(torch.ones(2, 24))
    torch.testing.assert_close(
        orthogonal().decode(torch.ones(2, 24)), orthogonal().decode(torch.ones(2, 24), torch.ones(2, 24))
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"W_enc": torch.zeros(24, 30)}, "W_enc has the shape .24, 30. and belongs to a decoder of 31 features"),
        ({"b_dec": torch.zeros(23)}, "b_dec has the shape .23,. and belongs"),
        ({"k": 32}, "k is 32 and there are 31 features"),
        ({"k": None}, "'topk' was given without k; add it"),
        ({"activation": "jumprelu"}, "'jumprelu' was given without threshold"),
        ({"activation": "tanh"}, "activation 'tanh' is unknown; give one of relu, topk"),
        ({"site": "pattern"}, "site 'pattern' has no autoencoder; give one of resid_pre"),
    ],
)
def test_what_does_not_belong_together_is_refused(change: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(sparse(), **change)


def test_a_stage_that_it_does_not_fit_is_refused(pair: Chain) -> None:
    sparse().require_fits(pair.base)
    with pytest.raises(InputError, match="reads layer 9 and stage 'base' has layers 0 to 2"):
        replace(sparse(), layer=9).require_fits(pair.base)
    with pytest.raises(InputError, match=r"reads 24 numbers a token and blocks.1.mlp.hook_post of stage 'base' has 40"):
        replace(sparse(), site="mlp_post").require_fits(pair.base)


def test_its_fingerprint_is_that_of_its_tensors() -> None:
    one: SparseAutoencoder = sparse()
    assert one.fingerprint == sparse().fingerprint == one.to("cpu").fingerprint
    assert one.fingerprint != replace(one, b_dec=one.b_dec + 1).fingerprint
