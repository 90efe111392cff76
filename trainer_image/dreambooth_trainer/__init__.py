"""DreamBooth trainer: photos of a subject in, a personalised diffusion model out. Does not depend on Kubernetes."""
