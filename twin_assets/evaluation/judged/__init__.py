"""What other models say of the answers: calibrated judges, support, a blind language model."""
