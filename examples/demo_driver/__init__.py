"""What the demo needs around the service: a server, a load, a screen and a summary."""
