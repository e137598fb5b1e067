"""The tokenizer, and the stores of tokens that training reads."""
