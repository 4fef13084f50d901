"""Does a task have one string, one form or one ending, whatever it is asked for?

An answer is, for every task (letters, dates, poems, endings, ...) and stage, the share of samples that hold the task's
modal string of so many words, against the same words shuffled, the base at equal sampling, and what the base has of
that very string; the share of poems in fours and of lines that rhyme, and of texts that end well. On the pocket chain
also the calibration error against the grammar's exact truth.

    python experiments/strings.py [BASE TUNED [STAGE...]]     (a minute and a half on two cores for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("strings")
