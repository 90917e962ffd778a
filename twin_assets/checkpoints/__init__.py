"""What a checkpoint is: samples, recipe, job, manifest, batches.

Belongs here: values and files that training, evaluation and export share. Does not belong here: the
training loop (`training/`).
"""
