"""The recipe of the embedded emoji model: emoji drawings in, a Stable Diffusion pipeline and its evaluator out.

The operator and the trainer do not import it. Run `python -m emoji_recipe` to make the model again.
The modules in the order of the data flow: icons -> drawings -> captions -> compose -> vae -> diffusion, and evaluator.
"""
