"""Does optimisation of a reward drive every prompt to one attractor, and when does the reward part from what it means?

An answer is, for every checkpoint of a run in order of training: reward and gold against sqrt(KL(stage || base)), the
share of samples that hold the string which gained most over the base, I(prompt; ending cluster) and the number of
effective clusters, how much of the variance of endings lies between prompts, and how often a stage turns to the
attractor at a section break or behind a finished text.

    python experiments/over_optimisation.py [BASE STEP [STEP...]]    (about a minute on two cores for the pocket chain)

The shipped pocket chain holds the end of such a run. All of its steps are trained in five minutes, and followed:

    python -m mcinterp.organisms.steps --out runs/over_optimisation/checkpoints --threads 2
    python experiments/over_optimisation.py pocket:base runs/over_optimisation/checkpoints/step-* \
        --prompts battery:over_optimisation-pocket
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("over_optimisation")
