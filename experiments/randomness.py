"""Where a fair draw is the right answer, how far is each stage from one, and does the setting of the question matter?

An answer is, for every frame (plain, dialogue, die, Python interpreter, interpreter inside a chat) and support, the
exact distribution over all values: its entropy over that of a fair draw (H / log N), the favourite and its share, the
mass of answers that are no value, how far wordings of one question agree, and what an earlier draw does to the next.

    python experiments/randomness.py [BASE TUNED [STAGE...]]     (about 50 seconds on one core for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("randomness")
