"""At which stage does the collapse come in?

An answer is a table of headline measures along the chain with 95 % intervals over templates, and the step of each from
every stage to the next: the stage whose step of entropy is the most negative, with an interval below zero, brings it;
one whose step is positive takes some of it back.

    python experiments/stages.py [BASE TUNED [STAGE...]]     (a minute on two cores for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("stages")
