"""Define the parts of a checkpoint: samples, recipe, job, manifest, batches.

Scope: values and files that training, evaluation and export share. Out of scope: the
training loop (`training/`).
"""
