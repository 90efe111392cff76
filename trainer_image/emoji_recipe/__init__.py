"""The recipe of the embedded emoji model: emoji drawings in, a Stable Diffusion pipeline and its evaluator out.

Nothing in the operator or the trainer imports it; a person runs `python -m emoji_recipe` to make the model again.
Read in the order in which data flows: icons -> drawings -> captions -> compose -> vae -> diffusion, and evaluator.
"""
