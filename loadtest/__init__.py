"""What feeds the platform: recorded data, a simulated city, load. Talks to it only through its public interfaces."""
