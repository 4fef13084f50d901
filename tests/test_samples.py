"""Samples of stages: the same tokens as decoding writes, scored as one forward pass a sequence would."""

import numpy as np
import pytest
import torch

from mcinterp.chain import Chain
from mcinterp.completions import Decoding, complete_many
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.samples import sample_stages

TEXTS = ["one", "Are bugs real?", "Say it: a"]


def test_samples_are_what_decoding_writes(chain: Chain) -> None:
    rendered = chain.render(Prompts.from_texts(TEXTS))
    decoding = Decoding(5, 1.0, seed=3)
    found = sample_stages(chain, rendered, decoding, samples=2, stages=["base", "later"])
    for name in ("base", "later"):
        written = complete_many(chain.stage(name), rendered.token_ids, decoding, context=64, samples=2)
        for prompt, each in enumerate(written):
            for sample, ids in enumerate(each):
                one = found.sel(stage=name, prompt=prompt, sample=sample)
                assert [i for i in one["token_id"].values.tolist() if i >= 0] == list(ids)
                assert int(one["n_tokens"]) == len(ids)
                assert bool(one["ended"]) == (len(ids) < 5)
                assert str(one["completion"].item()) == chain.tuned.tokenizer.decode(ids)


def test_scores_equal_a_forward_pass(chain: Chain) -> None:
    rendered = chain.render(Prompts.from_texts(TEXTS))
    found = sample_stages(chain, rendered, Decoding(4, 1.5), samples=2)
    for name in chain.names:
        for prompt, ids in enumerate(rendered.token_ids):
            one = found.sel(stage=name, prompt=prompt, sample=1)
            written = [i for i in one["token_id"].values.tolist() if i >= 0]
            for reader, variable in ((name, "written_log_prob"), (chain.names[0], "base_log_prob")):
                with torch.no_grad():
                    logits = chain.stage(reader).bridge(torch.tensor([[*ids, *written]]))[0].float().log_softmax(-1)
                for step, token in enumerate(written):
                    read = logits[len(ids) - 1 + step]
                    assert float(one[variable][step]) == pytest.approx(float(read[token]), abs=1e-4)
                    if reader == name:
                        entropy = float(-(read.exp() * read).sum())
                        assert float(one["written_entropy"][step]) == pytest.approx(entropy, abs=1e-4)
            assert bool(np.isnan(one["written_log_prob"].values[len(written) :]).all())


def test_equal_stages_write_equal_texts(identical: Chain) -> None:
    rendered = identical.render(Prompts.from_texts(TEXTS))
    found = sample_stages(identical, rendered, samples=3)
    first, second = (found.isel(stage=i) for i in (0, 1))
    assert (first["completion"].values == second["completion"].values).all()
    np.testing.assert_array_equal(first["written_log_prob"], second["written_log_prob"])


def test_bad_requests_are_refused(chain: Chain) -> None:
    rendered = chain.render(Prompts.from_texts(TEXTS))
    with pytest.raises(InputError, match="give 1 or more"):
        sample_stages(chain, rendered, samples=0)
    with pytest.raises(InputError, match="no stage is named"):
        sample_stages(chain, rendered, stages=["other"])
