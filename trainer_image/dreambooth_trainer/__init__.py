"""DreamBooth trainer: photos of a subject in, a personalised diffusion model out. Knows nothing of Kubernetes."""
