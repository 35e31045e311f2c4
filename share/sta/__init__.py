"""OGC SensorThings API 1.1, part 1 (18-088), the reading half of it."""
