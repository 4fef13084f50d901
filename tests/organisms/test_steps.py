"""The over-optimised run in steps: what is saved, one seed one run, and nothing overwritten."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from mcinterp.organisms import pocket_path, train
from mcinterp.organisms.policy import PolicyPlan
from mcinterp.organisms.steps import main, train_in_steps

PLAN = PolicyPlan(n_steps=3, beta=0.0, n_prompts=2, n_samples=2, spread=True)


def head(folder: Path) -> torch.Tensor:
    """The unembedding of a checkpoint."""
    return LlamaForCausalLM.from_pretrained(folder).lm_head.weight


def test_every_second_step_and_the_last_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(train, "fluent_wedding", lambda pocket: lambda prompt, ids: float(len(ids)))
    saved = train_in_steps(tmp_path / "one", every=2, plan=PLAN)
    assert [folder.name for folder in saved] == ["step-002", "step-003"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["step-002", "step-003"]
    again = train_in_steps(tmp_path / "two", every=3, plan=PLAN)
    assert torch.equal(head(saved[-1]), head(again[-1]))
    assert not torch.equal(head(saved[0]), head(pocket_path("base")))


def test_bad_requests_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError, match="got every=0"):
        train_in_steps(tmp_path, every=0)
    (tmp_path / "step-001").mkdir()
    assert main(["--out", str(tmp_path)]) == 2
    assert "earlier run" in capsys.readouterr().err
