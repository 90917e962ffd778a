"""Define the parts of a checkpoint: samples, recipe, job, manifest and batches.

Scope: values and files that training, evaluation and export share. Out of scope: the
training loop (`training/`).
"""
