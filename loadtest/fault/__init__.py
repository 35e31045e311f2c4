"""`make fault`: real processes, real signals, real sockets; a checker outside that knows what was acknowledged."""
