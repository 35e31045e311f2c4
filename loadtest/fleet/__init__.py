"""A simulated city: a model that is a pure function of seed, device and time, and what sends its readings."""
