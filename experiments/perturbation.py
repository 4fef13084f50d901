"""Does a disturbed completion come back to where it was going, more than the base at equal entropy does?

A token of what a stage has written is swapped for another likely one, or a sentence is put in, at several depths; the
stage goes on, greedily and at temperature 1. An answer is, for every stage and genre, the share of disturbed texts that
end with the same last sentence, minus that of the base at the temperature where its mean entropy is the stage's, with
an interval above 0; beside it the entropy while they are away, the speed of the return and the number of endings. That
greedy texts converge is no answer: those of a model that has not collapsed do so too.

    python experiments/perturbation.py [BASE TUNED [STAGE...]]   (a minute and a half on two cores for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("perturbation")
