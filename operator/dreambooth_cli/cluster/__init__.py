"""The commands about DreamBoothJobs and DreamBoothScenes of a cluster. They import the client of the cluster when they run."""
