"""Texts from a language model (paper, section 3.3): prompts, answers kept for good, and what is made of them.

`prompts` -> `client` or `batch` -> `store` -> `parser` -> `generate`; `cost` looks ahead. docs/texts.md.
"""
