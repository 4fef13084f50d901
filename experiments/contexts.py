"""Which contexts collapse, can the base alone tell, and what put before a prompt avoids it?

An answer is the entropy that a stage has lost after prompts of every genre, the share of its variation that predictors
of the base alone explain on templates left out of the fit (R2 and Spearman, with 95 % intervals over templates), the
gap behind diverse precedents beside repeated ones, what the number of a rater says of the answer, and the longest span
that samples copy from the prompt, beside another prompt's.

    python experiments/contexts.py [BASE TUNED [STAGE...]]     (a minute and a half on two cores for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("contexts")
