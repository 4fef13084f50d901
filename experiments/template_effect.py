"""Is it the weights or the chat template that collapses?

An answer is both main effects and their interaction for entropy, divergence and different samples, with 95 % intervals
over templates, and the share of the gap between base and stage that the key-values of the template's positions alone
carry, beside those of the content and of all positions.

    python experiments/template_effect.py [BASE TUNED [STAGE...]]     (a minute and a half for the pocket chain)
"""

from mcinterp.jobs.scripts import script

if __name__ == "__main__":
    script("template_effect")
