"""What the registry is told of devices: connections, when they were last heard, their `state` documents."""
