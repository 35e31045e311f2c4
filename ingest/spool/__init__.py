"""The spool: sealed batches made durable before anybody is told so."""
