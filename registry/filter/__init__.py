"""Filters by AIP-160 (https://google.aip.dev/160): text to syntax, to typed conditions, to SQL or a plain answer."""
