"""What is read off the weights: likelihoods of held-out, control and general answers."""
