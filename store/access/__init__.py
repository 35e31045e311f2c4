"""Two tiers: what an account of a ward sees of the store, declared once, for the embedded engine and for a server."""
