"""Power loss by software: what a process wrote and did not sync is gone, as after pulling the plug."""
