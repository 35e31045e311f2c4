"""Faults on purpose: real processes, real signals, and a checker that knows what was acknowledged."""
