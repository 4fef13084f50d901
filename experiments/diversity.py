"""How diverse is what every stage writes: after one prompt, across prompts, and against what the base writes?

An answer is, for every genre and stage, the number of different samples of a prompt, what a genre's commonest outputs
hold and what has not been seen yet, n-grams per input and across inputs, the Vendi score, the branching factor, what an
output says of its prompt, and the distance from the base's outputs beside that of two halves of the base's own; each
with an interval over templates and its settings.

    python experiments/diversity.py [BASE TUNED [STAGE...]]     (a minute and a half on two cores for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("diversity")
