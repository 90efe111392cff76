"""DreamBooth as a Kubernetes resource: its API, its operator and its command line."""
