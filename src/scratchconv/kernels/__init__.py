"""Compiled CPU kernels, each beside the plain twin that says what it computes."""
