"""Did tuning only sharpen the base's preferences, or change their order, and which of the base's ranks gained?

An answer is, along texts that each stage wrote and along the base's: the share of tokens where the stage's choice was
the base's own (unshifted), its second or third (marginal), or further down (shifted), at the first token and later; the
agreement of the two orders; and the change of log-probability and of probability by rank under the base.

    python experiments/preference.py [BASE TUNED [STAGE...]]     (about 40 seconds on one core for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("preference")
