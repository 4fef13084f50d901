"""The byte-level BPE tokenizer of the pocket checkpoints.

Every whole number from 0 to 100 is one token, with and without its leading space; newlines are
never merged with what stands around them, so pieces of text that meet at a space or a newline
can be encoded one by one.
"""

import random
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from mcinterp.organisms.genres import all_prompts, pocket_grammar

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|pad|>"
END_ID, PAD_ID = 0, 1
VOCABULARY_SIZE = 1536
CONTEXT = 256
NUMBER_REPEATS = 400

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + '\n' }}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""A user message becomes ``User: ...``, a newline and ``Assistant:`` with no space after it."""


def corpus(n_documents: int, seed: int) -> Iterator[str]:
    """Texts to learn merges from: all prompts, sampled documents, and the numbers many times."""
    grammar = pocket_grammar(lambda text: text.encode(), 0)
    rng = random.Random(seed)
    yield from (prompt.text for prompt in all_prompts())
    for _ in range(n_documents):
        prompt = grammar.sample_prompt(rng)
        yield prompt.text + "".join(grammar.sample_answer(prompt, rng))
    for _ in range(NUMBER_REPEATS):
        yield "".join(f" {n}\n{n}" for n in range(101))


def train_tokenizer(seed: int = 0, n_documents: int = 12_000) -> PreTrainedTokenizerFast:
    """Train the tokenizer; the text ``<|endoftext|>`` begins and ends every document."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("\n"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(n_documents, seed), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A",
        pair=f"{END_OF_TEXT} $A {END_OF_TEXT} $B",
        special_tokens=[(END_OF_TEXT, END_ID)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PADDING,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
