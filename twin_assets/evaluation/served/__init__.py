"""What served models say: asking them, parity with the weights, speed, what answers are worth."""
