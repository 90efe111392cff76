"""What users do with the workloads of a cluster: submit, follow, change, fetch. The command line uses it."""
