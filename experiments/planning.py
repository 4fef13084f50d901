"""Does a tuned stage plan further ahead, or is the base's planning merely weighted up?

An answer is twofold. What a linear probe of every layer decodes of the token 1 to 8 steps ahead and of the last word of
the next line, as the share of log loss that it takes off a probe of the token's embedding, for the base and the stage
on the same texts: the base's, the stage's, and the base's at the temperature where it is as sure as the stage. More
planning is a gain over the base on one text; a future that is merely surer is as easy for both. And what the residual
of another prompt, or of the other stage, at the prompt's last token does to a token that is planned behind forced
neutral words, as the share of what the whole other prompt does.

    python experiments/planning.py [BASE TUNED [STAGE...]]     (about 100 seconds on one core for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("planning")
