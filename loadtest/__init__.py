"""Traffic made for cityfleet: a simulated city, recorded data, benchmarks."""
