"""The form of a text: its lines, whether they come in fours, and whether their ends rhyme by a simple rule."""

import re

VOWELS = "aeiouy"
SOUND, MUTE = f"[{VOWELS}{VOWELS.upper()}]+", f"[^{VOWELS}{VOWELS.upper()}]"
TAIL = re.compile(f"{SOUND}{MUTE}*$")
WEAK_TAIL = re.compile(f"{SOUND}{MUTE}+(?:e[dlnrs]|ing|y)$")
RESPELT = (("eigh", "A"), ("igh", "I"))
NEAR = 4


def lines(text: str) -> list[str]:
    """The lines that have something on them."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def in_fours(text: str) -> bool:
    """Whether every stanza (lines without a blank one between them) has exactly four lines."""
    stanzas = [lines(block) for block in re.split(r"\n\s*\n", text.strip())]
    return all(len(stanza) == NEAR for stanza in stanzas)


def last_word(line: str) -> str:
    """The last word of a line in small letters; empty where it has none."""
    found = re.findall(r"[^\W\d_]+", line.lower())
    return found[-1] if found else ""


def rhyme_key(word: str) -> str:
    """The end of an English word from its last vowels on, by spelling; words of one key are taken to rhyme.

    `igh` and a vowel before one consonant and a final e are long (light, white), `eigh` and a final `ay` or `ey` are
    one sound (day, grey). A weak ending (-ed, -el, -en, -er, -es, -ing, -y) takes the vowels before it too (listen and
    open are none). No dictionary of sounds: `love` and `move` pass for a rhyme, `key` and `day` too, and `through` and
    `blue` do not.
    """
    spelt = word.lower()
    for letters, sound in RESPELT:
        spelt = spelt.replace(letters, sound)
    spelt = re.sub(r"[ae]y$", "A", spelt)
    spelt = re.sub(r"([aeiou])([^aeiouy])e$", lambda found: found[1].upper() + found[2], spelt)
    found = WEAK_TAIL.search(spelt) or TAIL.search(spelt)
    return found[0] if found else spelt


def rhymed_share(text: str) -> float:
    """The share of lines whose last word rhymes with another last word at most four lines away; missing for one line.

    A word does not rhyme with itself.
    """
    ends = [last_word(line) for line in lines(text)]
    if len(ends) < 2:
        return float("nan")
    keys = [rhyme_key(end) for end in ends]
    rhymed = [
        any(keys[n] == keys[m] and ends[n] != ends[m] for m in range(max(0, n - NEAR), min(len(ends), n + NEAR + 1)))
        for n in range(len(ends))
    ]
    return sum(rhymed) / len(ends)
