"""How much of all that a stage may write after a prompt is one text, and where do its texts part?

An answer is, for every stage, the exact tree of all continuations that some stage gives 1 % or more: the probability of
the likeliest one by depth, the depth at which the greedy text has lost half its probability, how many likely ones there
are, and how much of what comes out is decided at a token. `multiverse.html` shows the trees: a click enlarges a branch.

    python experiments/multiverse.py [BASE TUNED [STAGE...]]     (about a minute on one core for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("multiverse")
