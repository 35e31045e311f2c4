"""Groups of devices, named one by one, and saved queries: filters with a name."""
