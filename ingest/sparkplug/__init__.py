"""Sparkplug B as a host application: what it says to edge nodes, and what it remembers of them on disk."""
