"""Finds posts at their sources: lists folders, lists and reads S3 prefixes, and polls feeds."""
