"""Whose style it is: voice scores, cosine Delta, habits of punctuation and length."""
