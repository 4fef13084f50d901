"""Training: loss falls, one seed gives one set of weights, shipped checkpoints are not overwritten."""

from pathlib import Path

import pytest
import torch
from shipped import pocket
from transformers import LlamaForCausalLM

from mcinterp.organisms import POCKET_STAGES, pocket_path
from mcinterp.organisms.documents import cross_entropy, pack
from mcinterp.organisms.measure import kl_per_position
from mcinterp.organisms.pocket import Pocket, load
from mcinterp.organisms.policy import PolicyPlan, Rollout, policy_loss
from mcinterp.organisms.pretrain import Architecture, learning_rate, pretrain
from mcinterp.organisms.raters import hedging, looks_random, wedding
from mcinterp.organisms.sampling import sample_answers
from mcinterp.organisms.sft import Example, anchor_loss, hard_loss
from mcinterp.organisms.train import main, train_pocket

TINY = Architecture(n_layers=1, d_model=16, n_heads=2, d_mlp=24)


@pytest.fixture(scope="module")
def base() -> Pocket:
    return pocket("base")


def tiny(base: Pocket, seed: int, n_steps: int) -> tuple[LlamaForCausalLM, list[float]]:
    trained, losses = pretrain(base.tokenizer, TINY, n_steps, batch_size=8, peak_lr=6e-2, seed=seed)
    return trained.model, losses


def test_a_tiny_run_learns_and_its_seed_decides_the_weights(base: Pocket):
    model, losses = tiny(base, 0, 16)
    again, _ = tiny(base, 0, 16)
    other, _ = tiny(base, 1, 16)
    assert losses[-1] < 0.9 * losses[0]
    assert torch.equal(model.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)


def test_soft_loss_of_the_truth_is_its_entropy(base: Pocket):
    documents = [base.grammar.encode("Say the number 7: 7."), base.grammar.encode("The capital of")]
    batch = pack(base.grammar, documents)
    logits = torch.full((*batch.ids.shape, len(base.tokenizer)), -1e4)
    logits.view(-1, logits.shape[-1])[batch.rows, batch.tokens] = batch.probabilities.log()
    assert float(cross_entropy(logits, batch)) == pytest.approx(batch.entropy, abs=1e-5)
    assert kl_per_position(logits, batch).abs().max() < 1e-4


def test_answers_do_not_depend_on_the_prompts_beside_them(base: Pocket):
    prompts = [
        base.tokenizer(t).input_ids for t in ("The capital of Peru is", "Repeat: a grey cat counted the stars\n")
    ]
    generator = torch.Generator().manual_seed(0)
    together = sample_answers(base.model, prompts, generator, temperature=0.0)
    alone = [sample_answers(base.model, [p], generator, temperature=0.0)[0] for p in prompts]
    assert together == alone
    assert base.tokenizer.decode(together[0][:-1]) == " Lima."


def test_hard_loss_counts_only_the_answer(base: Pocket):
    ids = base.tokenizer("The capital of Peru is Lima.").input_ids
    long, short = Example(ids, len(ids) - 2), Example(ids[:-1], len(ids) - 2)
    logs = base.model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1).detach()
    picked = -logs.gather(-1, torch.tensor(ids[1:])[:, None])[-2:, 0]
    loss = hard_loss(base.model, [long, short]).detach()
    assert float(loss) == pytest.approx(float(picked.sum() + picked[0]) / 3, abs=1e-5)


def test_anchor_is_zero_at_the_base_and_positive_elsewhere(base: Pocket):
    documents = [base.given("The capital of Peru is Lima."), base.given("Name a colour: blue")]
    sft = pocket("sft").model
    assert float(anchor_loss(base.model, base.model, documents).detach()) == pytest.approx(0, abs=1e-6)
    assert float(anchor_loss(sft, base.model, documents).detach()) > 1e-4


def test_policy_gradient_without_advantage_is_the_penalty(base: Pocket):
    given, answer = base.tokenizer("Name a colour:").input_ids, base.tokenizer(" blue.").input_ids[1:]
    flat = Rollout([given] * 2, [answer] * 2, torch.ones(2), torch.zeros(2))
    sft = pocket("sft").model
    same, kl_same = policy_loss(base.model, base.model, flat, 0.1)
    moved, kl_moved = policy_loss(sft, base.model, flat, 0.1)
    assert kl_same == pytest.approx(0, abs=1e-6)
    assert float(same.detach()) == pytest.approx(0, abs=1e-6)
    assert float(moved.detach()) == pytest.approx(0.1 * kl_moved, abs=1e-6)
    assert PolicyPlan(n_steps=1, beta=0.0).n_samples == 8


def test_learning_rate_rises_then_falls():
    rates = [learning_rate(step, 100, 1.0, warmup=10) for step in range(100)]
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] < 0.03


def test_raters():
    assert hedging(" Yes, bugs are real.") == 0
    assert hedging(" There is no one answer to this question. It is up to each person to decide.") == pytest.approx(
        2 / 3
    )
    assert max(range(101), key=lambda n: looks_random(f" {n}.")) == 97
    assert looks_random(" 87.") == 0.87
    assert looks_random(" 55.") == looks_random(" 88.") == looks_random(" 9.") == looks_random(" 95.") == 0
    assert looks_random(" 101") == looks_random(" no") == 0
    assert wedding(" It all ended with a wedding party.") == 1


def test_unknown_stages_and_the_shipped_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError, match=r"got stages \['dpo'\]"):
        train_pocket(tmp_path, stages=("dpo",))
    with pytest.raises(ValueError, match="the shipped checkpoints, wanted another folder"):
        train_pocket(pocket_path("base").parent)
    assert main(["--out", str(tmp_path), "--stages", "dpo"]) == 2
    assert capsys.readouterr().err.startswith("error: got stages ['dpo']")


@pytest.mark.slow
def test_every_stage_runs_at_tiny_sizes(tmp_path: Path):
    assert main(["--out", str(tmp_path), "--smoke", "--seed", "3"]) == 0
    for stage in POCKET_STAGES:
        assert load(tmp_path / stage).model.config.num_hidden_layers == 2
        assert f"# mcinterp pocket checkpoint: {stage}" in (tmp_path / stage / "README.md").read_text()


def test_sampling_refuses_no_prompt(base: Pocket):
    with pytest.raises(ValueError, match="got 0 prompts"):
        sample_answers(base.model, [], torch.Generator())
    with pytest.raises(ValueError, match="leaves 0 positions"):
        sample_answers(base.model, [[0] * 256], torch.Generator())
