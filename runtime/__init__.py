"""What every role shares: settings, secrets, logging, metrics endpoint, pipes, shutdown. Knows no devices."""
