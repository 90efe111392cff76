"""Workloads in a cluster."""
