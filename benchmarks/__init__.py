"""How fast our training loops are beside the Transformers Trainer; `python -m benchmarks` from the project's root."""
