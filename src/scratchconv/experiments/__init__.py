"""Experiments: which runs answer a question, and how what they gave is put together."""
