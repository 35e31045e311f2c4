"""What `cityfleet doctor` looks at: one small function for each check, over one deployment."""
