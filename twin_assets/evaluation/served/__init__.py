"""Ask served models, compare them with the weights, and prepare their answers for scoring."""
