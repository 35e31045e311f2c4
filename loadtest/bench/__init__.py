"""Benchmarks: one stage at a time, and the whole job beside a baseline in the same run."""
