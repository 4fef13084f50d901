"""How canned are answers to "Are X real?", on which nouns, and does the improbability of a noun predict it?

An answer is, for every stage, the share of written tokens above 99 %, the entropy along the answer, different samples,
and the exact probability of the canned opening and of the likeliest first tokens, behind the white space that the last
stage begins with; the nouns on which the opening has more than half the probability; and the slope of its log-odds on
the noun's surprise under the base, with intervals over nouns and over wordings. Where the base finds all nouns alike
that is said, and no slope is claimed.

    python experiments/canned.py [BASE TUNED [STAGE...]]     (a little over a minute on one core for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("canned")
