"""The adapter of other authors, beside which a candidate shows that it learnt this one."""
