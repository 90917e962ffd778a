"""Compute likelihoods of held-out, control and general answers from the weights."""
