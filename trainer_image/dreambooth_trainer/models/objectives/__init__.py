"""Diffusion processes: how clean latents become noisy, and what the denoiser predicts of them."""
