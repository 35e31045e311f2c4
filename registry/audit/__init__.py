"""What was done, by whom: noted while it happens, kept as a chain."""
