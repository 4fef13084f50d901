"""Prompts: where they come from.

A prompt is raw text or chat messages, with free metadata and a template group: prompts of one template are
near-copies, so whole templates are resampled for intervals. What tokens they become is in `mcinterp.rendering`.
"""

from mcinterp.prompts.batteries import batteries, battery_names
from mcinterp.prompts.collection import Prompts
from mcinterp.prompts.lines import parse_json_line, parse_text_line
from mcinterp.prompts.prompt import Prompt

__all__ = ["Prompt", "Prompts", "batteries", "battery_names", "parse_json_line", "parse_text_line"]
