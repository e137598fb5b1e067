"""The tokenizer, and the stores of tokens that training reads."""

from dontstop.tokens.stores import (
    TokenStore,
    cut,
    load_token_store,
    longest_example,
    prepare_tokens,
    write_token_store,
)
from dontstop.tokens.tokenizer import load_tokenizer, train_tokenizer

__all__ = [
    "TokenStore",
    "cut",
    "load_token_store",
    "load_tokenizer",
    "longest_example",
    "prepare_tokens",
    "train_tokenizer",
    "write_token_store",
]
