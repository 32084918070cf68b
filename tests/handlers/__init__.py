"""What each service decides, on a real server."""
