"""Define what training, evaluation and export share: samples, batches, recipes, jobs, manifests.

Scope: values and files. Out of scope: the training loop (`training/`).
"""
