"""Is what tuning did a temperature, of tokens or of whole texts, and would another temperature undo it?

An answer is: how diverse a stage's samples are at the temperature where they are as likely under the base as the base's
own (as diverse as those, if a temperature undoes the change); the share of KL(stage || base) that one exponent
explains, for all prompts, a prompt or a token; whether the slope of the future's entropy is 0 (tempered tokens) or 1
minus the slope of log p (tempered texts), with the share of variance that both explain; and what it costs to draw
without the mode, at the beginning of words and within them.

    python experiments/temperature_curves.py [BASE TUNED [STAGE...]]   (a minute and a half on two cores for the pocket)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("temperature_curves")
