"""Is the ending of a story open, when is it decided, and which endings does a stage never come to?

An answer is, for every genre and stage, the entropy of the outcome at the start of stories and behind each of their
sentences (along the base's story, the same for all stages, and along the stage's own), how much of it a beginning
decides (the mutual information of beginning and outcome), the outcomes of the base that vanished, and what is left of
its rare ones. Outcomes are strings or regular expressions of the battery; those of late places are exact where a tree
can hold all that may follow.

    python experiments/endings.py [BASE TUNED [STAGE...]]     (a minute and a half on two cores for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("endings")
