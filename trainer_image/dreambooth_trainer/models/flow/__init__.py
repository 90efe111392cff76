"""Families of transformers that are trained by flow matching."""
